"""The spans that the code of an activity begins: told to the recorder, never waited for.

How many and how deep is bounded, since a span is one line in a loop; what is beyond is left out,
and the log says so once. A span tells nothing of an error but its type: a message may be secret.
"""

import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

from temporalio.exceptions import ApplicationError, is_cancelled_exception

from temporal_state.documents import dumps, plain_object, to_text
from temporal_state.errors import InvalidValueError, TooLargeError
from temporal_state.runs import Json
from temporal_state.temporal._call import ActivityCall
from temporal_state.temporal._opentelemetry import active_span

log = logging.getLogger("temporal_state")

MAX_SPANS = 1000
MAX_DEPTH = 32
MAX_NAME = 200
MAX_ATTRIBUTES = 4096


class OwnSpan:
    """A part of an activity with a name, a beginning and an end; see `state.span`."""

    def __init__(self, call: ActivityCall, name: str, attributes: Mapping[str, Any]) -> None:
        self._call, self._name = call, _checked_name(name)
        self._attributes = self._checked({}, attributes)
        self._id: str | None = None
        self._known: Json = {}
        self._outer: OwnSpan | None = None
        self._depth = 1

    def set(self, **attributes: Any) -> None:
        """Add to the attributes, which are JSON values.

        Raises:
            InvalidValueError: One of them is none.
            TooLargeError: They are too large together.
        """
        self._attributes = self._checked(self._attributes, attributes)

    def __enter__(self) -> Self:
        outer = _CURRENT.get(None)
        if outer is not None and outer._call is self._call:  # noqa: SLF001 of the same class
            self._outer, self._depth = outer, outer._depth + 1  # noqa: SLF001 as above
        _CURRENT.set(self)
        self._quietly(self._begin)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Not by a token: a generator may be closed in another context than it was begun in.
        if _CURRENT.get(None) is self:
            _CURRENT.set(self._outer)
        self._quietly(self._end, error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _begin(self) -> None:
        record = self._call.record
        if record is None:
            return
        parent = record.span_id if self._outer is None else self._outer._id  # noqa: SLF001
        number = next(self._call.spans)
        if parent is None or self._depth > MAX_DEPTH or number > MAX_SPANS:
            self._leave_out(number)
            return
        self._id = record.own_span_id(number)
        within = active_span()
        if within is not None:
            self._attributes = {**self._attributes, "opentelemetry": within}
        self._known = {
            "name": self._name,
            "parent": parent,
            "step": None,
            "start": to_text(self._call.now()),
            "end": None,
            "status": "started",
            "attributes": self._attributes,
        }
        record.span(self._id, self._known)

    def _end(self, error: BaseException | None) -> None:
        record = self._call.record
        if record is None or self._id is None:
            return
        attributes = self._attributes
        status = _status_of(error)
        if status == "failed" and error is not None:
            attributes = {**attributes, "error": _type_of(error)}
        times = {"end": max(to_text(self._call.now()), self._known["start"])}
        record.span(self._id, {**self._known, **times, "status": status, "attributes": attributes})

    def _leave_out(self, number: int) -> None:
        if not self._call.spans_left_out:
            self._call.spans_left_out = True
            log.warning(
                "spans of %s are left out from the %dth on or deeper than %d; give a span to what "
                "matters, and count the rest in its attributes",
                self._call.info.activity_type,
                min(number, MAX_SPANS),
                MAX_DEPTH,
            )

    def _checked(self, known: Json, attributes: Mapping[str, Any]) -> Json:
        merged = {**known, **plain_object(dict(attributes), f"attributes of span {self._name!r}")}
        size = len(dumps(merged))
        if size > MAX_ATTRIBUTES:
            raise TooLargeError(
                f"the attributes of span {self._name!r} have {size} bytes of JSON, the limit is "
                f"{MAX_ATTRIBUTES}; keep what is large in a document"
            )
        return merged

    def _quietly(self, tell: Callable[..., None], *arguments: Any) -> None:
        try:
            tell(*arguments)
        except Exception:
            log.exception("span %r of an activity could not be recorded", self._name)


_CURRENT: ContextVar[OwnSpan | None] = ContextVar("temporal_state_span", default=None)


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise InvalidValueError(
            f"{str(name)[:MAX_NAME]!r} is no name of a span; give 1 to {MAX_NAME} characters"
        )
    plain_object({"name": name}, "a span")
    return name


def _status_of(error: BaseException | None) -> str:
    # An announced completion from elsewhere and a generator that is closed are no failures.
    if error is None or type(error).__name__ in {"_CompleteAsyncError", "GeneratorExit"}:
        return "completed"
    return "cancelled" if is_cancelled_exception(error) else "failed"


def _type_of(error: BaseException) -> str:
    kind = error.type if isinstance(error, ApplicationError) else type(error).__name__
    return kind or "ApplicationError"
