"""What an operation may return is limited, and only that: a large document can still be changed."""

import dataclasses

import pytest
from temporalio.testing import ActivityEnvironment

from temporal_state import StateBackend, TooLargeError
from temporal_state.runs import ChainRef
from temporal_state.temporal._call import ActivityCall
from temporal_state.temporal.requests import (
    Append,
    Delete,
    Increment,
    KeySet,
    Merge,
    Previous,
    Set,
    SystemSet,
)

LIMIT = 100
LARGE = {"x": "y" * 2 * LIMIT}


@pytest.fixture
async def backend():
    async with StateBackend.open("memory://", app="tests") as opened:
        yield opened


async def perform(backend, request):
    """Perform an operation as its activity does, in the second chain of a workflow id."""
    name = f"temporal_state.{request.operation}"
    info = dataclasses.replace(ActivityEnvironment.default_info(), activity_type=name)
    call = ActivityCall(backend, info, None, LIMIT)
    call.home = ChainRef("default", "w", "second")
    return await request.perform(call.scope(request))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Set(id="large", key="n", value=1), None),
        (Increment(id="large", key="n"), 1),
        (Append(id="large", key="list", items=[1]), 1),
        (Delete(id="large"), True),
        (KeySet("key", packed={"value": LARGE["x"]}), None),
        (SystemSet("entry", LARGE["x"]), None),
    ],
    ids=lambda value: getattr(value, "operation", ""),
)
async def test_a_change_that_returns_little_may_be_of_a_large_document(backend, request_, expected):
    await backend.documents.replace("large", LARGE)
    assert await perform(backend, request_) == expected


async def test_a_change_that_returns_a_large_document_is_refused_before_it_is_made(backend):
    await backend.documents.replace("large", LARGE)
    with pytest.raises(TooLargeError):
        await perform(backend, Merge(id="large", value={"n": 1}))
    assert await backend.documents.get("large") == LARGE


async def test_the_document_of_the_chain_before_is_limited_as_all_that_is_read(backend):
    await backend.own_documents.one(ChainRef("default", "w", "first")).merge(LARGE)
    with pytest.raises(TooLargeError):
        await perform(backend, Previous())
