"""From the JSON of records to what readers get."""

from dataclasses import fields, make_dataclass
from datetime import timedelta
from typing import Any

from temporal_state.documents import from_text
from temporal_state.runs._hand import view
from temporal_state.runs._merge import Json
from temporal_state.runs._objects import BROKEN, damaged, decoding
from temporal_state.runs._records import (
    Checkpoint,
    Failure,
    Progress,
    Run,
    Start,
    Step,
    TraceContext,
    Value,
    time_of,
)
from temporal_state.runs._source import home_from, source_from
from temporal_state.runs._values import data_of


def to_run(record: Json, key: str | None = None) -> Run:
    """Return the run that a record describes.

    Args:
        record: Its JSON.
        key: Where it lies, for the error.

    Raises:
        DamagedObjectError: It lacks what every record has.
    """
    try:
        return _to_run(view(record))
    except BROKEN as error:  # lists have many runs, and `decoding` takes longer
        run = f"of run {record.get('run_id')!r} of {record.get('workflow_id')!r}"
        raise damaged(f"the record {key or run}", error) from error


def _freeze(draft: object) -> None:
    draft.__class__ = Run


_Draft: type[Run] = make_dataclass(
    "_Draft",
    [field.name for field in fields(Run)],
    namespace={"__post_init__": _freeze},
    slots=True,
    eq=False,
    repr=False,
)
"""Makes a `Run` in a fraction of the time: a frozen class sets each of its fields by a call. This
one is alike, but not frozen until it has them; given by name they would take twice as long."""


def _to_run(record: Json) -> Run:
    return _Draft(
        record["kind"],
        record["namespace"],
        record["workflow_id"],
        record["run_id"],
        record["workflow_type"],
        record["task_queue"],
        record["status"],
        record["confirmed"],
        record["attempt"],
        from_text(record["started"]),
        time_of(record["ended"]),
        from_text(record["updated"]),
        record["clock"],
        to_progress(record.get("progress")),
        record["step_count"],
        record["counts"],
        record["open"],
        [to_value(value) for value in record.get("input") or []],
        optional_value(record.get("result")),
        to_failure(record.get("error")),
        record.get("parent"),
        record["chain"],
        record["original"],
        record.get("continued_from"),
        record.get("cron"),
        record["worker"],
        record["lost"],
        _to_start(record.get("start")),
        source_from(record.get("source")),
        home_from(record.get("home")),
        record.get("metadata") or {},
        _to_trace(record.get("trace")),
        record.get("trace_root"),
        record["clock"] <= record.get("paused_at", -1),
        record["clock"] > record.get("unknown_at", -1),
    )


def _to_start(value: Json | None) -> Start | None:
    if not value:
        return None
    timeouts = {
        name: None if value[name] is None else timedelta(seconds=value[name])
        for name in ("execution_timeout", "run_timeout", "task_timeout")
    }
    return Start(
        **timeouts,
        retry=value["retry"],
        memo={name: to_value(v) for name, v in value["memo"].items()},
        search_attributes={name: to_value(v) for name, v in value["search_attributes"].items()},
    )


def to_step(number: int, step: Json, attempt: Json | None) -> Step:
    """Return a step, from what the workflow side and the activity side have seen of it.

    Raises:
        DamagedObjectError: It lacks what every step has.
    """
    with decoding(f"the record of step {number}"):
        return _to_step(number, step, attempt)


def _to_step(number: int, step: Json, attempt: Json | None) -> Step:
    call, attempt = step["call"], attempt or {}
    end = step.get("end", {})
    error = end.get("error") or attempt.get("error")
    return Step(
        number=number,
        kind=call["kind"],
        name=call["name"],
        id=call["id"],
        key=call.get("key"),
        status=end.get("status") or ("started" if attempt else "scheduled"),
        scheduled=from_text(call["time"]),
        closed=time_of(end.get("time")),
        started=time_of(attempt.get("started")),
        ended=time_of(attempt.get("ended")),
        attempt=attempt.get("attempt"),
        worker=attempt.get("worker"),
        progress=to_progress(attempt.get("progress")),
        heartbeat=optional_value(attempt.get("heartbeat")),
        input=[to_value(value) for value in call.get("input") or []],
        result=optional_value(end.get("result")),
        error=None if end.get("status") == "completed" else to_failure(error),
        taken_over=bool(attempt.get("taken_over")),
        never_reused=bool(attempt.get("never_reused")),
        trace=_to_trace(attempt.get("trace")),
    )


def to_hand_step(number: int, step: Json) -> Step:
    """Return a step that was written by hand.

    Raises:
        DamagedObjectError: It lacks what every step has.
    """
    with decoding(f"the record of step {number}"):
        return _to_hand_step(number, step)


def _to_hand_step(number: int, step: Json) -> Step:
    call, outcome = step["call"], step["outcome"]
    return Step(
        number=number,
        kind=call["kind"],
        name=call["name"],
        id=call["id"],
        key=None,
        status=outcome["status"],
        scheduled=from_text(step["first"]),
        closed=time_of(outcome["ended"]),
        started=time_of(step["started"]),
        ended=time_of(outcome["ended"]),
        attempt=step["attempt"],
        worker=outcome["worker"],
        progress=None,
        heartbeat=None,
        input=[to_value(value) for value in outcome["input"]],
        result=optional_value(outcome["result"]),
        error=to_failure(outcome["error"]),
    )


def to_checkpoint(checkpoint: Json, state: dict[str, Any] | None) -> Checkpoint:
    """Return a checkpoint, with the document that was kept for it.

    Raises:
        DamagedObjectError: It lacks what every checkpoint has.
    """
    with decoding(f"the record of checkpoint {checkpoint.get('number')}"):
        return _to_checkpoint(checkpoint, state)


def _to_checkpoint(checkpoint: Json, state: dict[str, Any] | None) -> Checkpoint:
    return Checkpoint(
        number=checkpoint["number"],
        step=checkpoint["step"],
        time=from_text(checkpoint["time"]),
        clock=checkpoint["clock"],
        progress=to_progress(checkpoint.get("progress")),
        counts=checkpoint["counts"],
        open=checkpoint["open"],
        version=checkpoint.get("version", 0),
        state=state,
        name=checkpoint.get("name"),
        took=_to_duration(checkpoint.get("took")),
    )


def _to_duration(micros: int | None) -> timedelta | None:
    return None if micros is None else timedelta(microseconds=micros)


def _to_trace(value: Json | None) -> TraceContext | None:
    return None if value is None else TraceContext(value["trace_id"], value["span_id"])


def to_progress(value: Json | None) -> Progress | None:
    """Return recorded progress."""
    return None if value is None else Progress(value["done"], value["total"], value["message"])


def to_failure(value: Json | None) -> Failure | None:
    """Return a recorded failure; one that is encoded keeps its message to itself."""
    return None if value is None else Failure(value["type"], value.get("message"))


def optional_value(value: Json | None) -> Value | None:
    """Return a recorded value, if there is one."""
    return None if value is None else to_value(value)


def to_value(value: Json) -> Value:
    """Return a recorded value."""
    return Value(
        value["encoding"],
        data_of(value),
        value.get("metadata", {}),
        value.get("dropped"),
        value.get("size"),
    )
