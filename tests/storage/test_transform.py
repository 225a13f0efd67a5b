"""Transforms between a store and its users: nothing lost, nothing mixed up, nothing stuck."""

import asyncio
import threading
from collections import Counter

import orjson
import pytest

from temporal_state.errors import ConfigurationError, ConflictError, StoreError
from temporal_state.storage import LocalStore, MemoryStore, TransformedStore
from temporal_state.testing import FailingStore


class Mark:
    """Puts a mark before the bytes; can be held up, and can do something meanwhile."""

    def __init__(self, mark: bytes = b"#") -> None:
        self._mark = mark
        self.free = asyncio.Event()
        self.free.set()
        self.reached = asyncio.Event()
        self.meanwhile = []
        self.error: BaseException | None = None

    async def encode(self, key, data):
        self.reached.set()
        await self.free.wait()
        if self.error is not None:
            raise self.error
        for act in self.meanwhile[:1]:
            self.meanwhile.remove(act)
            await act()
        return self._mark + data

    async def decode(self, key, data):
        assert data.startswith(self._mark)
        return data.removeprefix(self._mark)

    def hold(self):
        self.free.clear()
        self.reached.clear()


def append(item):
    return lambda data: orjson.dumps([*orjson.loads(data or b"[]"), item])


async def items(store):
    return orjson.loads((await store.get("a.json")).data)


@pytest.fixture(params=["local", "memory"])
async def inner(request, tmp_path):
    made = LocalStore(tmp_path / "root") if request.param == "local" else MemoryStore()
    yield made
    await made.close()


@pytest.fixture
def mark():
    return Mark()


@pytest.fixture
async def store(inner, mark):
    made = TransformedStore(inner, mark)
    await made.open()
    return made


async def test_the_first_transform_encodes_first_and_decodes_last(inner):
    both = TransformedStore(inner, Mark(b"1"), Mark(b"2"))
    await both.open()
    await both.put("a.json", b"x")
    assert (await inner.get("a.json")).data == b"21x"
    assert (await both.get("a.json")).data == b"x"


@pytest.mark.parametrize("stores", [1, 3])
async def test_of_32_writers_no_change_is_lost_or_made_twice(inner, stores):
    # Several stores meet in the inner one like several processes.
    made = [TransformedStore(inner, Mark()) for _ in range(stores)]
    for store in made:
        await store.open()

    async def write(writer):
        for n in range(5):
            await made[writer % stores].update("a.json", append([writer, n]))

    await asyncio.gather(*(write(writer) for writer in range(32)))
    found = await items(made[0])
    assert Counter(map(tuple, found)) == {(w, n): 1 for w in range(32) for n in range(5)}
    for writer in range(32):
        assert [n for w, n in found if w == writer] == [*range(5)]


async def test_changes_that_wait_together_are_one_commit_in_order(inner):
    counting = FailingStore(inner)
    mark = Mark()
    store = TransformedStore(counting, mark)
    await store.open()
    mark.hold()
    first = asyncio.create_task(store.update("a.json", append(0)))
    await mark.reached.wait()
    others = [asyncio.create_task(store.update("a.json", append(n))) for n in range(1, 50)]
    await asyncio.sleep(0)
    mark.free.set()
    await asyncio.gather(first, *others)
    assert await items(store) == [*range(50)]
    assert counting.calls == 2 + 2 + 1


async def test_a_change_is_made_again_on_what_another_has_written_meanwhile(inner, store, mark):
    other = TransformedStore(inner, Mark())
    await store.put("a.json", b"[1]")
    seen = []

    def change(data):
        seen.append(data)
        return append(3)(data)

    mark.meanwhile = [lambda: other.update("a.json", append(2))]
    await store.update("a.json", change)
    assert await items(store) == [1, 2, 3]
    assert seen == [b"[1]", b"[1,2]"]


async def test_who_creates_an_object_meanwhile_is_not_overwritten(inner, store, mark):
    other = TransformedStore(inner, Mark())
    mark.meanwhile = [lambda: other.put("a.json", b"[1]")]
    await store.update("a.json", append(2))
    assert await items(store) == [1, 2]


async def test_who_deletes_an_object_meanwhile_is_not_undone(inner, store, mark):
    await store.put("a.json", b"[1]")
    mark.meanwhile = [lambda: inner.delete("a.json")]
    await store.update("a.json", append(2))
    assert await items(store) == [2]


async def test_conditions_of_a_put_speak_of_what_is_stored(store):
    etag = await store.put("a.json", b"1", if_absent=True)
    assert (await store.get("a.json")).etag == etag
    await store.update("a.json", lambda _: b"2")
    with pytest.raises(ConflictError):
        await store.put("a.json", b"3", if_match=etag)
    with pytest.raises(ConflictError):
        await store.put("a.json", b"3", if_absent=True)
    await store.put("a.json", b"3", if_match=(await store.get("a.json")).etag)


