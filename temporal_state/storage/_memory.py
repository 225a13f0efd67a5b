"""Objects in a dictionary, for tests and for what need not outlive the process.

It keeps bytes, not Python objects, and refuses whatever the other stores refuse, so that code which
runs on it also runs on them.
"""

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice, takewhile

from temporal_state.errors import DamagedObjectError, StoreError
from temporal_state.storage._etags import conditional, etag_of
from temporal_state.storage._keys import check_key, check_prefix
from temporal_state.storage._protocol import Change, Object, ObjectInfo


class _Space:
    """What stores of one name share: bytes by key, and the keys in order."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.keys: list[str] = []

    def read(self, key: str) -> bytes | None:
        found = self.objects.get(key)
        return None if found is None else found[0]

    def write(self, key: str, data: bytes) -> None:
        if key not in self.objects:
            insort(self.keys, key)
        self.objects[key] = (bytes(data), datetime.now(UTC))

    def remove(self, key: str) -> bool:
        if self.objects.pop(key, None) is None:
            return False
        del self.keys[bisect_left(self.keys, key)]
        return True

    def select(self, prefix: str, after: str) -> Iterator[str]:
        start = max(bisect_left(self.keys, prefix), bisect_right(self.keys, after))
        return takewhile(lambda key: key.startswith(prefix), islice(self.keys, start, None))

    def check_place(self, key: str) -> None:
        """Raise if an object is another's folder, which only some stores could hold."""
        parts = key.split("/")
        above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
        below = next(self.select(f"{key}/", ""), None)
        other = next((parent for parent in above if parent in self.objects), below)
        if other is not None:
            raise DamagedObjectError(
                f"cannot use {key!r}: one of it and {other!r} would be the other's folder; give "
                "every object's name a suffix"
            )


_SHARED: dict[str, _Space] = {}
_SHARING = threading.Lock()


class MemoryStore:
    """Objects in the memory of this process.

    Args:
        name: Stores of one name share their objects; without a name a store has its own.
    """

    def __init__(self, name: str = "") -> None:
        self._name = name
        self._is_open = False
        with _SHARING:
            self._space = _SHARED.setdefault(name, _Space()) if name else _Space()

    def __repr__(self) -> str:
        return f"MemoryStore({self._name!r})"

    @property
    def url(self) -> str:
        """``memory://`` and the name."""
        return f"memory://{self._name}"

    async def open(self) -> None:
        """Get ready. Idempotent."""
        self._is_open = True

    async def close(self) -> None:
        """Refuse calls until opened again; the objects stay. Idempotent."""
        self._is_open = False

    async def get(self, key: str) -> Object | None:
        """Return the object, or ``None`` if there is none."""
        with self._at(check_key(key)) as space:
            data = space.read(key)
            return None if data is None else Object(data, etag_of(data))

    async def head(self, key: str) -> ObjectInfo | None:
        """Return size and time of the object, or ``None`` if there is none."""
        with self._at(check_key(key)) as space:
            if key not in space.objects:
                return None
            data, modified = space.objects[key]
            return ObjectInfo(key, len(data), modified)

    async def put(
        self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False
    ) -> str:
        """Write the whole object, perhaps on a condition, and return its new ETag."""
        data = bytes(data)
        await self.update(key, conditional(key, data, if_match=if_match, if_absent=if_absent))
        return etag_of(data)

    async def update(self, key: str, change: Change) -> None:
        """Read, change and write one object as one step."""
        with self._at(check_key(key)) as space:
            data = change(space.read(key))
            if data is not None:
                space.write(key, data)

    async def delete(self, key: str) -> bool:
        """Remove the object; return whether there was one."""
        with self._at(check_key(key)) as space:
            return space.remove(key)

    async def delete_if_match(self, key: str, etag: str) -> bool:
        """Remove the object if it has this ETag now; return whether it had."""
        with self._at(check_key(key)) as space:
            data = space.read(key)
            return data is not None and etag_of(data) == etag and space.remove(key)

    async def list(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return keys that start with ``prefix`` and are greater than ``after``, in order."""
        with self._ready() as space:
            return [*islice(space.select(check_prefix(prefix), check_prefix(after)), max(limit, 0))]

    @contextmanager
    def _at(self, key: str) -> Iterator[_Space]:
        with self._ready() as space:
            space.check_place(key)
            yield space

    @contextmanager
    def _ready(self) -> Iterator[_Space]:
        if not self._is_open:  # worth a retry, as in every store: see `LocalStore`
            raise StoreError(f"the store {self.url} is closed; call open() before using it")
        with self._space.lock:
            yield self._space
