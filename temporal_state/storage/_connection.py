"""What an open object storage is: threads, the bucket, and the blocking half of each call.

Imported when a store is made, because it needs the client, which is an extra.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING

from temporal_state.storage._bucket import Bucket, connect
from temporal_state.storage._cas import Committer, Patience, insist
from temporal_state.storage._combine import Combiner
from temporal_state.storage._keys import is_key
from temporal_state.storage._location import Location
from temporal_state.storage._probe import probe
from temporal_state.storage._protocol import Object, ObjectInfo

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Client

_THREADS = 32
_COMMITS = 24  # they may pause between tries, and readers should not wait for that
_REQUESTS = 3  # that many requests that hang fit into the time of one call
_ALPHABET = "!-.0123456789=_abcdefghijklmnopqrstuvwxyz~"  # of keys, in their order
_LONGEST_GAP = 4


class Connection:
    """A bucket that has been tried out.

    Args:
        location: Where it is.
        client: Its client, if not the one that the environment makes.
        limit: How long one call may take.
    """

    def __init__(self, location: Location, client: "Client | None", limit: timedelta) -> None:
        url = str(location)
        self._limit = limit
        self._bucket = Bucket(client or connect(location, limit / _REQUESTS), url)
        self._in_order = insist(lambda: probe(self._bucket, url), Patience(limit))
        self.pid = os.getpid()
        self.pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="temporal-state-objects")
        self.committer = Committer(self._bucket, limit)
        self.combiner = Combiner(self.committer.commit, self.pool, jobs=_COMMITS)

    def get(self, key: str) -> Object | None:
        found = insist(lambda: self._bucket.get(key), self._patience())
        return None if found is None else Object(found.data, found.etag)

    def head(self, key: str) -> ObjectInfo | None:
        return insist(lambda: self._bucket.head(key), self._patience())

    def put(self, key: str, data: bytes) -> str:
        return insist(lambda: self._bucket.put(key, data), self._patience()).etag

    def delete(self, key: str) -> bool:
        patience = self._patience()
        if insist(lambda: self._bucket.head(key), patience) is None:
            return False
        insist(lambda: self._bucket.delete(key), patience)
        return True

    def list(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        return insist(lambda: self._page(prefix, after, limit), self._patience())

    def close(self) -> None:
        self.pool.shutdown()  # waits for the calls in flight

    def _page(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        folder = prefix.rpartition("/")[0]
        if not self._in_order:
            return nsmallest(limit, _matching(self._bucket.list(folder, ""), prefix, after))
        found = self._bucket.list(folder, max(after, _just_before(prefix)))
        return [*islice(_matching(found, prefix, after, in_order=True), limit)]

    def _patience(self) -> Patience:
        return Patience(self._limit)


def _matching(
    found: Iterator[str], prefix: str, after: str, *, in_order: bool = False
) -> Iterator[str]:
    for key in found:
        if key.startswith(prefix):
            if key > after and is_key(key):
                yield key
        elif in_order and key > prefix:
            return


def _just_before(prefix: str) -> str:
    """Return a name with few keys between it and ``prefix``: lists begin after it, not at it."""
    if not prefix or prefix.endswith("/"):
        return ""  # the folder is what is listed anyway
    place = _ALPHABET.index(prefix[-1])
    if place == 0:
        return prefix[:-1]
    return prefix[:-1] + _ALPHABET[place - 1] + _ALPHABET[-1] * _LONGEST_GAP
