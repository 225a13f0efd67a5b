"""Transactions as their callers see them, on every store."""

# ruff: noqa: PT012 - what raises is the end of a block

import asyncio
import random
import uuid
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from temporal_state import (
    ContextError,
    DamagedObjectError,
    InvalidValueError,
    Limits,
    PathTraversalError,
    StateBackend,
    TooLargeError,
    TransactionConflictError,
)
from temporal_state.documents import Caller, Token
from temporal_state.storage import Compressed

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


PLACES = ["local", "memory", "compressed", "postgresql", "s3"]


@pytest.fixture(params=PLACES)
async def backend(request, tmp_path):
    url = "memory://" if request.param == "memory" else tmp_path / "store"
    if request.param == "postgresql":
        url = f"{request.getfixturevalue('postgres_url')}?schema=tx_{uuid.uuid4().hex}"
    if request.param == "s3":
        url = request.getfixturevalue("s3_store")
    transform = Compressed() if request.param == "compressed" else None
    limits = Limits(document_bytes=1000)
    async with StateBackend.open(url, app="tests", limits=limits, transform=transform) as opened:
        yield opened


@pytest.fixture
def documents(backend):
    return backend.documents


async def raw(backend, id="a"):
    found = await backend.store.get(backend.layout.document(id, "workflows").key)
    return orjson.loads(found.data)


async def records(backend):
    return await backend.store.list(backend.layout.transaction(""))


async def test_changes_of_several_documents_take_effect_together(backend, documents):
    await documents.merge("a", {"n": 1, "old": True})
    async with backend.transaction() as tx:
        await tx.merge("a", {"n": 2})
        await tx.replace("b", {"n": 3})
        await tx.set("c", "n", 4, "mine")
        await tx.delete("never there")
        assert await documents.get("a") == {"n": 1, "old": True}
    found = await documents.get_many(["a", "b", ("c", "mine"), "never there"])
    assert found == [{"n": 2, "old": True}, {"n": 3}, {"n": 4}, {}]
    assert await records(backend) == []
    assert (await raw(backend))["$temporal_state"]["tx"] is None


async def test_a_block_that_raises_changes_nothing(backend, documents):
    await documents.merge("a", {"n": 1})
    with pytest.raises(ZeroDivisionError):
        async with backend.transaction() as tx:
            await tx.merge("a", {"n": 2})
            await tx.merge("b", {"n": 2})
            1 / 0  # noqa: B018
    assert await documents.get_many(["a", "b"]) == [{"n": 1}, {}]


async def test_a_block_sees_its_own_changes_in_order(backend, documents):
    await documents.merge("a", {"n": 1, "m": 1})
    async with backend.transaction() as tx:
        await tx.merge("a", {"n": 2})
        assert await tx.get("a") == {"n": 2, "m": 1}
        await tx.replace("a", {"n": 3})
        assert await tx.get("a") == {"n": 3}
        await tx.delete("a")
        assert await tx.get("a") == {}
        assert not await tx.exists("a")
        await tx.merge("a", {"new": [1]})
        (await tx.get("a"))["new"].append(2)  # a copy
        assert await tx.get("a") == {"new": [1]}
        await tx.merge("b", {})
    assert await documents.get("a") == {"new": [1]}
    assert await documents.exists("b")


async def test_every_change_of_a_document_can_be_part_of_a_transaction(backend, documents):
    await documents.merge("a", {"n": 1, "list": [1], "map": {"x": 1, "y": 2}})
    async with backend.transaction() as tx:
        await tx.increment("a", "n", 2)
        await tx.append("a", "list", 2, items=[3], limit=2)
        await tx.patch("a", {"map": {"x": None}})
        seen = await tx.get("a")
        await tx.increment("b", "n")
    expected = {"n": 3, "list": [2, 3], "map": {"y": 2}}
    assert seen == expected
    assert await documents.get_many(["a", "b"]) == [expected, {"n": 1}]
    with pytest.raises(InvalidValueError, match="no number"):
        async with backend.transaction() as tx:
            await tx.merge("b", {"never": True})
            await tx.increment("a", "list")
    assert await documents.get("b") == {"n": 1}
    assert await records(backend) == []


