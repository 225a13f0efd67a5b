"""Changes that share one taking apart are as if each had taken the document apart itself."""

import asyncio

import pytest

from temporal_state import StateBackend


@pytest.mark.parametrize("url", ["memory://", "files"])
async def test_what_a_caller_does_with_its_state_changes_nobody_elses(url, tmp_path):
    async with StateBackend.open(tmp_path if url == "files" else url) as backend:
        merge = backend.documents.merge
        for change in ({"n": 0}, {"deep": {"list": [1]}}):
            await merge("d", change)
            states = await asyncio.gather(*(merge("d", {f"k{n}": n}) for n in range(16)))
            stored = await backend.documents.get("d")
            for place, state in enumerate(states):
                state["mine"] = True
                if "deep" in state:
                    assert state["deep"] == {"list": [1]}
                    state["deep"]["list"].append(2)
                assert ["mine" in other for other in states].count(True) == place + 1
            assert await merge("d", {}) == stored == await backend.documents.get("d")


async def test_each_caller_gets_the_state_and_version_after_its_own_change(tmp_path):
    async with StateBackend.open(tmp_path) as backend:
        one = backend.documents.one("d")
        found = await asyncio.gather(*(one.merge({f"k{n}": n}) for n in range(32)))
    assert [document.version for document in found] == [*range(1, 33)]
    assert [len(document.value) for document in found] == [*range(1, 33)]


async def test_a_change_that_fails_leaves_nothing_to_the_next(tmp_path):
    async with StateBackend.open(tmp_path) as backend:
        one = backend.documents.one("d")
        await one.merge({"text": "x"})
        outcomes = await asyncio.gather(
            one.merge({"a": 1}),
            one.increment("text", 1),
            one.merge({"b": 1}),
            return_exceptions=True,
        )
        assert isinstance(outcomes[1], Exception)
        assert await one.get() == {"text": "x", "a": 1, "b": 1}
        assert (await one.read()).version == 3
