"""Every backend as one fixture, and a way around it.

What a store says of itself proves little, so tests read and write the bytes behind its back too.
"""

import hashlib
import secrets
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
from object_servers import BUCKET, SERVERS, InBucket, Server

from temporal_state.errors import DamagedObjectError
from temporal_state.storage import (
    LocalStore,
    MemoryStore,
    ObjectStorage,
    ObjectStore,
    PostgresStore,
    TransformedStore,
)


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


class Cipher:
    """A transform with a random nonce and a digest: equal bytes never look equal, and all of them
    may begin like anything."""

    OVERHEAD = 32

    def __init__(self, secret: bytes = b"secret") -> None:
        self._secret = secret

    async def encode(self, key: str, data: bytes) -> bytes:
        return self.seal(data)

    async def decode(self, key: str, data: bytes) -> bytes:
        return self.unseal(data)

    def seal(self, data: bytes) -> bytes:
        nonce = secrets.token_bytes(16)
        return nonce + self._digest(nonce, data) + self._mix(nonce, data)

    def unseal(self, data: bytes) -> bytes:
        nonce, digest = data[:16], data[16:32]
        plain = self._mix(nonce, data[32:])
        if digest != self._digest(nonce, plain):
            raise DamagedObjectError("it was not sealed with this secret")
        return plain

    def _digest(self, nonce: bytes, data: bytes) -> bytes:
        return hashlib.blake2b(nonce + data, digest_size=16, key=self._secret).digest()

    def _mix(self, nonce: bytes, data: bytes) -> bytes:
        stream = hashlib.shake_256(self._secret + nonce).digest(len(data))
        size = len(data)
        mixed = int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")
        return mixed.to_bytes(size, "big")


class Sealed:
    """Goes around a store that seals with a `Cipher`."""

    def __init__(self, inner: Raw, cipher: Cipher) -> None:
        self._inner, self._cipher = inner, cipher

    def get(self, key: str) -> bytes | None:
        found = self._inner.get(key)
        return None if found is None else self._cipher.unseal(found)

    def put(self, key: str, data: bytes) -> None:
        self._inner.put(key, self._cipher.seal(data))

    def delete(self, key: str) -> None:
        self._inner.delete(key)


class Rows:
    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._table = f'"{schema}".temporal_state_objects'

    def get(self, key: str) -> bytes | None:
        found = self._execute(f"SELECT data FROM {self._table} WHERE key = %s", key).fetchone()
        return None if found is None else found[0]

    def put(self, key: str, data: bytes) -> None:
        # As somebody does by hand who has not heard of ETags.
        self._execute(
            f"INSERT INTO {self._table} (key, data) VALUES (%s, %s) "
            "ON CONFLICT (key) DO UPDATE SET data = excluded.data",
            key,
            data,
        )

    def delete(self, key: str) -> None:
        self._execute(f"DELETE FROM {self._table} WHERE key = %s", key)

    def _execute(self, query: str, *arguments: object) -> psycopg.ClientCursor:
        with psycopg.connect(self._url, autocommit=True) as connection:
            return connection.execute(query, arguments)


@dataclass
class Backend:
    store: ObjectStore
    raw: Raw
    overhead: int = 0  # bytes that the store adds to each object


@pytest.fixture
def place() -> str:
    """A place in the bucket of the test's own."""
    return f"test-{uuid.uuid4().hex}"


def in_files(request: pytest.FixtureRequest) -> Backend:
    store = LocalStore(request.getfixturevalue("tmp_path") / "root")
    return Backend(store, Files(store.root))


def in_memory(_request: pytest.FixtureRequest) -> Backend:
    store = MemoryStore()
    return Backend(store, Dictionary(store))


def in_postgresql(request: pytest.FixtureRequest) -> Backend:
    url, schema = request.getfixturevalue("postgres_url"), f"test_{uuid.uuid4().hex}"
    return Backend(PostgresStore(f"{url}?schema={schema}"), Rows(url, schema))


def in_bucket(fixture: str) -> Callable[[pytest.FixtureRequest], Backend]:
    def made(request: pytest.FixtureRequest) -> Backend:
        server: Server = request.getfixturevalue(fixture)
        place = request.getfixturevalue("place")
        url = f"{server.scheme}://{BUCKET}/{place}"
        store = ObjectStorage(url, client=server.client(place))
        return Backend(store, InBucket(server, place))

    return made


def transformed(
    make: Callable[[pytest.FixtureRequest], Backend],
) -> Callable[[pytest.FixtureRequest], Backend]:
    def made(request: pytest.FixtureRequest) -> Backend:
        inner, cipher = make(request), Cipher()
        store = TransformedStore(inner.store, cipher)
        return Backend(store, Sealed(inner.raw, cipher), cipher.OVERHEAD)

    return made


BACKENDS: dict[str, Callable[[pytest.FixtureRequest], Backend]] = {
    "local": in_files,
    "memory": in_memory,
    "postgresql": in_postgresql,
    **{name: in_bucket(fixture) for name, fixture in SERVERS.items()},
    "transformed-local": transformed(in_files),
    "transformed-memory": transformed(in_memory),
}


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    made = BACKENDS[request.param](request)
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
