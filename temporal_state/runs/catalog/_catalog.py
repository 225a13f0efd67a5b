"""The catalog: answers questions about all runs without reading their objects.

It is derived: what is missing, damaged, from another version or too far behind is thrown away and
built anew from the objects, beside the present one, and put in its place in one step. A question
first brings the catalog up to date.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar
from weakref import WeakKeyDictionary

from temporal_state.documents import Engine, Layout
from temporal_state.errors import StoreError
from temporal_state.runs._refs import RunLayout
from temporal_state.runs.catalog._feed import Feed
from temporal_state.runs.catalog._follow import Follower
from temporal_state.runs.catalog._joined import Joined
from temporal_state.runs.catalog._link import (
    CatalogDamagedError,
    CatalogMissingError,
    CatalogReplacedError,
    Home,
    Link,
)
from temporal_state.runs.catalog._seal import Seal
from temporal_state.runs.catalog._standing import Standing, name_of, standing
from temporal_state.storage import in_thread

log = logging.getLogger("temporal_state")

T = TypeVar("T")

TRIES = 4
NO_SEAL = Seal()


class Catalog:
    """An index of all runs of one application.

    Args:
        engine: Reads the objects.
        layout: Which application.
        feed: Names what changes.
        make_home: Tells where the catalog lies; called when it is first needed.
        seal: Does to headers of runs what the store's transforms do to objects.
    """

    def __init__(
        self,
        engine: Engine,
        layout: Layout,
        feed: Feed,
        make_home: Callable[[], Home],
        seal: Seal = NO_SEAL,
    ) -> None:
        self.seal = seal
        self._engine, self._places, self._feed = engine, RunLayout(layout), feed
        self._make_home = make_home
        self._home: Home | None = None
        self._link: Link | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._built = 0
        self._building: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]
        self._building = WeakKeyDictionary()
        self._known: Standing | None = None
        self._looking = False
        self._present = self._follower()
        self._refreshed = Joined(self._follow)

    async def ask(self, question: Callable[[Link], T]) -> T:
        """Return what ``question`` finds once the catalog is up to date.

        Raises:
            StoreError: The objects cannot be read, or no catalog can be kept.
        """
        reason = ""
        for _ in range(TRIES):
            built, known = self._built, self._known
            try:
                if known is None or not await self._is_quiet_since(known):
                    await self._refreshed()
                return await self._call(partial(self._asked, question, known))
            except CatalogReplacedError as error:
                self._known, reason = None, str(error)
            except CatalogMissingError as error:
                reason = str(error)
                await self._build_after(built, reason)
        raise StoreError(f"the catalog was gone or damaged each time it was made: {reason}")

    async def _is_quiet_since(self, known: Standing) -> bool:
        """Return whether nothing is new, by a look that is not shared.

        Also false while one is on its way: who comes then shares the next with others.
        """
        if self._looking:
            return False
        self._looking = True
        try:
            quiet = await self._present.has_nothing_after(known)
        finally:
            self._looking = False
        if not quiet and self._known is known:
            self._known = None  # so that who follows now does not look for the same again
        return quiet

    async def rebuild(self, progress: Callable[[int], None] | None = None) -> None:
        """Make the catalog anew from the objects; the present one answers until it is done.

        Args:
            progress: Called now and then with the number of runs that were read.
        """
        async with self._alone():
            await self._build(progress)

    async def close(self) -> None:
        """Let go of the database and the thread; both are there again when they are needed."""
        with self._lock:
            pool, self._pool = self._pool, None
        self._known = None
        if pool is not None:
            await in_thread(pool, self._release)
            pool.shutdown()

    async def _follow(self) -> None:
        """Bring the catalog up to date, unless it is known to be."""
        if self._known is not None and await self._present.has_nothing_after(self._known):
            return
        self._known, known = None, await self._call(standing)
        idle = await self._present.follow(known)
        if idle and known.name:
            self._known = known

    async def _build_after(self, built: int, reason: str) -> None:
        """Build, unless that was done since ``built`` builds were done."""
        async with self._alone():
            if self._built == built:
                log.info("building the catalog of runs: %s", reason)
                await self._build(None)

    def _alone(self) -> asyncio.Lock:
        return self._building.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    async def _build(self, progress: Callable[[int], None] | None) -> None:
        fresh = await self._on_thread(lambda: self._at_home().fresh())
        try:
            await self._follower(fresh).walk(progress)
            await self._on_thread(lambda: self._publish(fresh))
        except BaseException:
            await self._on_thread(lambda: self._at_home().discard(fresh))
            raise

    def _follower(self, link: Link | None = None) -> Follower:
        async def on_fresh(question: Callable[[Link], T]) -> T:
            assert link is not None
            return await self._on_thread(lambda: question(link))

        call = self._call if link is None else on_fresh
        return Follower(self._engine, self._places, self._feed, self.seal, call)

    def _call(self, question: Callable[[Link], T]) -> "asyncio.Future[T]":
        return self._on_thread(lambda: self._with_link(question))

    def _on_thread(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="temporal_state-catalog")
            pool = self._pool
        return in_thread(pool, work)

    # What follows runs on the catalog's thread.

    def _at_home(self) -> Home:
        if self._home is None:
            self._home = self._make_home()
        return self._home

    def _with_link(self, question: Callable[[Link], T]) -> T:
        try:
            return self._try(question)
        except StoreError:
            if self._link is None or self._at_home().is_present(self._link):
                raise
            return self._try(question)  # the connection was lost

    def _try(self, question: Callable[[Link], T]) -> T:
        home = self._at_home()
        if self._link is not None and not home.is_present(self._link):
            self._release()
        if self._link is None:
            self._link = home.open()
        if self._link is None:
            raise CatalogMissingError("there is none")
        try:
            return question(self._link)
        except CatalogDamagedError:
            link, self._link = self._link, None
            home.discard(link)
            raise

    def _asked(self, question: Callable[[Link], T], known: Standing | None, link: Link) -> T:
        answer = question(link)
        # Looked at last: one that was put in its place before would have a name of its own by now.
        if known is not None and name_of(link) != known.name:
            raise CatalogReplacedError("another process has put one in its place")
        return answer

    def _publish(self, fresh: Link) -> None:
        self._release()
        self._link = self._at_home().publish(fresh)
        self._built += 1

    def _release(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._at_home().release(link)
