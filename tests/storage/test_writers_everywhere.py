"""P3 and P4: 32 writers of one document, on every store: none is lost, none counts twice."""

import asyncio
import uuid
from datetime import UTC, datetime
from itertools import chain

import pytest
from object_servers import BUCKET

from temporal_state import StateBackend, StoreError
from temporal_state.documents import Caller, Token
from temporal_state.storage import Compressed
from temporal_state.testing import FailingStore

WRITERS, CHANGES = 32, 4
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
EACH = [f"{writer}-{n}" for writer in range(WRITERS) for n in range(CHANGES)]


async def test_32_tasks_lose_nothing_and_versions_have_no_gaps(backend):
    async with StateBackend.open(backend.store, app="tests") as state:
        document = state.documents.one("shared")

        async def work(writer):
            return [(await document.merge({f"{writer}-{n}": 1})).version for n in range(CHANGES)]

        versions = [*chain(*await asyncio.gather(*map(work, range(WRITERS))))]
        assert sorted(versions) == [*range(1, len(EACH) + 1)]
        assert await document.get() == dict.fromkeys(EACH, 1)


async def test_32_tasks_count_and_append_each_once(backend):
    async with StateBackend.open(backend.store, app="tests") as state:
        document = state.documents.one("shared")

        async def work(writer):
            for n in range(CHANGES):
                sums.append(await document.increment("n"))
                lengths.append(await document.append("log", [f"{writer}-{n}"]))

        sums, lengths = [], []
        await asyncio.gather(*map(work, range(WRITERS)))
        assert sorted(sums) == sorted(lengths) == [*range(1, len(EACH) + 1)]
        found = await document.read()
        assert sorted(found.value["log"]) == sorted(EACH)
        assert found.version == 2 * len(EACH)


class LosesReplies(FailingStore):
    """Every third reply to a change does not arrive."""

    changes = 0

    async def update(self, key, change):
        await self.inner.update(key, change)
        self.changes += 1
        if self.changes % 3 == 0:
            raise StoreError("the reply was lost")


async def test_a_change_whose_reply_is_lost_and_that_is_repeated_counts_once(backend):
    losing = LosesReplies(backend.store)
    async with StateBackend.open(losing, app="tests") as state:

        async def once(name):
            token = Token(name, NOON)
            documents = state.documents.on_behalf_of(Caller(NOON, token))
            for _ in range(50):
                try:
                    return await documents.increment("shared", "n")
                except StoreError:
                    continue
            raise AssertionError(name)

        async def work(writer):
            return [await once(f"{writer}-{n}") for n in range(CHANGES)]

        sums = [*chain(*await asyncio.gather(*map(work, range(WRITERS))))]
        document = await state.documents.read("shared")
    assert losing.changes > len(EACH)
    assert sorted(sums) == [*range(1, len(EACH) + 1)], "each was told its own sum, also again"
    assert (document.value, document.version) == ({"n": len(EACH)}, len(EACH))


PROGRAM = f"""
import asyncio, sys
from temporal_state import Compressed, StateBackend

async def main(url, transform, process):
    transforms = {{"": None, "compressed": Compressed(threshold=0)}}
    async with StateBackend.open(url, app="tests", transform=transforms[transform]) as backend:
        document = backend.documents.one("shared")
        async def write(writer):
            for n in range({CHANGES}):
                print((await document.merge({{f"{{writer}}-{{n}}": 1}})).version)
        first = int(process) * 8
        await asyncio.gather(*(write(writer) for writer in range(first, first + 8)))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(params=["local", "compressed", "postgresql", "s3"])
def shared(request, tmp_path, monkeypatch):
    """A URL that other processes can open too, and the name of a transform."""
    if request.param == "postgresql":
        return f"{request.getfixturevalue('postgres_url')}?schema=w_{uuid.uuid4().hex}", ""
    if request.param == "s3":
        server = request.getfixturevalue("seaweedfs")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.KEYS[0])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.KEYS[1])
        prefix = f"test-{uuid.uuid4().hex}"
        return f"s3://{BUCKET}/{prefix}?endpoint={server.endpoint}&region=us-east-1", ""
    return str(tmp_path / "store"), "" if request.param == "local" else "compressed"


async def test_4_processes_of_8_tasks_lose_nothing_and_versions_have_no_gaps(children, shared):
    url, transform = shared
    running = [children.start(PROGRAM, url, transform, n) for n in range(4)]
    told = await asyncio.gather(*map(children.output, running))
    assert sorted(map(int, "".join(told).split())) == [*range(1, len(EACH) + 1)]
    with_transform = Compressed(threshold=0) if transform else None
    async with StateBackend.open(url, app="tests", transform=with_transform) as backend:
        document = await backend.documents.read("shared")
    assert document.value == dict.fromkeys(EACH, 1)
    assert document.version == len(EACH)
