"""Object storage of our own: an S3 server, an Azure one, and a proxy that loses what we tell it."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

import obstore
from obstore.store import AzureStore, S3Store

HOST = "127.0.0.1"
BUCKET = "tests"
QUICK = {"allow_http": True, "timeout": "3s"}
NO_RETRIES = {"max_retries": 0, "retry_timeout": timedelta(seconds=3)}


class Server(Protocol):
    """A server that is running."""

    scheme: str
    port: int

    def client(self, prefix: str, *, bucket: str = BUCKET, port: int | None = None): ...

    def stop(self) -> None: ...


class SeaweedFS:
    scheme = "s3"
    KEYS = ("test", "test-secret")
    READER = ("reader", "reader-secret")

    def __init__(self, folder: Path) -> None:
        config = folder / "s3.json"
        config.write_text(json.dumps({"identities": [
            identity("admin", self.KEYS, ["Admin", "Read", "Write", "List", "Tagging"]),
            identity("reader", self.READER, [f"Read:{BUCKET}", f"List:{BUCKET}"]),
            identity("anonymous", None, [f"{what}:{BUCKET}" for what in ("Read", "Write", "List")]),
        ]}))  # fmt: skip
        (folder / "data").mkdir()
        ports = free_ports(8)
        self.port = ports[0]
        options = {
            "dir": folder / "data",
            "ip": HOST,
            "ip.bind": HOST,
            "s3.config": config,
            "s3.autoCreateBucket": "false",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 64,
            "volume.max": 16,
            "filer.localSocket": folder / "filer.sock",
            "s3.localSocket": folder / "s3.sock",
        }
        parts = ("s3", "filer", "volume", "master")
        options |= {f"{part}.port": port for part, port in zip(parts, ports, strict=False)}
        options |= {f"{part}.port.grpc": port for part, port in zip(parts, ports[4:], strict=True)}
        self._process = start(
            [
                *(program("weed"), "server", "-filer", "-s3"),
                *(f"-{name}={value}" for name, value in options.items()),
            ],
            folder / "weed.log",
        )
        until_ready(self._process, folder / "weed.log", self._make_bucket)

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.port}"

    def client(self, prefix, *, bucket=BUCKET, port=None, keys=KEYS):
        sign = {"access_key_id": keys[0], "secret_access_key": keys[1]} if keys else {}
        return S3Store(
            bucket,
            prefix=prefix,
            endpoint=f"http://{HOST}:{port or self.port}",
            region="us-east-1",
            virtual_hosted_style_request=False,
            skip_signature=not keys,
            client_options=QUICK,
            retry_config=NO_RETRIES,
            **sign,
        )

    def _make_bucket(self) -> None:
        url = obstore.sign(self.client(""), "PUT", "", timedelta(minutes=1))
        with suppress(urllib.error.HTTPError):  # it is there already
            urllib.request.urlopen(urllib.request.Request(url, method="PUT")).close()
        obstore.put(self.client("ready"), "probe", b"1")

    def stop(self) -> None:
        stop(self._process)


class Azurite:
    scheme = "az"
    ACCOUNT = "devstoreaccount1"  # it and its key are published with the emulator
    KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def __init__(self, folder: Path, command: str) -> None:
        (self.port,) = free_ports(1)
        self._process = start(
            [
                *(command, "--inMemoryPersistence", "--skipApiVersionCheck", "--silent"),
                *("--disableTelemetry", "--blobHost", HOST, "--blobPort", str(self.port)),
            ],
            folder / "azurite.log",
        )
        until_ready(self._process, folder / "azurite.log", self._make_container)

    @staticmethod
    def command() -> str | None:
        """Return the path of `azurite-blob`: where `make azurite` puts it, or on the PATH."""
        root = Path(__file__).parents[1]
        local = root / os.environ.get("VENV", ".venv") / "azurite/node_modules/.bin/azurite-blob"
        return str(local) if local.exists() else shutil.which("azurite-blob")

    def client(self, prefix, *, bucket=BUCKET, port=None, key=KEY):
        return AzureStore(
            bucket,
            prefix=prefix,
            account_name=self.ACCOUNT,
            account_key=key,
            endpoint=f"http://{HOST}:{port or self.port}/{self.ACCOUNT}",
            client_options=QUICK,
            retry_config=NO_RETRIES,
        )

    def _make_container(self) -> None:
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        headers = {"x-ms-date": date, "x-ms-version": "2021-12-02"}
        to_sign = "PUT" + "\n" * 12 + "".join(f"{k}:{v}\n" for k, v in headers.items())
        to_sign += f"/{self.ACCOUNT}/{self.ACCOUNT}/{BUCKET}\nrestype:container"
        digest = hmac.new(base64.b64decode(self.KEY), to_sign.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {self.ACCOUNT}:{base64.b64encode(digest).decode()}"
        url = f"http://{HOST}:{self.port}/{self.ACCOUNT}/{BUCKET}?restype=container"
        with suppress(urllib.error.HTTPError):  # it is there already
            request = urllib.request.Request(url, method="PUT", headers=headers)
            urllib.request.urlopen(request).close()
        obstore.put(self.client("ready"), "probe", b"1")

    def stop(self) -> None:
        stop(self._process)


SERVERS = {"s3": "seaweedfs", "azure": "azurite"}  # what it speaks, and its fixture


class InBucket:
    def __init__(self, server: Server, prefix: str) -> None:
        self._client = server.client(prefix)

    def get(self, key: str) -> bytes | None:
        try:
            return bytes(obstore.get(self._client, key).bytes())
        except FileNotFoundError:
            return None

    def put(self, key: str, data: bytes) -> None:
        obstore.put(self._client, key, data)

    def delete(self, key: str) -> None:
        obstore.delete(self._client, key)


PASS, LOSE_REPLY, LOSE_REQUEST, HOLD, RELEASE, STRIP, CONFLICT = range(7)
Behaviour = Callable[[str, str], int]
"""From method and path of a request to what becomes of it."""


class Proxy:
    """Stands before a server, and does to each request what ``behaviour`` says.

    Attributes:
        behaviour: May be replaced at any time.
        count: How many requests did not simply pass.
        held: Sends what was held back, for good or until a request that releases it.
    """

    def __init__(self, port: int, behaviour: Behaviour = lambda _method, _path: PASS) -> None:
        self.upstream = port
        self.behaviour = behaviour
        self.count = 0
        self.held: list[Callable[[], object]] = []
        self._server = ThreadingHTTPServer((HOST, 0), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.release()

    def release(self) -> None:
        while self.held:
            self.held.pop(0)()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy

    def handle_one_request(self) -> None:
        with suppress(ConnectionError):
            super().handle_one_request()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        action = self.proxy.behaviour(self.command, self.path)
        self.proxy.count += action != PASS
        if action == CONFLICT:
            self._answer(409, [], b"<Error><Code>ConditionalRequestConflict</Code></Error>")
        elif action in {PASS, RELEASE, STRIP}:
            if action == RELEASE:
                self.proxy.release()
            self._answer(*self._forward(body, strip=action == STRIP))
        else:
            self.close_connection = True
            if action == LOSE_REPLY:
                self._forward(body)
            elif action == HOLD:
                self.proxy.held.append(lambda: self._forward(body))

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815 - looked up by name

    def _forward(self, body: bytes, *, strip: bool = False):
        server = http.client.HTTPConnection(HOST, self.proxy.upstream, timeout=10)
        server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if not (strip and name.lower() in {"if-match", "if-none-match"}):
                server.putheader(name, value)
        server.endheaders(body or None)
        answer = server.getresponse()
        content = answer.read()
        server.close()
        return answer.status, answer.getheaders(), content

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        length = str(len(content))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: object) -> None:
        pass


def identity(name: str, keys: tuple[str, str] | None, actions: list[str]) -> dict[str, object]:
    made: dict[str, object] = {"name": name, "actions": actions}
    if keys:
        made["credentials"] = [{"accessKey": keys[0], "secretKey": keys[1]}]
    return made


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [made.getsockname()[1] for made in sockets]
    for made in sockets:
        made.close()
    return ports


def program(name: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    assert found, f"no {name} found; pip install -e '.[dev]'"
    return found


def start(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as file:
        return subprocess.Popen(
            command,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def until_ready(process: "subprocess.Popen[bytes]", log: Path, act: Callable[[], None]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            return act()
        except Exception:
            if process.poll() is not None or time.monotonic() > deadline:
                stop(process)
                print(log.read_text(errors="replace")[-3000:])
                raise
            time.sleep(0.1)


def stop(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