async def test_every_change_of_a_transaction_has_a_version(backend, documents):
    await documents.merge("a", {"n": 1})
    async with backend.transaction() as tx:
        await tx.merge("a", {"n": 2})
        await tx.merge("a", {"n": 3})
        await tx.merge("b", {"n": 1})
        await tx.get("c")
    versions = [getattr(await documents.read(id), "version", None) for id in "abc"]
    assert versions == [3, 1, None]


@pytest.mark.parametrize("writes", [[], ["b"], ["a", "b"], ["x", "y"]])
async def test_what_was_read_and_changed_since_is_a_conflict(backend, documents, writes):
    await documents.merge("a", {"n": 1})
    expected = r"workflows/a was at version 1 .* version 2"
    with pytest.raises(TransactionConflictError, match=expected):
        async with backend.transaction() as tx:
            await tx.get("a")
            await tx.get("b")
            for id in writes:
                await tx.merge(id, {"n": 5})
            await documents.merge("a", {"n": 2})
    assert await documents.get_many(["a", "b", "x"]) == [{"n": 2}, {}, {}]
    assert await records(backend) == []


async def test_absence_is_read_too(backend, documents):
    with pytest.raises(TransactionConflictError, match=r"was absent at version 0 .* at version 1"):
        async with backend.transaction() as tx:
            assert not await tx.exists("a")
            await tx.merge("a", {"mine": True})
            await tx.merge("b", {"mine": True})
            await documents.merge("a", {"theirs": True})
    assert await documents.get_many(["a", "b"]) == [{"theirs": True}, {}]


async def test_an_absent_document_that_was_only_read_stays_absent(backend, documents):
    async with backend.transaction() as tx:
        await tx.get("absent")
        await tx.merge("a", {"n": 1})
        await tx.merge("b", {"n": 1})
    assert not await documents.exists("absent")
    assert await documents.read("absent") is None
    assert (await documents.list()).ids == ["a", "b"]
    async with backend.transaction() as tx:  # ... also for the next who reads it
        await tx.get("absent")
        await tx.merge("b", {"n": 2})
    assert await documents.merge("absent", {"n": 1}) == {"n": 1}
    assert (await documents.read("absent")).version == 1


async def test_blind_changes_meet_no_conflict(backend, documents):
    async with backend.transaction() as tx:
        await tx.merge("a", {"mine": True})
        await tx.merge("b", {"mine": True})
        await documents.merge("a", {"theirs": True})
    assert await documents.get("a") == {"mine": True, "theirs": True}


async def test_what_expires_under_a_transaction_is_a_conflict(tmp_path):
    now = NOON
    async with StateBackend.open("memory://", app="tests", clock=lambda: now) as backend:
        await backend.documents.set("a", "lease", 1, ttl=timedelta(hours=1))
        with pytest.raises(TransactionConflictError, match="other content"):
            async with backend.transaction() as tx:
                assert await tx.get("a") == {"lease": 1}
                now += timedelta(hours=2)
                await tx.merge("b", {"n": 1})
        async with backend.transaction() as tx:
            await tx.set("b", "lease", 2, ttl=timedelta(hours=1))
            await tx.replace("c", {"n": 1}, ttl=timedelta(hours=1))
        assert await backend.documents.get_many(["b", "c"]) == [{"lease": 2}, {"n": 1}]
        now += timedelta(hours=2)
        assert await backend.documents.get_many(["b", "c"]) == [{}, {}]


async def test_a_file_of_another_tool_takes_part(backend, documents):
    key = backend.layout.document("a", "workflows").key
    await backend.store.put(key, b'{"n": 1}')
    async with backend.transaction() as tx:
        read = await tx.get("a")
        await tx.merge("b", {"n": read["n"] + 1})
    with pytest.raises(TransactionConflictError, match="other content"):
        async with backend.transaction() as tx:
            await tx.get("a")
            await tx.merge("b", {"n": 7})
            await backend.store.put(key, b'{"n": 3}')
    assert await documents.get_many(["a", "b"]) == [{"n": 3}, {"n": 2}]


