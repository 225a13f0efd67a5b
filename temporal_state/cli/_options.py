"""Options and arguments that several commands share, and how their values are read."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeAlias

import typer

from temporal_state.documents import check_foreign, loads
from temporal_state.errors import InvalidValueError

WorkflowId: TypeAlias = Annotated[
    str, typer.Argument(metavar="WORKFLOW_ID", help="Which workflow.")
]
RunId: TypeAlias = Annotated[
    str | None, typer.Option("--run-id", help="Which run of it; by default the newest.")
]
WorkflowType: TypeAlias = Annotated[
    str | None, typer.Option("--type", "-t", help="Only runs of this workflow type.")
]
DocumentId: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="The document's id.")]
DocumentType: TypeAlias = Annotated[str, typer.Option("--type", "-t", help="The document's type.")]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Limit: TypeAlias = Annotated[
    int, typer.Option("--limit", "-n", min=1, max=1000, help="At most that many.")
]
Since: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help="From this time on: 2026-05-01T12:00Z, or 2h ago."
    ),
]
Until: TypeAlias = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Before this time, likewise.")
]

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def span(text: str) -> timedelta:
    """Return a duration such as ``90s``, ``15m``, ``2h``, ``7d`` or ``1w``."""
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no duration; give one like 90s, 15m, 2h or 7d")
    try:
        return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is too long; give at most some years") from None


def moment(text: str | None, now: datetime) -> datetime | None:
    """Return a time: an ISO date or time (UTC unless it says otherwise), or so long before now."""
    if text is None:
        return None
    cleaned = text.strip().removesuffix("ago").strip()
    if _SPAN.fullmatch(cleaned.lower()):
        return now - span(cleaned)
    try:
        time = datetime.fromisoformat(cleaned)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time; give one like 2026-05-01, 2026-05-01T12:00Z or 2h"
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def json_object(text: str, option: str) -> dict[str, Any]:
    """Return the JSON object that an option gives."""
    value = parse(text.encode(errors="surrogateescape"))
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{option} is no JSON object; give one like '{{\"key\": 1}}'")
    return value


def parse(data: bytes) -> Any:
    """Return the value of JSON that somebody wrote; refuse what would be changed in silence."""
    try:
        value = loads(data)
        check_foreign(b'{"it": %b}' % data, but="")  # which looks into objects only
    except ValueError as error:
        raise InvalidValueError(f"this is no JSON that can be kept: {error}; mend it") from error
    return value
