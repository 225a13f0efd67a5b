"""P2: a process may be killed at any of its system calls, and what it was told is still so.

What was acknowledged is there, documents are old or new and never a part of either, a transaction
took place or did not, and what the dead process left behind is gone at the next use.
"""

import asyncio
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from disks import needs_strace

from temporal_state import Limits, StateBackend

IDS = ["a", "b", "c"]
FILL = "x" * 5000

PROGRAM = """
import asyncio, fcntl, os, signal, sys, threading
from temporal_state import StateBackend
root, operation, last, log = sys.argv[1:]
write = os.write
acknowledged = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
counting, count = threading.Lock(), 0

def mortal(function):
    def call(*args, **options):
        global count
        with counting:
            count += 1
            if count == int(last):
                os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    return call

def watch():
    names = ("open read write close dup stat fstat fsync rename unlink mkdir rmdir listdir scandir")
    for name in names.split():
        setattr(os, name, mortal(getattr(os, name)))
    fcntl.flock = mortal(fcntl.flock)

def acknowledge(n):
    write(acknowledged, str(n).encode())

async def save(documents):
    for n in (1, 2):
        await documents.merge("a", {"n": n})
        acknowledge(n)

async def create(documents):
    await documents.replace("new", {"n": 1})
    acknowledge(1)

async def delete(documents):
    await documents.delete("a")
    acknowledge(1)

async def batch(documents):
    async with documents.batch() as changes:
        for id in "abc":
            await changes.merge(id, {"n": 1})
    acknowledge(1)

async def transaction(documents):
    async with documents.transactions.transaction() as tx:
        for id in "abc":
            await tx.merge(id, {"n": (await tx.get(id))["n"] + 1})
    acknowledge(1)

async def main():
    async with StateBackend.open(root, app="tests") as backend:
        if int(last):
            watch()
        await globals()[operation](backend.documents)
    write(1, str(count).encode())

asyncio.run(main())
"""


def saved(states, done):
    return states["a"]["n"] in {done, done + 1}


def created(states, done):
    return states["new"] in ([{"n": 1}] if done else [{}, {"n": 1}])


def deleted(states, done):
    return states["a"] == {} or (not done and states["a"]["n"] == 0)


def each(states, done):
    return all(states[id]["n"] in ({1} if done else {0, 1}) for id in IDS)


def all_or_nothing(states, done):
    return {states[id]["n"] for id in IDS} in ([{1}] if done else [{0}, {1}])


ALLOWED: dict[str, Callable[..., bool]] = {
    "save": saved,
    "create": created,
    "delete": deleted,
    "batch": each,
    "transaction": all_or_nothing,
}


@pytest.fixture
async def template(tmp_path) -> Path:
    async with StateBackend.open(tmp_path / "template", app="tests") as backend:
        for id in IDS:
            await backend.documents.merge(id, {"n": 0, "fill": FILL})
    return tmp_path / "template"


async def run(children, template, operation, name, *, last=0, watched=()):
    """Run the program on a root of its own until it is killed; return how it ended."""
    root = template.with_name(f"root-{name}")
    log = root.with_suffix(".log")
    await asyncio.to_thread(shutil.copytree, template, root)
    child = children.start(PROGRAM, root, operation, last, log, watched=watched)
    out, err = await asyncio.to_thread(child.communicate, timeout=60)
    assert child.returncode in {0, -9}, err
    await check(root, operation, int((log.read_text()[-1:] if log.exists() else "") or 0))
    await asyncio.to_thread(shutil.rmtree, root)
    return child.returncode, out


async def check(root, operation, done):
    limits = Limits(transaction_patience=timedelta(milliseconds=1))
    async with StateBackend.open(root, app="tests", limits=limits) as backend:
        assert not [*(root / ".temporal_state" / "tmp").glob("*")], "temporaries were not swept"
        names = [*IDS, "new"]
        states = {id: await backend.documents.get(id) for id in names}
        assert ALLOWED[operation](states, done), (states, done)
        assert [states[id] for id in names] == [*await backend.documents.get_many(names)]
        for id in IDS:
            assert states[id].get("fill", FILL) == FILL
            await backend.documents.merge(id, {"more": 1})
            assert await backend.documents.get(id) == {**states[id], "more": 1}
        await backend.documents.sweep_transactions(timedelta())
        keys = [backend.layout.document(id, "workflows").key for id in names]
        assert {*await backend.store.list()} <= {*keys}
        for key in keys:
            found = await backend.store.get(key)
            assert found is None or b'"tx":null' in found.data


async def kill_at(children, template, operation, moments):
    at_once = asyncio.Semaphore(4)

    async def one(moment):
        async with at_once:
            return await run(children, template, operation, moment, last=moment)

    return [status for status, _ in await asyncio.gather(*map(one, moments))]


@pytest.mark.parametrize("operation", ALLOWED)
async def test_a_process_killed_at_some_calls_breaks_no_promise(children, template, operation):
    status, out = await run(children, template, operation, "whole", last=10**9)
    calls = int(out)
    assert status == 0
    assert calls > 10
    moments = range(2, calls, max(calls // 8, 1))
    statuses = await kill_at(children, template, operation, moments)
    # Changes that share a commit make fewer calls than those that come one by one.
    assert statuses.count(-9) > len(moments) // 2


CALLS = "openat,write,close,fsync,fdatasync,/^rename,mkdirat,unlinkat,flock,getdents64"


@pytest.mark.slow
@needs_strace
@pytest.mark.parametrize("operation", ALLOWED)
async def test_a_process_killed_at_any_call_breaks_no_promise(children, template, operation):
    """The same from outside, where no call can hide: the n-th one of any thread is the last."""
    for moment in range(1, 10_000):
        kill = ("-o", "/dev/null", "-e", f"inject={CALLS}:signal=KILL:when={moment}")
        status, _ = await run(children, template, operation, f"strace-{moment}", watched=kill)
        if status == 0:
            break
    assert moment > 5
