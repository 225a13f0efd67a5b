"""State that belongs to no run, such as watermarks: in workflow, activity and other code alike.

await state.system.set("orders:watermark", {"offset": 7})
watermark = await state.system.get("orders:watermark")      # .value, .updated_at
"""

from typing import Any

from temporal_state.documents import SystemValue, check_id, plain
from temporal_state.state._context import perform_here
from temporal_state.temporal.requests import SystemGet, SystemSet

__all__ = ["get", "set"]


async def set(key: str, value: Any) -> None:
    """Set an entry, new or not, to any JSON value."""
    await perform_here(SystemSet(check_id(key, "key"), plain(value, "$.value")))


async def get(key: str) -> SystemValue | None:
    """Return an entry's value and when it was set, or ``None``."""
    return SystemGet.value_in(await perform_here(SystemGet(check_id(key, "key"))))