@pytest.mark.parametrize("tx", ["x", 1, [], {}, {"id": 1}, {"id": ""}, {"id": None, "next": {}}])
async def test_a_mark_that_can_be_none_is_damage(backend, documents, tx):
    await documents.merge("a", {"n": 1})
    stored = await raw(backend)
    stored["$temporal_state"]["tx"] = tx
    await backend.store.put(backend.layout.document("a", "workflows").key, orjson.dumps(stored))
    with pytest.raises(DamagedObjectError):
        await documents.get("a")
    with pytest.raises(DamagedObjectError):
        await documents.merge("a", {"n": 2})


async def test_a_mark_without_a_record_is_no_obstacle_wherever_it_points(backend, documents):
    await documents.merge("a", {"n": 1})
    stored = await raw(backend)
    stored["$temporal_state"]["tx"] = {"id": "../../../x", "next": {"state": {"n": 9}}}
    await backend.store.put(backend.layout.document("a", "workflows").key, orjson.dumps(stored))
    assert await documents.get("a") == {"n": 1}
    assert await documents.merge("a", {"m": 1}) == {"n": 1, "m": 1}
    assert (await raw(backend))["$temporal_state"]["tx"] is None


async def test_too_large_a_document_leaves_all_as_they_were(backend, documents):
    with pytest.raises(TooLargeError, match="workflows/z"):
        async with backend.transaction() as tx:
            await tx.merge("a", {"n": 1})
            await tx.merge("z", {"text": "x" * 2000})
    assert await documents.get("a") == {}
    assert await records(backend) == []


async def test_more_than_sixteen_documents_are_refused_at_once(backend, documents):
    async with backend.transaction() as tx:
        for n in range(16):
            await tx.merge(f"d{n}", {"n": n})
        with pytest.raises(TooLargeError, match="17 documents"):
            await tx.get("one more")
    assert len(await documents.get_many([f"d{n}" for n in range(16)])) == 16
    with pytest.raises(TooLargeError, match="limit of 16"):
        await documents.get_many([f"d{n}" for n in range(17)])


async def test_bad_names_and_values_are_refused_where_they_are_given(backend):
    async with backend.transaction() as tx:
        for attempt in (tx.get("../up"), tx.delete("/etc/passwd"), tx.merge("..", {})):
            with pytest.raises(PathTraversalError):
                await attempt
        with pytest.raises(InvalidValueError):
            await tx.merge("a", {"n": float("nan")})
        with pytest.raises(ContextError):
            await tx.get(None)
    with pytest.raises(ContextError, match="has ended"):
        await tx.merge("a", {})


async def test_get_many_answers_in_the_order_asked(documents):
    for id in "abc":
        await documents.merge(id, {"id": id})
    found = await documents.get_many(["c", "a", "c", "none", ("b", "workflows")])
    assert found == [{"id": "c"}, {"id": "a"}, {"id": "c"}, {}, {"id": "b"}]
    assert await documents.get_many([]) == []
    assert await documents.get_many(["a"]) == [{"id": "a"}]


async def test_transact_runs_again_until_there_is_no_conflict(backend, documents):
    runs = 0

    async def add(tx):
        nonlocal runs
        runs += 1
        n = (await tx.get("a")).get("n", 0)
        if runs < 4:
            await documents.merge("a", {"n": n + 100})
        await tx.merge("a", {"n": n + 1})
        await tx.merge("b", {"n": n + 1})
        return n

    assert await backend.transact(add) == 300
    assert await documents.get_many(["a", "b"]) == [{"n": 301}, {"n": 301}]
    runs = 0
    with pytest.raises(TransactionConflictError):
        await backend.transact(add, attempts=2)
    assert runs == 2
    runs = 0
    with pytest.raises(TransactionConflictError):
        await backend.transact(add, deadline=timedelta())
    assert runs == 1


