"""Lines that say who removed or restored what, and when; they are only ever added.

A line is written before what it tells of is done: nothing is done without one, and a line may stand
for something that failed half-way.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from temporal_state.documents import Engine, Layout, from_text, plain_object, to_text
from temporal_state.runs._listed import Listed, check_limit, check_window, place_after
from temporal_state.runs._objects import Objects, decoding


@dataclass(frozen=True, slots=True)
class AuditLine:
    """Who did what, and when.

    Attributes:
        time: When it was begun.
        action: What: ``run.delete``, ``snapshot.restore`` and so on.
        actor: Who, as the caller said; ``None`` if it did not.
        target: What it was done to.
        details: What else is known of it.
    """

    time: datetime
    action: str
    actor: str | None
    target: dict[str, Any]
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Audit:
    """The lines of one application (and tenant)."""

    engine: Engine
    layout: Layout

    async def write(
        self,
        action: str,
        target: Mapping[str, Any],
        *,
        actor: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> AuditLine:
        """Add a line."""
        now = self.engine.now()
        line = AuditLine(
            now,
            action,
            actor,
            plain_object(dict(target), "target"),
            plain_object(dict(details or {}), "details"),
        )
        value = {
            "time": to_text(now),
            "action": action,
            "actor": actor,
            "target": line.target,
            "details": line.details,
        }
        key = f"{self._prefix}{_place(now)}-{secrets.token_hex(8)}.json"
        writing = Objects(self.engine).create(key, value)
        await self.engine.to_the_end(writing, f"writing the audit line {key}")
        return line

    async def list(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Listed[AuditLine]:
        """Return lines, the oldest first, a page at a time.

        Args:
            since: Only those from this time on.
            until: Only those before this time.
            limit: At most that many, 1 to 1,000.
            cursor: The ``cursor`` of the page before.
        """
        check_limit(limit)
        check_window(since, until)
        objects = Objects(self.engine)
        after = place_after(self._prefix, cursor, "" if since is None else _place(since))
        keys = await objects.page(self._prefix, after, limit)
        places = [key.removeprefix(self._prefix) for key in keys]
        end = None if until is None else _place(until)
        within = [place for place in places if end is None or place < end]
        lines = [await objects.find(f"{self._prefix}{place}") for place in within]
        more = within[-1] if len(within) == limit else None
        return Listed([_line(line) for line in lines if line is not None], more)

    @property
    def _prefix(self) -> str:
        return f"{self.layout.base}/audit/"


def _place(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m/%Y%m%dt%H%M%S%f}"


def _line(value: dict[str, Any]) -> AuditLine:
    with decoding("a line of the audit"):
        return AuditLine(
            from_text(value["time"]),
            value["action"],
            value["actor"],
            value["target"],
            value["details"],
        )
