"""An inventory of a tree of files: a workflow whose state outlives its workers.

The lists of files and hashes are documents of type ``inventory``, one for each batch, and only
their names and sums go through Temporal. Totals are in the run's own document. It belongs to the
chain of runs, so a run that was continued as new goes on where the one before ended. How far it is
can be seen in the record that is made of every run (see ``samples.record``).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError

from samples.inventory_files import (
    Summary,
    find_files,
    hash_files,
    in_batches,
    summarize,
    write_summary,
)
from temporal_state import StateStore, state

TYPE = "inventory"
IN_FLIGHT = 4
_HEARTBEAT = timedelta(seconds=1)
_LIMITS = workflow.ActivityConfig(
    start_to_close_timeout=timedelta(hours=1),
    # After this long the server gives what a dead worker had begun to another one.
    heartbeat_timeout=timedelta(seconds=4),
)


@dataclass
class Request:
    """What to take the inventory of.

    Attributes:
        tree: The folder, as an absolute path.
        report: The path of the report, which is a file on the worker's machine as the tree is.
        exclude: Names of folders anywhere in the tree, and absolute paths, that are left out.
    """

    tree: str
    report: str
    exclude: Sequence[str] = ("__pycache__",)


@dataclass
class Listed:
    """What was found: files, the batches that they are in, and how many things were skipped."""

    files: int
    batches: int
    skipped: int


@dataclass
class Totals:
    """What was read of one batch, or of the whole tree."""

    files: int
    bytes: int
    skipped: int


@workflow.defn
class Inventory:
    """Lists a tree, hashes it batch by batch, and reports."""

    @workflow.run
    async def run(self, request: Request) -> dict[str, Any]:
        """Return the run's own document at the end."""
        progress = await state.get()
        if "batches" not in progress:
            progress = await self._list(request)
        while progress["done"] < progress["batches"]:
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(request)
            progress = await self._hash(request.tree, progress)
        return await self._report(request, progress["batches"])

    async def _list(self, request: Request) -> dict[str, Any]:
        await state.update(status="listing", tree=request.tree)
        listed = await workflow.execute_activity(list_tree, request, **_LIMITS)
        return await state.update(
            status="hashing",
            found=listed.files,
            batches=listed.batches,
            skipped=listed.skipped,
            done=0,
            files=0,
            bytes=0,
        )

    async def _hash(self, tree: str, progress: dict[str, Any]) -> dict[str, Any]:
        done = progress["done"]
        wave = range(done, min(done + IN_FLIGHT, progress["batches"]))
        totals = await asyncio.gather(
            *(
                workflow.execute_activity(hash_batch, args=[tree, number], **_LIMITS)
                for number in wave
            )
        )
        state.progress(wave.stop, progress["batches"], "batches hashed")
        return await state.update(
            done=wave.stop,
            files=progress["files"] + sum(batch.files for batch in totals),
            bytes=progress["bytes"] + sum(batch.bytes for batch in totals),
            skipped=progress["skipped"] + sum(batch.skipped for batch in totals),
        )

    async def _report(self, request: Request, batches: int) -> dict[str, Any]:
        await state.update(status="reporting")
        await workflow.execute_activity(write_report, args=[request, batches], **_LIMITS)
        return await state.update(status="done", report=request.report)


@activity.defn
async def list_tree(request: Request) -> Listed:
    """Find the files, and keep their names in a document for each batch."""
    async with _heartbeats():
        try:
            found = await asyncio.to_thread(find_files, request.tree, request.exclude)
        except OSError as error:
            raise ApplicationError(
                f"cannot list {request.tree}: {error.strerror}", non_retryable=True
            ) from error
        batches = 0
        for batches, files in enumerate(in_batches(found.files), start=1):
            batch = {"files": files}
            await StateStore.replace_state(id=_batch(batches - 1), value=batch, type=TYPE)
        listing = {"skipped": found.skipped}
        await StateStore.replace_state(id=_listing(), value=listing, type=TYPE)
        return Listed(len(found.files), batches, found.skipped.total())


@activity.defn
async def hash_batch(tree: str, number: int) -> Totals:
    """Hash the files of one batch, and keep the hashes in its document."""
    async with _heartbeats():
        batch = await StateStore.get_state(id=_batch(number), type=TYPE)
        hashed = await asyncio.to_thread(hash_files, tree, batch["files"])
        value = {"hashes": hashed.hashes, "skipped": hashed.skipped}
        await StateStore.save_state_object(id=_batch(number), value=value, type=TYPE)
        size = sum(size for _, size, _ in hashed.hashes)
        return Totals(len(hashed.hashes), size, hashed.skipped.total())


@activity.defn
async def write_report(request: Request, batches: int) -> None:
    """Add up the documents of all batches, and write the report."""
    async with _heartbeats():
        summary = await _summary(batches)
        await asyncio.to_thread(write_summary, request.report, request.tree, summary)


async def _summary(batches: int) -> Summary:
    skipped = Counter((await StateStore.get_state(id=_listing(), type=TYPE))["skipped"])
    hashes = []
    for number in range(batches):
        batch = await StateStore.get_state(id=_batch(number), type=TYPE)
        hashes += batch["hashes"]
        skipped.update(batch["skipped"])
    return summarize(hashes, skipped)


def _listing() -> str:
    return f"{activity.info().workflow_id}/listing"


def _batch(number: int) -> str:
    return f"{activity.info().workflow_id}/batch-{number:06}"


@asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    # A task of its own, since one file may take longer to read than a heartbeat may be late.
    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(_HEARTBEAT.total_seconds())

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
