"""What can be done to a document: each change as a small function on its envelope.

A function here checks its arguments at once, before the store is asked for anything, and returns
the `Edit` that is applied later: by the engine, once for its token, or folded with others in a
batch. Lifetimes follow one rule: a new value ends the lifetime of its key, unless it is given one;
what changes a value in place (`increment`, `append`, an object patched into an object) keeps it.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from temporal_state.documents._envelope import RESERVED_KEY, Envelope
from temporal_state.documents._json import plain, plain_object
from temporal_state.errors import InvalidValueError, VersionConflictError

Edit: TypeAlias = Callable[[Envelope, datetime], bool]
"""Changes an envelope in place at a time; returns whether there is anything to write."""

MAX_LIFETIME = timedelta(days=365_000)


def merge(change: Mapping[str, Any], ttl: timedelta | None = None) -> Edit:
    """Set each top-level key of ``change``; each lives for ``ttl``."""
    state, lifetime = check_state(change), _lifetime(ttl)

    def edit(envelope: Envelope, now: datetime) -> bool:
        envelope.revive(now)
        envelope.state.update(state)
        for key in state:
            envelope.expires.pop(key, None)
            if lifetime is not None:
                envelope.expires[key] = now + lifetime
        return True

    return edit


def replace(value: Mapping[str, Any], ttl: timedelta | None = None) -> Edit:
    """Make ``value`` the whole state, which lives for ``ttl``."""
    state, lifetime = check_state(value), _lifetime(ttl)

    def edit(envelope: Envelope, now: datetime) -> bool:
        envelope.revive(now)
        envelope.state = dict(state)
        envelope.expires = {}
        envelope.expires_at = None if lifetime is None else now + lifetime
        return True

    return edit


def delete() -> Edit:
    """Leave a tombstone; the result is whether there was a document."""

    def edit(envelope: Envelope, _now: datetime) -> bool:
        envelope.result = not envelope.deleted
        envelope.clear()
        return bool(envelope.result)

    return edit


def patch(change: Mapping[str, Any]) -> Edit:
    """Apply a JSON Merge Patch to the state."""
    state = check_state(change)

    def edit(envelope: Envelope, now: datetime) -> bool:
        envelope.revive(now)
        for key, value in state.items():
            if not (isinstance(value, dict) and isinstance(envelope.state.get(key), dict)):
                envelope.expires.pop(key, None)
        envelope.state = merge_patch(envelope.state, state)
        return True

    return edit


def increment(key: str, by: float) -> Edit:
    """Add ``by`` to the number under ``key``, or to 0; the result is the sum."""
    key = check_key_name(key)
    step = _number(plain(by, "by"), "by", "give an int or a float")

    def edit(envelope: Envelope, now: datetime) -> bool:
        envelope.revive(now)
        what = f"{envelope.address}: key {key!r}"
        old = _number(envelope.state.get(key, 0), what, "set it to a number first")
        envelope.state[key] = envelope.result = _sum(old, step, what)
        return True

    return edit


def append(key: str, items: Sequence[Any], limit: int | None = None) -> Edit:
    """Append to the array under ``key``, keep the newest ``limit``; the result is its length."""
    key, new = check_key_name(key), check_items((), items)
    if limit is not None and (type(limit) is not int or limit < 1):
        raise InvalidValueError(f"limit={limit!r} is no integer above zero; give one, or None")

    def edit(envelope: Envelope, now: datetime) -> bool:
        envelope.revive(now)
        old = envelope.state.get(key, [])
        if not isinstance(old, list):
            raise InvalidValueError(
                f"{envelope.address}: key {key!r} is {_kind(old)}, no array; set it to one first"
            )
        array = [*old, *new]
        envelope.state[key] = array if limit is None else array[-limit:]
        envelope.result = len(envelope.state[key])
        return True

    return edit


def check_items(values: Sequence[Any], items: Sequence[Any]) -> list[Any]:
    """Return as plain values what `append` gets one by one, and what it gets as a list."""
    more = plain(items, "items")
    if not isinstance(more, list):
        raise InvalidValueError(f"items={items!r:.80} is no list; give a list of what to append")
    return [*plain(values, "items"), *more]


def at_version(edit: Edit, expected: int | None) -> Edit:
    """Make ``edit`` depend on the version of the document; any, if ``expected`` is ``None``.

    The engine asks no edit whose token is applied, so a repeated change is no conflict.
    """
    if expected is None:
        return edit
    if type(expected) is not int or expected < 0:
        raise InvalidValueError(
            f"if_version={expected!r} is no version; give an integer that `read` returned, or 0"
        )

    def checked(envelope: Envelope, now: datetime) -> bool:
        actual = 0 if envelope.deleted else envelope.version
        if actual != expected:
            raise VersionConflictError(
                f"document {envelope.address} has version {actual}, not {expected} (0 is one that "
                "is absent or of another tool); read it again and decide anew",
                expected,
                actual,
            )
        return edit(envelope, now)

    return checked


def in_order(edits: Sequence[Edit]) -> Edit:
    """Make one edit of several; each that changes something has a version of its own."""

    def all_of_them(envelope: Envelope, now: datetime) -> bool:
        changes = sum([edit(envelope, now) for edit in edits])
        envelope.version += max(changes - 1, 0)  # the engine counts one
        return changes > 0

    return all_of_them


def merge_patch(target: Any, change: Any) -> Any:
    """Return ``target`` after a JSON Merge Patch (RFC 7386), without changing either.

    A key whose value is ``None`` is removed, an object is merged into what is there by the same
    rule, any other value replaces it.
    """
    if not isinstance(change, dict):
        return change
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def check_state(value: Any) -> dict[str, Any]:
    """Return ``value`` as the plain state of a document; refuse what can be none."""
    state = plain_object(dict(value) if isinstance(value, Mapping) else value)
    for key in state:
        check_key_name(key)
    return state


def check_key_name(key: str) -> str:
    """Return ``key`` if a document's state may have it."""
    if not isinstance(key, str):
        raise InvalidValueError(f"key {key!r} is a {type(key).__name__}; give a string")
    if key == RESERVED_KEY:
        raise InvalidValueError(f"key {key!r} is reserved for the store; choose another name")
    return str(plain(key, "the key"))


def _number(value: Any, what: str, remedy: str) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise InvalidValueError(f"{what} is {_kind(value)}, no number; {remedy}")


def _sum(old: float, step: float, what: str) -> int | float:
    total: int | float = plain(old + step, f"{what}, {old} + {step},")
    # A float too coarse for a step would swallow it, this time and every time.
    if (step != 0 and total == old) or (isinstance(total, float) and not _are_floats(old, step)):
        raise InvalidValueError(
            f"{what}: {old} + {step} loses a part of it as a float; count in integers"
        )
    return total


def _are_floats(*values: float) -> bool:
    return all(float(value) == value for value in values)


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def _lifetime(ttl: timedelta | None) -> timedelta | None:
    if ttl is not None and ttl <= timedelta():
        raise InvalidValueError(f"ttl={ttl} is not positive; give a timedelta above zero, or None")
    if ttl is not None and ttl > MAX_LIFETIME:
        raise InvalidValueError(f"ttl={ttl} is over {MAX_LIFETIME}; give None for ever")
    return ttl
