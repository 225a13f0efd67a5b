"""What all requests have in common, and what they are performed on."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    TypeVar,
    Union,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from temporal_state.documents import Caller, dumps, from_text
from temporal_state.errors import ContextError, InvalidValueError, TooLargeError
from temporal_state.runs import ChainRef, Json, RunRef, Source, digest

if TYPE_CHECKING:
    from temporal_state.backend import StateBackend
    from temporal_state.temporal._recording import Recording

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class CallingRun:
    """The run that an operation is performed in.

    Attributes:
        namespace: Temporal's namespace.
        workflow_id: Its workflow id.
        run_id: Its run id.
        chain: The run id that the whole chain shares.
        source: The run whose results it takes over.
    """

    namespace: str
    workflow_id: str
    run_id: str
    chain: str
    source: Source | None


@dataclass(frozen=True, slots=True)
class Calling:
    """The run that asks for an operation.

    Attributes:
        ref: Which run.
        workflow_type: Of the run.
        task_queue: Of the activity.
        told: What the run knew of itself when it asked for a checkpoint.
    """

    ref: RunRef
    workflow_type: str
    task_queue: str
    told: Json | None


@dataclass(frozen=True, slots=True)
class Scope:
    """On what, on whose behalf and in which run an operation is performed.

    Attributes:
        backend: Where.
        caller: On whose behalf: its time, the token of its change, how much may be returned.
        chain: The chain whose own document the calling run's is, if a run calls.
        run: The calling run, if a run calls.
        calling: The same with its record, if that was told.
        recording: What the worker's plugin keeps of values.
        namespace: Temporal's, of the calling run; ``None`` elsewhere: the backend's is meant.
    """

    backend: "StateBackend"
    caller: Caller
    chain: ChainRef | None
    run: CallingRun | None = None
    calling: Calling | None = None
    recording: "Recording | None" = None
    namespace: str | None = None

    def own(self) -> ChainRef:
        """Return the chain of the calling run.

        Raises:
            ContextError: No run calls.
        """
        if self.chain is None:
            raise ContextError(
                "the own document belongs to a workflow run, and none is known here: call this in "
                "a workflow whose worker has the StatePlugin, or in an activity that such a one "
                "started; elsewhere use StateStore or StateBackend.documents with an id"
            )
        return self.chain

    def calling_run(self) -> CallingRun:
        """Return the calling run.

        Raises:
            ContextError: No workflow run calls.
        """
        if self.run is None:
            raise ContextError(
                "a checkpoint before this run needs a workflow run, and none is known here: call "
                "this in a workflow whose worker has the StatePlugin, or in an activity that such "
                "a one started; elsewhere use StateBackend.runs.history"
            )
        return self.run

    def recorded_run(self, what: str) -> Calling:
        """Return the calling run.

        Raises:
            ContextError: It is not known; ``what`` is what needs it.
        """
        if self.calling is None:
            raise ContextError(
                f"{what} belongs to a workflow run, and none is known here: call this in a "
                "workflow whose worker has the StatePlugin; elsewhere use StateBackend.runs"
            )
        return self.calling

    def call_name(self) -> str | None:
        """Return the name of this very change: the same when it is repeated; else ``None``."""
        token = self.caller.token
        return None if token is None else digest(token.step, token.change)

    def fitting(self, result: Any, what: str) -> Any:
        """Return the JSON ``result`` of a read, if it is small enough for its way back.

        Raises:
            TooLargeError: It is not; ``what`` names it and says how to ask for less.
        """
        limit = self.caller.max_result
        if limit is not None and (size := len(dumps(result))) > limit:
            raise TooLargeError(f"{what}: it has {size} bytes of JSON, the limit is {limit}")
        return result


def time_in(text: str, name: str) -> datetime:
    """Return a time that travels as text.

    Raises:
        InvalidValueError: It is none; ``name`` is what it was given as.
    """
    try:
        return from_text(text)
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidValueError(f"{name}={text!r} is no time; give one of RFC 3339") from error


def check_types(asked: "Request") -> None:
    """Refuse a request with a value of another type than its field has.

    Workflows of any language give what they like, and what is not looked at here is a fault of ours
    wherever it is met.

    Raises:
        InvalidValueError: One has.
    """
    hints = get_type_hints(type(asked))
    for one in fields(cast("Any", asked)):
        value = getattr(asked, one.name)
        if not _is_of(hints[one.name], value):
            raise InvalidValueError(
                f"{asked.operation} takes no {one.name}={value!r}; give "
                f"{_in_words(hints[one.name])}"
            )


def _is_of(kind: Any, value: Any) -> bool:
    origin, among = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return any(_is_of(one, value) for one in among)
    if origin is Sequence:
        several = isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)
        return several and all(_is_of(among[0], item) for item in value)
    if kind in {int, float}:
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return isinstance(value, origin or kind)


def _in_words(kind: Any) -> str:
    origin, among = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return " or ".join(map(_in_words, among))
    return f"a list, each {_in_words(among[0])}" if origin is Sequence else _WORDS[origin or kind]


_WORDS: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    Mapping: "an object",
    NoneType: "nothing",
}


class Request:
    """One operation: a dataclass, by `request`, whose fields are JSON values.

    Attributes:
        operation: Its activity's name is ``temporal_state.`` and this.
        changes: Whether it changes something, so that it must be applied once.
        regular: Whether workflow code schedules a regular activity instead of a local one. That is
            part of the history of every workflow that uses it, so it never changes.
        lengthy: Whether one attempt may take as long as all of an operation's otherwise.
        never_reused: Whether a resumed run performs it again, whatever was recorded of it.
        returns_little: Whether its result is small, however large the document is.
    """

    operation: ClassVar[str]
    changes: ClassVar[bool] = False
    regular: ClassVar[bool] = False
    lengthy: ClassVar[bool] = False
    never_reused: ClassVar[bool] = False
    returns_little: ClassVar[bool] = False

    @property
    def own_name(self) -> str | None:
        """The name that the user gave to the change; by default it is named by its content."""
        return None

    def reading(self) -> "Request | None":
        """Return the request that reads what this one returns; ``None`` if that is never large."""
        return None

    def check(self) -> None:
        """Refuse what must not even be scheduled, where it would be kept; raises `StateError`."""

    async def perform(self, scope: Scope) -> Any:
        """Do what is asked, and return its JSON result; raises `StateError`."""
        raise ContextError(f"{type(self).__name__} cannot be performed; ask for an operation")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def request(kind: type[R]) -> type[R]:
    """Make a request's class a dataclass whose fields are given once.

    Each import makes some fifty of them, and a dataclass takes as long as all else that such a
    class is. So type checkers see that none is changed, and there is no code for what none needs:
    to be compared, hashed or printed.
    """
    return dataclass(eq=False, repr=False)(kind)
