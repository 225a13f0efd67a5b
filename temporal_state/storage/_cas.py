"""Read, change, write if nobody else has written; else find out what happened, and again.

Object storage has no locks, but it can refuse a write whose writer has not seen the latest bytes.
A refusal and a lost reply look alike, since a write can be stored and its reply be lost on the way,
and other writers may be on top of it by the time we look. What settles it is the object's table of
writers (see `_writers`): each commit has a number, the same for all its tries, and a commit that is
in the table was stored. Bytes go out twice only upon the very same object: then a first try that
arrives late stores what the second one would have.

Where ETags are made of the content (S3), bytes that go from A to B and back to A look untouched. A
commit that returns to former bytes and loses its reply can be applied again then. So bytes should
hold something random, as documents do.
"""

import itertools
import random
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from temporal_state.errors import StoreError, StoreTimeoutError
from temporal_state.storage._bucket import Bucket, RefusedError, Stamp, Stored
from temporal_state.storage._etags import conditional
from temporal_state.storage._protocol import Change
from temporal_state.storage._writers import Writers

T = TypeVar("T")

_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.5


class Patience:
    """How long to go on, and the pauses in between: full jitter, so that writers spread out."""

    def __init__(self, limit: timedelta) -> None:
        self._limit = limit
        self._deadline = time.monotonic() + limit.total_seconds()
        self._longest = _FIRST_PAUSE

    def pause(self, error: StoreError) -> None:
        """Wait a little before another try, or raise what says that time is up.

        Raises:
            StoreError: ``error`` itself, if another try cannot help.
            StoreTimeoutError: There is no time left.
        """
        if not error.retryable:
            raise error
        pause = random.uniform(0, self._longest)  # noqa: S311 - spreads writers, guards nothing
        if time.monotonic() + pause >= self._deadline:
            raise StoreTimeoutError(
                f"gave up after {self._limit.total_seconds():g} s; whether a change was made is "
                f"unknown: read again. At last: {error}"
            ) from error
        time.sleep(pause)
        self._longest = min(self._longest * 2, _LONGEST_PAUSE)


def insist(call: Callable[[], T], patience: Patience) -> T:
    """Return what a call returns that does no harm when it is repeated."""
    while True:
        try:
            return call()
        except StoreError as error:
            patience.pause(error)


@dataclass(slots=True)
class _Receipt:
    """What a conditional put waits for: the ETag of its bytes, if they were ever stored so."""

    data: bytes
    etag: str | None = None


@dataclass(slots=True)
class _Try:
    """One try of a commit: upon which object, and what is to be there.

    Attributes:
        base: The object as it was read.
        data: The new bytes; ``None`` if there is nothing to write.
        receipts: The conditional puts whose conditions held.
        is_open: Whether the write went out without a clear answer.
    """

    base: Stored | None
    data: bytes | None = None
    receipts: list[_Receipt] = field(default_factory=list)
    is_open: bool = False

    @property
    def writers(self) -> Writers:
        return Writers() if self.base is None else self.base.writers

    def etag_of(self, data: bytes) -> str | None:
        """Return the ETag of the bytes, if they are those that the server has."""
        base = self.base
        return base.etag if base is not None and data == base.data else None

    def settle(self, data: bytes, etag: str) -> None:
        for receipt in self.receipts:
            if receipt.data == data:
                receipt.etag = etag


class Committer:
    """Commits changes to objects of one bucket, as one writer among many.

    A key may be in one commit at a time only: numbers must grow from commit to commit.

    Args:
        bucket: Where the objects are.
        limit: How long one commit may take.
    """

    def __init__(self, bucket: Bucket, limit: timedelta) -> None:
        self._bucket = bucket
        self._limit = limit
        self._me = secrets.token_urlsafe(6)
        self._numbers = itertools.count(1)
        self._tries: dict[str, _Try] = {}  # by key, while its changes are being applied

    def commit(self, folds: Mapping[str, Change]) -> Mapping[str, BaseException]:
        """Read, change and write the object of each key; see `Combiner`."""
        for key, fold in folds.items():
            self._commit(key, fold)
        return {}

    def putting(
        self, key: str, data: bytes, *, if_match: str | None, if_absent: bool
    ) -> tuple[Change, _Receipt]:
        """Return the change that a conditional put is, and what will have its ETag."""
        receipt = _Receipt(data)

        def change(current: bytes | None) -> bytes:
            at_hand = self._tries[key]
            put = conditional(
                key, data, if_match=if_match, if_absent=if_absent, etag=at_hand.etag_of
            )
            put(current)
            at_hand.receipts.append(receipt)
            return data

        return change, receipt

    def _commit(self, key: str, fold: Change) -> None:
        number, patience = next(self._numbers), Patience(self._limit)
        last: _Try | None = None
        while True:
            found = insist(lambda: self._bucket.get(key), patience)
            if last is not None and self._was_stored(key, last, found, number):
                return
            if last is None or last.base != found:
                last = self._apply(key, fold, found)
            if last.data is None:
                return
            try:
                last.settle(last.data, self._write(key, last.data, last.base, number).etag)
            except StoreError as error:
                last.is_open = last.is_open or not isinstance(error, RefusedError)
                patience.pause(error)
            else:
                return

    def _apply(self, key: str, fold: Change, found: Stored | None) -> _Try:
        at_hand = self._tries[key] = _Try(found)
        try:
            at_hand.data = fold(None if found is None else found.data)
        finally:
            del self._tries[key]
        if found is not None and at_hand.data == found.data:
            at_hand.settle(found.data, found.etag)
            at_hand.data = None
        return at_hand

    def _write(self, key: str, data: bytes, base: Stored | None, number: int) -> Stamp:
        if base is None:
            return self._bucket.put(key, data, "create", Writers().having(self._me, number))
        writers = base.writers.having(self._me, number)
        return self._bucket.put(key, data, base.stamp.condition, writers)

    def _was_stored(self, key: str, last: _Try, found: Stored | None, number: int) -> bool:
        if found is None:  # and if it was stored and deleted since, it is as if it came after
            return False
        if found.writers.has(self._me, number):
            last.settle(found.data, found.etag)
            return True
        if last.is_open and found.writers.may_have_dropped(last.writers):
            raise StoreTimeoutError(
                f"{key!r} has had so many writers since an unanswered write that whether the "
                "change was made is unknown: read again"
            )
        return False
