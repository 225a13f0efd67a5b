"""What each request does, the same in all contexts: activity, script and, by activity, workflow."""

from datetime import timedelta
from typing import Any

from temporal_state.backend import StateBackend
from temporal_state.documents import Caller, DocumentHandle, dumps
from temporal_state.errors import ContextError, TooLargeError
from temporal_state.runs import ChainRef
from temporal_state.temporal._wire import (
    Delete,
    DocumentRequest,
    Exists,
    Get,
    List,
    Merge,
    Previous,
    Replace,
    Request,
    Set,
)


async def perform(
    backend: StateBackend, request: Request, caller: Caller, own: ChainRef | None
) -> Any:
    """Do what is asked, and return its JSON result.

    Args:
        backend: Where.
        request: What.
        caller: On whose behalf.
        own: The chain of the calling run, if a run calls.

    Raises:
        ContextError: The request is about the own document, and no run calls.
    """
    match request:
        case List(type, prefix, limit, cursor):
            documents = backend.documents_for(caller)
            page = await documents.list(type, prefix, limit=limit, cursor=cursor)
            result = {"ids": page.ids, "cursor": page.cursor}
            size = len(dumps(result))
            if caller.max_result is not None and size > caller.max_result:
                raise TooLargeError(
                    f"a page of {limit} ids has {size} bytes of JSON, the limit is "
                    f"{caller.max_result}; ask for fewer at a time"
                )
            return result
        case Previous():
            return await backend.own_documents_for(caller).previous(_known(own))
        case DocumentRequest(id=None):
            handle: DocumentHandle = backend.own_documents_for(caller).one(_known(own))
        case DocumentRequest(id=str(id), type=type):
            handle = backend.documents_for(caller).one(id, type)
        case _:
            raise ContextError(f"{request!r} is no operation; see temporal_state.temporal")
    return await _on_document(handle, request)


async def _on_document(handle: DocumentHandle, request: DocumentRequest) -> Any:
    match request:
        case Get(keys=keys):
            return await handle.get(keys)
        case Set(key=key, value=value, ttl_seconds=ttl):
            await handle.set(key, value, ttl=_ttl(ttl))
            return None
        case Merge(value=value, ttl_seconds=ttl):
            return (await handle.merge(value, ttl=_ttl(ttl))).value
        case Replace(value=value, ttl_seconds=ttl):
            return (await handle.replace(value, ttl=_ttl(ttl))).value
        case Delete():
            return await handle.delete()
        case Exists():
            return await handle.exists()
    raise ContextError(f"{request!r} is no operation; see temporal_state.temporal")


def _known(own: ChainRef | None) -> ChainRef:
    if own is None:
        raise ContextError(
            "the own document belongs to a workflow run, and none is known here: call this in a "
            "workflow whose worker has the StatePlugin, or in an activity that such a one started; "
            "elsewhere use StateStore or StateBackend.documents with an id"
        )
    return own


def _ttl(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
