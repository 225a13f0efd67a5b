"""Every backend as one fixture, and a way around it.

What a store says of itself proves little, so tests read and write the bytes behind its back too.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest

import temporal_state.errors
from temporal_state.storage import LocalStore, MemoryStore, ObjectStore


class Raw(Protocol):
    """Goes around the store."""

    def get(self, key: str) -> bytes | None: ...
    def put(self, key: str, data: bytes) -> None: ...
    def delete(self, key: str) -> None: ...


class Files:
    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, key: str) -> bytes | None:
        path = self._root / key
        return path.read_bytes() if path.exists() else None

    def put(self, key: str, data: bytes) -> None:
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def delete(self, key: str) -> None:
        (self._root / key).unlink()


class Dictionary:
    def __init__(self, store: MemoryStore) -> None:
        self._space = store._space

    def get(self, key: str) -> bytes | None:
        return self._space.objects.get(key, (None,))[0]

    def put(self, key: str, data: bytes) -> None:
        self._space.objects[key] = (data, datetime.now(UTC))
        self._space.keys = sorted(self._space.objects)

    def delete(self, key: str) -> None:
        del self._space.objects[key]
        self._space.keys = sorted(self._space.objects)


@dataclass
class Backend:
    store: ObjectStore
    raw: Raw


@pytest.fixture(params=["local", "memory"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    if request.param == "local":
        local = LocalStore(tmp_path / "root")
        made = Backend(local, Files(local.root))
    else:
        memory = MemoryStore()
        made = Backend(memory, Dictionary(memory))
    await made.store.open()
    yield made
    await made.store.close()


@pytest.fixture
def store(backend: Backend) -> ObjectStore:
    return backend.store


@pytest.fixture
def raw(backend: Backend) -> Raw:
    return backend.raw


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalStore]:
    store = LocalStore(tmp_path / "root")
    await store.open()
    yield store
    await store.close()


class Children:
    """Python programs that import this package."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def start(
        self, program: str, *args: object, before: Sequence[object] = ()
    ) -> "subprocess.Popen[str]":
        package = Path(temporal_state.errors.__file__).parents[1]
        process = subprocess.Popen(
            [*map(str, before), sys.executable, "-c", program, *map(str, args)],
            env={**os.environ, "PYTHONPATH": str(package), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    async def output(self, process: "subprocess.Popen[str]") -> str:
        """Wait for the end; return what was printed, or fail with what went wrong."""
        out, err = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == 0, err
        return out

    async def run(self, program: str, *args: object, before: Sequence[object] = ()) -> str:
        return await self.output(self.start(program, *args, before=before))

    def stop(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()


@pytest.fixture
def children() -> Iterator[Children]:
    """Starts programs, none of which outlives the test."""
    made = Children()
    yield made
    made.stop()