async def test_a_change_that_is_cancelled_while_it_waits_is_never_made(store, mark):
    mark.hold()
    first = asyncio.create_task(store.update("a.json", append(1)))
    await mark.reached.wait()
    second = asyncio.create_task(store.update("a.json", append(2)))
    third = asyncio.create_task(store.update("a.json", append(3)))
    await asyncio.sleep(0)
    second.cancel()
    mark.free.set()
    await asyncio.gather(first, third)
    assert second.cancelled()
    assert await items(store) == [1, 3]


async def test_a_cancelled_caller_takes_no_other_with_it(store, mark):
    mark.hold()
    busy = asyncio.create_task(store.update("a.json", append(0)))
    await mark.reached.wait()
    tasks = [asyncio.create_task(store.update("a.json", append(n))) for n in (1, 2)]
    await asyncio.sleep(0)

    async def nothing():
        pass

    async def cancel_one():  # both are in one commit by then
        tasks[0].cancel()
        await asyncio.sleep(0)

    mark.meanwhile = [nothing, cancel_one]
    mark.free.set()
    await asyncio.gather(busy, tasks[1])
    assert tasks[0].cancelled()
    assert await items(store) == [0, 1, 2]


async def test_what_all_have_left_is_stopped_and_blocks_nobody(store, mark):
    mark.hold()
    stuck = [asyncio.create_task(store.update("a.json", append(n))) for n in (1, 2)]
    await mark.reached.wait()
    for task in stuck:
        task.cancel()
    await asyncio.wait(stuck)
    mark.free.set()
    await asyncio.wait_for(store.update("a.json", append(3)), 5)
    assert await items(store) == [3]
    assert store._lines == {}


async def test_who_comes_as_the_last_one_leaves_is_served(store, mark):
    mark.hold()
    stuck = asyncio.create_task(store.update("a.json", append(1)))
    await mark.reached.wait()
    stuck.cancel()
    late = asyncio.create_task(store.update("a.json", append(2)))
    mark.free.set()
    await asyncio.wait_for(late, 5)
    assert 2 in await items(store)


async def test_a_loop_that_ends_in_the_middle_leaves_the_others_free(inner):
    store = TransformedStore(inner, Mark())
    await store.open()

    class Hung(Mark):
        async def encode(self, key, data):
            await asyncio.Event().wait()

    hung = TransformedStore(inner, Hung())

    async def leave_it():
        task = asyncio.create_task(hung.update("a.json", append(1)))
        await asyncio.sleep(0.01)
        assert not task.done()

    await asyncio.to_thread(asyncio.run, leave_it())
    assert hung._lines == {}
    await store.update("a.json", append(2))
    assert await items(store) == [2]


async def test_threads_with_loops_of_their_own_lose_nothing(inner):
    store = TransformedStore(inner, Plain())
    await store.open()

    async def work(name):
        await asyncio.gather(*(store.update("a.json", append([name, n])) for n in range(25)))

    threads = [threading.Thread(target=asyncio.run, args=(work(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert len(set(map(tuple, await items(store)))) == len(await items(store)) == 100


@pytest.mark.parametrize("error", [StoreError("the key server is gone"), asyncio.CancelledError()])
async def test_an_encoder_that_fails_fails_all_of_its_commit_and_writes_nothing(store, mark, error):
    await store.put("a.json", b"[]")
    mark.error = error
    tasks = [store.update("a.json", append(n)) for n in range(3)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {type(error)}
    with pytest.raises(type(error)):
        await store.put("a.json", b"[1]")
    mark.error = None
    assert await items(store) == []
    await store.update("a.json", append(4))
    assert await items(store) == [4]


async def test_large_objects_are_changed_off_the_loop(store):
    threads = []

    def change(data):
        threads.append(threading.current_thread())
        return b"x" * 1_000_000

    await store.update("a.json", change)
    await store.update("a.json", change)
    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


class Plain:
    async def encode(self, key, data):
        return data

    async def decode(self, key, data):
        return data


class Lossy(Plain):
    async def decode(self, key, data):
        return data.lower().strip(b"}")


class Codec(Plain):
    async def encode(self, payloads):
        return payloads


@pytest.mark.parametrize(
    ("transform", "hint"), [(Lossy(), "exact reverse"), (Codec(), "CodecTransform"), (7, "encode")]
)
async def test_what_is_no_transform_is_refused_before_anything_is_written(transform, hint):
    inner = FailingStore(MemoryStore())
    with pytest.raises(ConfigurationError, match=hint):
        await TransformedStore(inner, transform).open()
    assert inner.calls == 0
