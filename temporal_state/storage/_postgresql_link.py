"""Connections to one PostgreSQL database, and calls on them that outlive a connection.

A connection is made when a thread finds none idle, so there are never more than threads. What fails
on the way is tried again, with full jitter, until the time of the call is over.

A reply that is lost leaves open whether a change was made. So each transaction that changes
something also stores a random token, and a second try first stores that token itself and rolls
back: if the first try is still under way the server makes this wait for its end, and if it was
committed the token is taken. Should the first try come to the server even later than the second, it
fails on the token. Either way a change is made once.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from temporal_state.errors import StoreTimeoutError
from temporal_state.storage._postgresql_address import Address
from temporal_state.storage._postgresql_errors import is_transient, on_connecting, on_statement
from temporal_state.storage._postgresql_sql import COMMITS

T = TypeVar("T")
RV = TypeVar("RV")

_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.5
_UNFINISHED = (TransactionStatus.INTRANS, TransactionStatus.INERROR)

# A role or database may have weaker defaults. remote_apply is stronger than on, so it stays.
_SETTINGS = """
SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                      WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false),
       set_config('default_transaction_isolation', 'read committed', false),
       set_config('statement_timeout', %(all)s, false),
       set_config('lock_timeout', %(all)s, false),
       set_config('idle_in_transaction_session_timeout', %(half)s, false)
"""


class Connection(psycopg.Connection[tuple[object, ...]]):
    """A connection that gives up at a time, because a server can also be silent."""

    until = float("inf")

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Run ``gen`` to its end, or until the time is over."""
        return super().wait(_bounded(gen, self.until), interval)


def _bounded(steps: PQGen[RV], until: float) -> PQGen[RV]:
    try:
        state = next(steps)
        while True:
            ready = yield state
            if not ready and time.monotonic() > until:
                raise errors.ConnectionTimeout("the server did not answer")
            state = steps.send(ready)
    except StopIteration as end:
        result: RV = end.value
        return result


class Link:
    """What runs actions on connections.

    Args:
        address: Where to connect to.
        claim: The statement that returns a row if it has stored a token that was not there.
        timeout: Seconds for one call, all its tries included.
    """

    def __init__(self, address: Address, claim: bytes, timeout: float) -> None:
        self._address = address
        self._claim = claim
        self._timeout = timeout
        # Half of it for a session whose client is gone, so that who waits for it still has time.
        self._limits = {"all": f"{timeout * 1000:.0f}", "half": f"{timeout * 500:.0f}"}
        self._idle: list[Connection] = []
        self._lock = threading.Lock()

    def once(self, action: Callable[[Connection], T], what: str) -> T:
        """Return what ``action`` returns, at the first try or not at all."""
        try:
            with self._lease(time.monotonic() + self._timeout) as connection:
                return action(connection)
        except psycopg.Error as error:
            raise on_statement(error, what, self._address.url) from error

    def read(self, action: Callable[[Connection], T], what: str) -> T:
        """Return what ``action`` returns; it may run more than once."""
        return self._until_it_works(lambda connection, _: action(connection), what)

    def change(self, token: str, action: Callable[[Connection], T], what: str, *, done: T) -> T:
        """Return what ``action`` returns, which stores ``token`` with its change, or ``done``.

        Args:
            token: A random name of this change.
            action: Must store the token in the transaction of the change, if there is one.
            what: The call in words.
            done: What to return if an earlier try turns out to have made the change.
        """

        def attempt(connection: Connection, tries: int) -> T:
            if tries and self._is_stored(connection, token):
                return done
            try:
                return action(connection)
            except errors.UniqueViolation as error:
                if error.diag.table_name == COMMITS:
                    return done
                raise

        return self._until_it_works(attempt, what)

    def close(self) -> None:
        """Close the connections. No call may be in flight."""
        self._drop_idle()

    def _is_stored(self, connection: Connection, token: str) -> bool:
        with connection.pipeline():
            connection.execute("BEGIN")
            claimed = connection.execute(self._claim, {"token": token})
            connection.execute("ROLLBACK")
            return claimed.fetchone() is None

    def _until_it_works(self, attempt: Callable[[Connection, int], T], what: str) -> T:
        until = time.monotonic() + self._timeout
        tries, longest = 0, _FIRST_PAUSE
        while True:
            try:
                with self._lease(until) as connection:
                    return attempt(connection, tries)
            except psycopg.Error as error:
                if not is_transient(error):
                    raise on_statement(error, what, self._address.url) from error
                pause = random.uniform(0, longest)  # noqa: S311 - jitter is no secret
                if time.monotonic() + pause > until:
                    raise self._overdue(error, what) from error
            time.sleep(pause)
            tries, longest = tries + 1, min(2 * longest, _LONGEST_PAUSE)

    def _overdue(self, error: psycopg.Error, what: str) -> StoreTimeoutError:
        return StoreTimeoutError(
            f"{on_statement(error, what, self._address.url)}; this went on for {self._timeout:g} "
            "s, and whether a change was made is unknown: read again"
        )

    @contextmanager
    def _lease(self, until: float) -> Iterator[Connection]:
        connection = self._take() or self._connect(until)
        connection.until = until
        try:
            yield connection
        finally:
            self._give_back(connection)

    def _take(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _give_back(self, connection: Connection) -> None:
        with suppress(psycopg.Error):  # what cannot be used again is closed below
            if connection.info.transaction_status in _UNFINISHED:
                connection.rollback()
        if connection.info.transaction_status == TransactionStatus.IDLE:
            with self._lock:
                self._idle.append(connection)
            return
        connection.close()
        self._drop_idle()  # what cost this one, such as a restart, has mostly cost the others

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _connect(self, until: float) -> Connection:
        try:
            connection = Connection.connect(self._address.conninfo, autocommit=True)
        except psycopg.Error as error:
            refusal = on_connecting(error, self._address.url)
            if refusal is None:
                raise
            raise refusal from error
        connection.until = until
        try:
            connection.execute(_SETTINGS, self._limits)
        except BaseException:
            connection.close()
            raise
        return connection
