"""How far a catalog has come: what it has followed by now, and what it has yet to look for again.

Who found nothing new may remember this, and next time look only whether the feed has more, as long
as the catalog is the same. So a catalog has a name of its own, which tells it from another that was
put in its place.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from temporal_state.runs.catalog import _sql
from temporal_state.runs.catalog._feed import SKEW, minute
from temporal_state.runs.catalog._link import CatalogMissingError, Link
from temporal_state.runs.catalog._writes import Waiting, waiting

LOOKS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Standing:
    """How far one catalog has come.

    Attributes:
        name: The catalog's; empty for one that has none, which cannot be remembered.
        since: The minute from which names of writers count.
        cursors: The last entry of each writer that was taken in.
        waiting: Changes to look for again, first those whose time comes first.
    """

    name: str
    since: str
    cursors: Mapping[str, int]
    waiting: Sequence[Waiting]


def standing(link: Link) -> Standing:
    """Return how far a catalog has come.

    Raises:
        CatalogMissingError: It was never finished, or is of another version.
    """
    with link.reading():
        found = _meta(link)
        # One that is later was noted when the clock was ahead; who writes now has earlier names.
        since = min(found["since"], latest_since(datetime.now(UTC)))
        cursors = dict(link.rows(_sql.GET_CURSORS, (since,)))
        return Standing(found.get("name", ""), since, cursors, waiting(link, LOOKS_AT_ONCE))


def latest_since(now: datetime) -> str:
    """Return the minute from which names of writers must count at a time."""
    return minute(now - SKEW)


def name_of(link: Link) -> str:
    """Return the name of a catalog, empty if it has none.

    Raises:
        CatalogMissingError: It was never finished, or is of another version.
    """
    return _meta(link).get("name", "")


def _meta(link: Link) -> dict[str, str]:
    found: dict[str, str] = dict(link.rows(_sql.GET_POSITION))
    if found.get("schema") != str(_sql.SCHEMA) or "built" not in found:
        raise CatalogMissingError("the catalog was never finished, or by another version")
    return found


def move(link: Link, since: str) -> None:
    """Let names of writers count from a later minute."""
    with link.writing():
        link.run(_sql.RAISE_META, ("since", since))
        link.run(_sql.DROP_CURSORS, (since,))


def finish(link: Link) -> None:
    """Make a catalog that has all runs ready to be asked."""
    for statement in _sql.INDEXES:
        link.run(statement)
    link.analyze(quickly=False)
    with link.writing():
        link.run(_sql.SET_META, ("name", secrets.token_hex(8)))
        link.run(_sql.SET_META, ("built", minute(datetime.now(UTC))))
