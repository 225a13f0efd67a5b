"""The store that a page shows how to write keeps the contract, sentence by sentence."""

import types
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import test_conformance
from pages import ROOT, blocks
from test_conformance import *  # noqa: F403 the tests themselves, to run them with another backend

from temporal_state.storage import Object


class AroundDict:
    def __init__(self, objects: dict[str, tuple[Object, datetime]]) -> None:
        self._objects = objects

    def get(self, key: str) -> bytes | None:
        return self._objects[key][0].data if key in self._objects else None

    def put(self, key: str, data: bytes) -> None:
        self._objects[key] = (Object(data, f"theirs-{data!r}"), datetime.now(UTC))

    def delete(self, key: str) -> None:
        del self._objects[key]


PAGE = (ROOT / "docs" / "backends.md").read_text()


@pytest.fixture
async def backend() -> AsyncIterator[types.SimpleNamespace]:
    (block,) = [block for block in blocks(PAGE, "python") if block.file == "dict_store.py"]
    module = types.ModuleType("dict_store")
    exec(block.text, vars(module))
    store = module.DictStore()
    await store.open()
    yield types.SimpleNamespace(store=store, raw=AroundDict(store._objects), overhead=0)
    await store.close()


# Only `open_store`'s own stores have a URL that leads back, and a dict has no folders.
NOT_HERE = {"test_the_url_leads_back_to_the_store", "test_no_key_is_another_keys_folder"}
for name in NOT_HERE:
    del globals()[name]


def test_all_sentences_are_here():
    names = {name for name in vars(test_conformance) if name.startswith("test_")}
    assert len(names) > 20
    assert names - set(globals()) == NOT_HERE
