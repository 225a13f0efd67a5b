"""Whatever is listed, a limit or a cursor that cannot be is refused in the same way."""

import pytest

from temporal_state import InvalidValueError, StateBackend

LISTS = {
    "documents": lambda backend: backend.documents.list,
    "keys": lambda backend: backend.keys.list,
    "runs": lambda backend: backend.runs.list,
    "failed": lambda backend: backend.runs.failed,
    "evaluations": lambda backend: backend.runs.evaluations,
    "snapshots": lambda backend: backend.snapshots.list,
    "audit": lambda backend: backend.audit.list,
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("wrong", [{"limit": 0}, {"cursor": "../x"}, {"cursor": "\0"}], ids=str)
async def test_a_limit_or_cursor_that_is_none_is_refused(name, wrong):
    async with StateBackend.open("memory://") as backend:
        with pytest.raises(InvalidValueError, match=next(iter(wrong))):
            await LISTS[name](backend)(**wrong)
