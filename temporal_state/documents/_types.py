"""The types of documents: two that the layout has always had, and any other that a user names.

A type is a folder in the layout, so it is written as the layout writes it, never encoded: that
keeps types readable and leaves the names that the layout needs for itself.
"""

import re
from enum import StrEnum

from temporal_state.errors import InvalidNameError, PathTraversalError

RESERVED_TYPES = frozenset(
    {"runs", "tenants", "feed", "tx", "keys", "snapshots", "evaluations", "audit", "doctor"}
)
_TYPE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class StateType(StrEnum):
    """Types of documents that every application has."""

    WORKFLOWS = "workflows"
    """State of workflows, found by an id that the user chooses."""

    CREDENTIALS = "credentials"
    """Configuration of credentials: metadata and references to secrets, never the secrets."""

    @classmethod
    def is_member(cls, type: str) -> bool:
        """Return whether ``type`` is the value of a member; case counts."""
        return type in cls._value2member_map_


def check_type(type: str) -> str:
    """Return ``type`` as a plain string if it may name a type of documents.

    Raises:
        PathTraversalError: It would be a path, not a name.
        InvalidNameError: It breaks another rule, or the layout uses the name itself.
    """
    name = type.value if isinstance(type, StateType) else type
    if isinstance(name, str) and _TYPE.fullmatch(name) and name not in RESERVED_TYPES:
        return name
    if isinstance(name, str) and re.search(r"[/\\\0]|^\.", name):
        raise PathTraversalError(f"type {name!r} is a path; a type is a single lower-case name")
    reserved = ", ".join(sorted(RESERVED_TYPES))
    raise InvalidNameError(
        f"type {name!r} is not 1 to 64 of the characters a-z 0-9 - _ (first a letter or digit), "
        f"or is one of the layout's own ({reserved}); choose another name"
    )
