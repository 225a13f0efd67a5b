"""Everything that is kept for one execution, deleted by its id.

The parts are named by a convention, ``exec:{id}:...`` for keys, and the bound is exact: the id is
followed by a colon or by nothing, so ``exec:1`` leaves ``exec:10``. (An id that holds a colon can
be part of a longer one's; `delete_keys` cannot tell, since a name is only text.)

What further layers keep for an execution (snapshots, say) they delete in functions of their own
and add a field to `DeletedState`; `StateBackend.delete_execution_state` calls them one by one.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from temporal_state.documents._ids import check_id
from temporal_state.documents._pages import pages

if TYPE_CHECKING:
    from temporal_state.documents._documents import Documents
    from temporal_state.documents._key_values import Keys

KEY_PREFIX = "exec:{id}"


@dataclass(frozen=True, slots=True)
class DeletedState:
    """How much of an execution's state a call has deleted.

    Attributes:
        documents: So many documents.
        keys: So many keys.
    """

    documents: int = 0
    keys: int = 0


async def delete_documents(documents: "Documents", id: str, types: Sequence[str]) -> int:
    """Delete the documents of some types that have this id; return how many there were."""
    return sum([await documents.delete(id, type) for type in types])


async def delete_keys(keys: "Keys", id: str, key_prefix: str = KEY_PREFIX) -> int:
    """Delete the key of an execution and all below it; return how many there were.

    Args:
        keys: Among which keys.
        id: The execution's id.
        key_prefix: What the names are, or start with before a colon; ``{id}`` stands for the id.
    """
    name = check_id(key_prefix.replace("{id}", check_id(id)), "key prefix")
    deleted = int(await keys.delete(name))
    async for page in pages(keys.engine, keys.layout.keys, f"{name}:"):
        deleted += sum(await asyncio.gather(*(keys.delete(below) for below in page.ids)))
    return deleted
