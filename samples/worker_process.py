"""A worker as a process of its own: what a supervisor would start, and a test may kill."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path

from temporalio.client import Client

SCRIPT = Path(__file__).parent.parent / "worker.py"
STOP_SECONDS = 15


class WorkerDiedError(Exception):
    """The process ended, and nobody had asked it to."""


class WorkerProcess:
    """``python worker.py``, connected to a client's server by Temporal's environment variables.

    Args:
        client: Connected to the server that the worker shall serve.
        arguments: The command line's options.
        log: A file for what the process prints.
    """

    def __init__(self, client: Client, arguments: Sequence[str], log: Path) -> None:
        self._command = [sys.executable, str(SCRIPT), *arguments]
        self._environment = {
            **os.environ,
            "TEMPORAL_ADDRESS": client.service_client.config.target_host,
            "TEMPORAL_NAMESPACE": client.namespace,
        }
        self._log = log
        self._process: Process | None = None

    async def start(self) -> int:
        """Start a process; return its id."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=self._environment, stdout=log, stderr=log
            )
        return self._process.pid

    def check(self) -> None:
        """Raise `WorkerDiedError` if the process has ended by itself."""
        if self._process is not None and self._process.returncode is not None:
            last = self._log.read_text(errors="replace").strip().splitlines()[-1:]
            raise WorkerDiedError(
                f"the worker process ended with code {self._process.returncode}: {last}; "
                f"see {self._log}"
            )

    async def kill(self) -> int:
        """Kill the process with SIGKILL, which it cannot notice; return its exit code."""
        assert self._process is not None
        self._process.kill()
        return await self._process.wait()

    async def stop(self) -> None:
        """Ask the process to end, and kill it if it does not."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            await self.kill()
