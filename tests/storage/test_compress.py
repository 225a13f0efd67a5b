"""Compression: side by side with plain objects, and safe against hostile ones."""

import asyncio
import importlib
import secrets
import tracemalloc

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from temporal_state.errors import ConfigurationError, DamagedObjectError, TooLargeError
from temporal_state.storage import Compressed, MemoryStore, TransformedStore

LARGE = b'{"status": "loading", "rows": [' + b'{"name": "row"},' * 1000 + b"0]}"
MAGIC = b"\x28\xb5\x2f\xfd"


@pytest.fixture
async def inner():
    made = MemoryStore()
    await made.open()
    return made


@pytest.fixture
def store(inner):
    return TransformedStore(inner, Compressed())


async def test_large_objects_are_compressed_and_small_ones_are_not(store, inner):
    await store.put("large.json", LARGE)
    await store.put("small.json", b'{"a": 1}')
    stored = (await inner.get("large.json")).data
    assert stored.startswith(MAGIC)
    assert len(stored) < len(LARGE) / 10
    assert (await inner.get("small.json")).data == b'{"a": 1}'
    assert (await store.get("large.json")).data == LARGE
    assert (await store.get("small.json")).data == b'{"a": 1}'


async def test_other_tools_can_read_it_and_write_it(store, inner):
    await store.put("a.json", LARGE)
    assert zstd.decompress((await inner.get("a.json")).data) == LARGE
    await inner.put("b.json", zstd.compress(b"{}", 19))
    assert (await store.get("b.json")).data == b"{}"


async def test_it_can_be_switched_on_for_a_store_that_holds_objects(store, inner):
    await inner.put("a.json", LARGE)
    assert (await store.get("a.json")).data == LARGE
    await store.update("a.json", lambda data: data + b" ")
    assert (await inner.get("a.json")).data.startswith(MAGIC)


async def test_what_would_not_shrink_stays_as_it_is(store, inner):
    data = secrets.token_bytes(10_000)
    await store.put("a.bin", data)
    assert (await inner.get("a.bin")).data == data


@given(data=st.binary(max_size=300), compressed=st.booleans(), threshold=st.integers(0, 200))
def test_any_bytes_come_back(data, compressed, threshold):
    if compressed:
        data = MAGIC + data  # which could be taken for ours
    transform = Compressed(threshold=threshold)

    async def there_and_back():
        return await transform.decode("a", await transform.encode("a", data))

    assert asyncio.run(there_and_back()) == data


async def test_a_bomb_is_refused_before_it_fills_the_memory(inner):
    bomb = zstd.compress(b"\0" * 100_000_000)
    nameless = zstd.ZstdCompressor().compress(b"\0" * 100_000_000)  # does not say how large
    for data in (bomb, nameless):
        await inner.put("a.json", data)
        store = TransformedStore(inner, Compressed(max_size=1_000_000))
        tracemalloc.start()
        with pytest.raises(DamagedObjectError, match=r"'a\.json' .* more than max_size"):
            await store.get("a.json")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()


async def test_an_object_of_just_the_largest_size_is_read_back(inner):
    store = TransformedStore(inner, Compressed(max_size=len(LARGE)))
    await store.put("a.json", LARGE)
    assert (await store.get("a.json")).data == LARGE
    with pytest.raises(TooLargeError, match="max_size"):
        await store.put("a.json", LARGE + b" ")
    assert (await store.get("a.json")).data == LARGE


async def test_every_damage_is_noticed(inner, store):
    whole = await Compressed().encode("a", LARGE)
    for data in (whole[:4], whole[:-1], whole[: len(whole) // 2], whole + b"x", whole + whole):
        await inner.put("a.json", data)
        with pytest.raises(DamagedObjectError):
            await store.get("a.json")
    flipped = [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(4, len(whole))]
    for data in flipped:
        await inner.put("a.json", data)
        try:
            found = (await store.get("a.json")).data
        except DamagedObjectError:
            continue
        assert found == LARGE  # a bit that means nothing
    assert len(flipped) > 50


@pytest.mark.parametrize("options", [{"level": 99}, {"threshold": -1}, {"max_size": 0}])
def test_options_out_of_range_are_refused_at_once(options):
    with pytest.raises(ConfigurationError, match="out of range"):
        Compressed(**options)


def test_without_zstd_the_extra_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigurationError, match=r"temporal-state\[zstd\]"):
        Compressed()
