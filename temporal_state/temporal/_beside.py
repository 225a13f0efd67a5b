"""Work that a worker does beside its own: it never delays it, fails it or outlives it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

log = logging.getLogger("temporal_state")


@asynccontextmanager
async def beside(what: str, work: Callable[[], Awaitable[object]] | None) -> AsyncIterator[None]:
    """Do some work for as long as the block runs at most; if it fails, that is logged.

    Args:
        what: What is done, for the log: "the worker goes on without ...".
        work: Does it; ``None`` is nothing to do.
    """
    if work is None:
        yield
        return
    task = asyncio.create_task(_quietly(what, work))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _quietly(what: str, work: Callable[[], Awaitable[object]]) -> None:
    try:
        log.info("%s: %s", what, await work())
    except Exception:
        log.exception("the worker goes on without %s", what)
