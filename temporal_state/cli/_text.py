"""Text from a store, made fit for a terminal.

Ids, messages and values are whatever somebody wrote, and a terminal obeys what it is shown: control
characters are shown by their number instead.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from temporal_state.documents import dumps

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def harmless(text: str) -> str:
    """Return text on one line, with nothing in it that a terminal would obey."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def harmless_json(text: str) -> str:
    """Return JSON text that says the same, with nothing in it that a terminal would obey."""
    return _CONTROL.sub(lambda m: m[0] if m[0] == "\n" else f"\\u{ord(m[0]):04x}", text)


def short(text: str, width: int = 60) -> str:
    """Return text that is harmless and not too long."""
    text = harmless(text)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def value_text(value: Any, width: int = 60) -> str:
    """Return a JSON value on one line."""
    return short(dumps(value).decode(), width)


def time_text(time: datetime | None) -> str:
    """Return a time to the second, in UTC."""
    return "" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def duration_text(duration: timedelta | None) -> str:
    """Return a duration with the precision that people care for."""
    if duration is None:
        return ""
    seconds = duration.total_seconds()
    if abs(seconds) < 1:
        return f"{seconds * 1000:.0f} ms"
    if abs(seconds) < _MINUTE:
        return f"{seconds:.1f} s"
    minutes = int(seconds // _MINUTE)
    if seconds < _HOUR:
        return f"{minutes} min {seconds % _MINUTE:.0f} s"
    if seconds < _DAY:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes // 60 % 24} h"


def count_text(count: float) -> str:
    """Return a number as people read it."""
    return f"{count:,.0f}" if float(count).is_integer() else f"{count:,.1f}"