async def test_tokens_count_for_transactions_and_single_changes_alike(backend, documents):
    once = documents.on_behalf_of(Caller(NOON, Token("one", NOON)))
    for _ in range(3):
        async with once.transactions.transaction() as tx:
            await tx.merge("a", {"n": 1})
            await tx.merge("b", {"n": 1})
        await once.merge("a", {"n": 1})
        await documents.delete("b")
    assert (await documents.read("a")).version == 1
    assert not await documents.exists("b")


async def test_a_repetition_that_would_change_other_documents_changes_none(backend, documents):
    once = documents.on_behalf_of(Caller(NOON, Token("one", NOON, "named")))
    for others in ("b", "0", "c"):
        async with once.transactions.transaction() as tx:
            await tx.merge("a", {"n": 1})
            await tx.merge(others, {"n": 1})
    assert await documents.get_many(["a", "b", "0", "c"]) == [{"n": 1}, {"n": 1}, {}, {}]
    assert (await documents.read("a")).version == 1


async def test_a_single_document_costs_no_record(backend, documents, monkeypatch):
    puts = []

    async def put(_store, key, *_, **__):
        puts.append(key)

    monkeypatch.setattr(backend.store.__class__, "put", put)
    async with backend.transaction() as tx:
        await tx.get("a")
        await tx.merge("a", {"n": 1})
    assert puts == []
    assert await documents.get("a") == {"n": 1}


ACCOUNTS = [f"account-{n}" for n in range(8)]
TELLER = f"""
import asyncio, random, sys
from temporal_state import StateBackend, TransactionConflictError
ACCOUNTS = {ACCOUNTS}

async def transfers(backend, count):
    for _ in range(count):
        source, target = random.sample(ACCOUNTS, 2)
        async def move(tx):
            a, b = await tx.get(source), await tx.get(target)
            await tx.merge(source, {{"n": a["n"] - 1}})
            await tx.merge(target, {{"n": b["n"] + 1}})
        await backend.transact(move, attempts=1000)

async def main(root):
    async with StateBackend.open(root, app="bank") as backend:
        await asyncio.gather(*(transfers(backend, 2) for _ in range(4)))

asyncio.run(main(sys.argv[1]))
"""


async def test_transfers_of_four_processes_keep_the_sum_and_no_reader_sees_half(children, tmp_path):
    async with StateBackend.open(tmp_path, app="bank") as backend:
        for account in ACCOUNTS:
            await backend.documents.merge(account, {"n": 100})
        tellers = [children.start(TELLER, tmp_path) for _ in range(4)]
        working = asyncio.gather(*(children.output(teller) for teller in tellers))
        readings = 0
        while not working.done():
            balances = [state["n"] for state in await backend.documents.get_many(ACCOUNTS)]
            assert sum(balances) == 800
            readings += 1
            await asyncio.sleep(0)
        await working
        assert readings > 3
        states = [await backend.documents.read(account) for account in ACCOUNTS]
        assert sum(state.value["n"] for state in states) == 800
        assert sum(state.version for state in states) == 8 + 2 * 4 * 4 * 2
        assert await records(backend) == []


async def test_a_process_killed_in_its_work_leaves_whole_transfers(children, tmp_path):
    limits = Limits(transaction_patience=timedelta(milliseconds=200))
    async with StateBackend.open(tmp_path, app="bank", limits=limits) as backend:
        for account in ACCOUNTS:
            await backend.documents.merge(account, {"n": 100})

        async def versions():
            return [(await backend.documents.read(account)).version for account in ACCOUNTS]

        for _ in range(3):
            before = await versions()
            teller = children.start(TELLER.replace("(backend, 2)", "(backend, 99)"), tmp_path)
            while await versions() == before:
                await asyncio.sleep(0.001)
            await asyncio.sleep(random.uniform(0, 0.1))
            teller.kill()
            await asyncio.to_thread(teller.wait)
            found = [state["n"] for state in await backend.documents.get_many(ACCOUNTS)]
            assert sum(found) == 800
            for account in ACCOUNTS:
                await backend.documents.merge(account, {"alive": True})
            await backend.documents.sweep_transactions(timedelta())
            assert await records(backend) == []
            assert [s["n"] for s in await backend.documents.get_many(ACCOUNTS)] == found
