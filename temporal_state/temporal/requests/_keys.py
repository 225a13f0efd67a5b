"""Operations on keys, on the system state, and on all that is kept for an execution.

The value of a key travels as ``{"value": ...}``, or as ``{"base64": "..."}`` if it is bytes, since
JSON has none.
"""

from dataclasses import KW_ONLY, asdict, field
from typing import Any

from temporal_state.documents import KEY_PREFIX, StateType, SystemValue, from_text, to_text
from temporal_state.temporal.requests._base import Request, Scope, request
from temporal_state.temporal.requests._documents import to_ttl


@request
class KeyRequest(Request):
    """An operation on one key.

    Attributes:
        name: The key's name.
    """

    name: str


@request
class KeySet(KeyRequest):
    """Set a key. Returns nothing."""

    operation = "keys.set"
    returns_little = True
    changes = True
    _: KW_ONLY
    packed: dict[str, Any]
    ttl_seconds: float | None = None

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        keys = scope.backend.keys_for(scope.caller)
        await keys.put(self.name, self.packed, ttl=to_ttl(self.ttl_seconds))


@request
class KeyGet(KeyRequest):
    """Read a key. Returns its value as `KeySet` takes it, or ``{}``."""

    operation = "keys.get"

    def reading(self) -> "KeyGet":
        """See base class."""
        return self

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return await scope.backend.keys_for(scope.caller).fetch(self.name)


@request
class KeyExists(KeyRequest):
    """Return whether there is a key."""

    operation = "keys.exists"

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return await scope.backend.keys_for(scope.caller).exists(self.name)


@request
class KeyDelete(KeyRequest):
    """Delete a key. Returns whether there was one."""

    operation = "keys.delete"
    returns_little = True
    changes = True

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return await scope.backend.keys_for(scope.caller).delete(self.name)


@request
class KeyExpire(Request):
    """Take away the values of keys that have expired. Returns how many there were.

    Attributes:
        limit: At most that many, so that it ends in time; call it again until it returns less.
    """

    operation = "keys.expire"
    changes = True
    regular = True
    lengthy = True
    limit: int = 1000

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return await scope.backend.keys_for(scope.caller).expire(limit=self.limit)


@request
class KeyList(Request):
    """List the names of keys by prefix. Returns ``{"ids": [...], "cursor": ...}``."""

    operation = "keys.list"
    prefix: str = ""
    limit: int = 100
    cursor: str | None = None

    def reading(self) -> "KeyList":
        """See base class."""
        return self

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        keys = scope.backend.keys_for(scope.caller)
        page = await keys.list(self.prefix, limit=self.limit, cursor=self.cursor)
        result = {"ids": page.ids, "cursor": page.cursor}
        return scope.fitting(result, f"a page of {self.limit} names is too large, ask for fewer")


@request
class SystemSet(Request):
    """Set an entry of the system state. Returns nothing."""

    operation = "system.set"
    returns_little = True
    changes = True
    key: str
    value: Any

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        await scope.backend.system.on_behalf_of(scope.caller).set(self.key, self.value)


@request
class SystemGet(Request):
    """Read an entry of the system state.

    Returns ``{"value": ..., "updated_at": "..."}``, or nothing when there is none.
    """

    operation = "system.get"
    key: str

    def reading(self) -> "SystemGet":
        """See base class."""
        return self

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        found = await scope.backend.system.on_behalf_of(scope.caller).get(self.key)
        if found is None:
            return None
        updated = to_text(found.updated_at) if found.updated_at else None
        result = {"value": found.value, "updated_at": updated}
        return scope.fitting(result, f"entry {self.key} of the system state is too large")

    @staticmethod
    def value_in(result: Any) -> SystemValue | None:
        """Return the entry that a result is about."""
        if result is None:
            return None
        updated = result["updated_at"]
        return SystemValue(result["value"], from_text(updated) if updated else None)


@request
class DeleteExecutionState(Request):
    """Delete what is kept for an execution. Returns ``{"documents": 1, "keys": 2}``.

    Regular, because it takes as long as there are keys.
    """

    operation = "executions.delete"
    changes = True
    regular = True
    id: str
    _: KW_ONLY
    types: list[str] = field(default_factory=lambda: [StateType.WORKFLOWS.value])
    key_prefix: str = KEY_PREFIX

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        deleted = await scope.backend.delete_execution_state(
            self.id, types=self.types, key_prefix=self.key_prefix, caller=scope.caller
        )
        return asdict(deleted)
