"""Python programs in processes of their own, of which hundreds may be started.

To start an interpreter and import the package takes a second; to fork one that has done so, a few
milliseconds. So there is one server that has imported everything and forks; what needs a fresh
interpreter still gets one.
"""

import asyncio
import ctypes
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Protocol

import temporal_state

PACKAGE = Path(temporal_state.__file__).parents[1]
STRACE = shutil.which("strace")
_ONE = threading.Lock()  # the end of a process is told once, and each start asks for those of all
_IMPORTED = [
    *("temporal_state.storage", "temporal_state.temporal", "temporal_state.cli._app"),
    *("temporalio.worker", "psycopg", "obstore.store", "multiprocessing.spawn"),
]
_COMMAND = """
import os, runpy, sys
folder, module, *arguments = sys.argv[1:]
os.chdir(folder)
sys.argv = [module, *arguments]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
IN_A_FORK = """
pid = os.fork()
if pid == 0:
    code = 1
    try:
        asyncio.run(child())
        code = 0
    finally:
        os._exit(code)
assert os.waitpid(pid, 0)[1] == 0
"""
"""The part of a program that has its ``child()`` done by a fork, and fails if that does."""

_WORKER = """
import asyncio, importlib, sys
folder, module, *arguments = sys.argv[1:]
sys.path.insert(0, folder)
asyncio.run(importlib.import_module(module).main(*arguments))
"""


class Child(Protocol):
    """What `subprocess.Popen` has, as far as tests use it."""

    pid: int

    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...
    def communicate(self, *, timeout: float | None = None) -> tuple[str, str]: ...


class Forked:
    """A program in a process that was forked from the server."""

    def __init__(self, program: str, args: Sequence[str], *, stopped: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._files = [Path(self._folder.name, name) for name in ("out", "err")]
        target = (program, args, dict(os.environ), self._files, stopped)
        self._process = multiprocessing.get_context("forkserver").Process(
            target=_run, args=target, daemon=True
        )
        with _ONE, _where_this_package_is():
            self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        with _ONE:
            return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        connection.wait([self._process.sentinel], timeout)
        code = self.returncode
        if code is None:
            raise subprocess.TimeoutExpired("a forked program", timeout)
        return code

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()

    def output_so_far(self) -> str:
        return self._files[0].read_text() if self._files[0].exists() else ""

    def communicate(self, *, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        out, err = (file.read_text() if file.exists() else "" for file in self._files)
        return out, err


class Watched(Forked):
    """... and whose system calls are watched, or made to fail, from its first line on.

    Calls are counted by thread, and those that started the interpreter are not among them.
    """

    def __init__(self, program: str, args: Sequence[str], options: Sequence[str]) -> None:
        super().__init__(program, args, stopped=True)
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2][0] != "T":
            time.sleep(0.001)
        command = [str(STRACE), "-f", *options, "-p", str(self.pid)]
        self._tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        said = ""
        while "attached" not in said:
            line = self._tracer.stderr.readline()
            said += line
            if not line:
                self.kill()
                raise RuntimeError(said)
        os.kill(self.pid, signal.SIGCONT)

    def communicate(self, *, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        self._tracer.communicate(timeout=timeout)
        return super().communicate(timeout=timeout)


@contextmanager
def _where_this_package_is() -> Iterator[None]:
    # The server is started by the first who needs it, and imports by the path that it is given.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(PACKAGE)
    forkserver.set_forkserver_preload(_IMPORTED)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _run(
    program: str,
    args: Sequence[str],
    environment: Mapping[str, str],
    files: Sequence[Path],
    stopped: bool,
) -> None:
    for number, file in enumerate(files, 1):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - it has no path
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    assert Path(temporal_state.__file__).parents[1] == PACKAGE
    # As on a terminal: whoever runs the tests in the background ignores Ctrl-C, and so would this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *args]
    if stopped:
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # let anyone watch
        os.kill(os.getpid(), signal.SIGSTOP)
    exec(compile(program, "<child>", "exec"), {"__name__": "__main__"})


class Children:
    """Python programs that import this package."""

    def __init__(self) -> None:
        self._started: list[Child] = []

    def start(
        self, program: str, *args: object, watched: Sequence[object] = (), fresh: bool = False
    ) -> Child:
        """Start a program.

        Args:
            program: Its text.
            *args: What is in ``sys.argv``, as text.
            watched: Options for strace.
            fresh: In an interpreter that has imported nothing.
        """
        words = [*map(str, args)]
        process: Child
        if watched:
            process = Watched(program, words, [*map(str, watched)])
        elif fresh:
            process = subprocess.Popen(
                [sys.executable, "-c", program, *words],
                env={**os.environ, "PYTHONPATH": str(PACKAGE), "PYTHONUNBUFFERED": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        else:
            process = Forked(program, words)
        self._started.append(process)
        return process

    def command(self, folder: Path, module: str, *args: object) -> tuple[int, str, str]:
        """Do as ``python -m`` does in a folder; return the exit code and what was printed."""
        process = self.start(_COMMAND, folder, module, *args)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def worker(self, script: Path, *args: object) -> Forked:
        """Start a worker, which is what the function ``main`` of a file is."""
        process = Forked(_WORKER, [str(script.parent), script.stem, *map(str, args)])
        self._started.append(process)
        return process

    async def ready_worker(self, script: Path, *args: object) -> Forked:
        """Start a worker; return once it has said that it is ready."""
        process = self.worker(script, *args)
        while process.output_so_far() != "ready\n":
            assert process.returncode is None, process.communicate()
            await asyncio.sleep(0.005)
        return process

    async def output(self, process: Child) -> str:
        """Wait for the end; return what was printed, or fail with what went wrong."""
        out, err = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == 0, err
        return out

    async def run(
        self, program: str, *args: object, watched: Sequence[object] = (), fresh: bool = False
    ) -> str:
        return await self.output(self.start(program, *args, watched=watched, fresh=fresh))

    def stop(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()
