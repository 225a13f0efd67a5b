"""Credentials without their secrets, and with them for the length of one use.

    await state.credentials.save("db", {"credential_type": "database", "password_ref": "db-secret"})
    db = await state.credentials.resolve("db", secrets=vault.read)      # in an activity or script
    connect(password=db["password_ref"])

Saving and reading work in workflow code, too; resolving does not, since whatever workflow code
holds can end up in its history.
"""

from collections.abc import Mapping
from typing import Any

from temporalio import workflow

from temporal_state.documents import (
    Page,
    ResolvedCredential,
    Secrets,
    StateType,
    refuse_in_workflow,
    resolve_config,
)
from temporal_state.state._store import StateStore

__all__ = ["delete", "get", "list", "resolve", "save"]

_TYPE = StateType.CREDENTIALS


async def save(id: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Make ``config`` the whole document, and return it; see `Credentials.save`."""
    return await StateStore.replace_state(id, config, _TYPE)


async def get(id: str) -> dict[str, Any]:
    """Return the document, with references as they are; ``{}`` when there is none."""
    return await StateStore.get_state(id, _TYPE)


async def delete(id: str) -> bool:
    """Delete the document; return whether there was one."""
    return await StateStore.delete_state(id, _TYPE)


async def list(prefix: str = "", *, limit: int = 100, cursor: str | None = None) -> Page:
    """Return the ids that start with ``prefix``, a page at a time."""
    return await StateStore.list_states(_TYPE, prefix, limit=limit, cursor=cursor)


async def resolve(id: str, *, secrets: Secrets) -> ResolvedCredential:
    """Return the document with each reference replaced by its secret; see `Credentials.resolve`."""
    if workflow.in_workflow():
        refuse_in_workflow()
    return await resolve_config(id, await get(id), secrets)
