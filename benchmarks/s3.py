"""Many tasks of one process that change one document on an S3 server, against one at a time.

    python -m benchmarks s3

The server is SeaweedFS on this machine, as the tests start it.
"""

import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks._table import ROUNDS, Goal, Row, clocked, in_turns, in_words
from temporal_state import StateBackend

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from object_servers import BUCKET, SeaweedFS

TASKS = 32


async def rows(*, short: bool) -> AsyncIterator[Row]:
    """Yield the figures."""
    rounds, share = (2, 4) if short else (ROUNDS, 50)
    with tempfile.TemporaryDirectory() as folder:
        server = await asyncio.to_thread(SeaweedFS, Path(folder))
        try:
            os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"] = server.KEYS
            url = f"s3://{BUCKET}/figures?endpoint={server.endpoint}&region=us-east-1"
            async with StateBackend.open(url) as backend:
                for row in await one_document(backend, rounds, share):
                    yield row
        finally:
            server.stop()


async def one_document(backend: StateBackend, rounds: int, share: int) -> list[Row]:
    """Merge into one document; the time of one change is compared."""

    async def task(number: int) -> None:
        for n in range(share):
            await backend.documents.merge("shared", {f"k{number}": n})

    async def ours() -> None:
        await asyncio.gather(*(task(number) for number in range(TASKS)))

    many, one = await in_turns(rounds, clocked(ours), clocked(lambda: task(0)))
    rates = [TASKS * share / seconds for seconds in many]
    note = f"{TASKS * share} and {share} changes: {in_words(many, one)}"
    times = [TASKS * other / mine for mine, other in zip(many, one, strict=True)]
    alone = share / statistics.median(one)
    return [
        Row(
            "S3: 32 tasks of one process on one document",
            "",
            Goal(1000),
            rates,
            "changes/s",
            f"one at a time {alone:.0f} changes/s",
        ),
        Row(
            "S3: 32 tasks of one process on one document",
            "one at a time",
            Goal(10),
            times,
            note=note,
        ),
    ]
