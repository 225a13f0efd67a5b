"""Writing what workers saw into the records of runs, a patch at a time.

A patch costs a bounded number of writes, however many steps the run has had: the chunks of the
steps that changed, an object of attempts beside each, large values, and the run's own object, last.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from temporal_state.documents import dumps, to_text
from temporal_state.errors import TooLargeError
from temporal_state.runs._facts import MAX_NOTES, with_notes
from temporal_state.runs._hand import merge_hand, of_run, view
from temporal_state.runs._merge import Json, merge_attempt, state_of
from temporal_state.runs._own import ChainRef
from temporal_state.runs._patch import Patch, merge_record, merge_steps
from temporal_state.runs._reader import RunReader
from temporal_state.runs._refs import RunRef, chunk_of
from temporal_state.runs._source import home_from, to_json
from temporal_state.runs._spans import merge_span
from temporal_state.runs._stopwatch import Stopwatch, Stopwatches
from temporal_state.runs._takeover import find_home
from temporal_state.runs._values import digests_in, take_apart
from temporal_state.runs.catalog._feed import Change, Feed

log = logging.getLogger("temporal_state")

KNOWN_RUNS = 10_000


@dataclass(frozen=True, slots=True)
class RunWriter(RunReader):
    """Reads and writes the records of runs."""

    feed: Feed = field(kw_only=True, repr=False, compare=False)

    _with_input: set[RunRef] = field(default_factory=set, kw_only=True, repr=False, compare=False)
    """Runs whose large input or start is stored: each header brings it again, encoded anew."""
    _watches: Stopwatches = field(
        default_factory=Stopwatches, kw_only=True, repr=False, compare=False
    )

    _homes: dict[RunRef, ChainRef] = field(
        default_factory=dict, kw_only=True, repr=False, compare=False
    )
    """Whose documents the own documents of runs are that go on with another chain's."""

    async def synced(self, ref: RunRef) -> int:
        """Return the length of history up to which the record of a run is complete."""
        return int((await self._read_run(ref)).get("synced", 0))

    async def acknowledge(self, ref: RunRef, key: str, value: Json) -> None:
        """Keep the result of a step before Temporal learns of it; the first one stays."""
        await self._objects.create(self._places.result(ref, key), {"result": value})

    def announced(self, patches: Iterable[Patch]) -> AbstractAsyncContextManager[None]:
        """Name runs in the feed, for a block that then writes them; see `Feed.announced`."""
        changes = [
            _change(patch)
            for patch in patches
            if patch.header or patch.notes or 0 in _chunks(patch)
        ]
        return self.feed.announced(changes)

    async def mark_unknown(self, ref: RunRef) -> None:
        """Note that Temporal has no such run; it holds until someone has seen more of the run."""

        def merge(record: Json) -> Json:
            return {**record, "unknown_at": record["clock"]} if "clock" in record else record

        async with self.feed.announced([Change(ref)]):
            await self._objects.update(self._places.run(ref), merge)

    async def hold(self, ref: RunRef) -> None:
        """Note that a run is being resumed, before anyone can have seen the one that does."""
        now = to_text(self.engine.now())

        def merge(record: Json) -> Json:
            return {**record, "resumed_at": now} if record else record

        key = self._places.run(ref)
        await self.engine.to_the_end(self._objects.update(key, merge), f"holding {key}")

    async def was_resumed(self, ref: RunRef) -> bool:
        """Return whether someone has begun to resume a run, now or before; see `hold`."""
        return (await self._read_run(ref)).get("resumed_at") is not None

    async def write(self, patch: Patch, writer: str) -> int:
        """Name a run in the feed and merge a patch into its record, see `merge`."""
        async with self.announced([patch]):
            return await self.merge(patch, writer)

    async def merge(self, patch: Patch, writer: str) -> int:
        """Merge a patch into the record of a run that was `announced`.

        The run's own object comes last: it says up to where the rest is complete.

        Returns:
            How many objects were written.
        """
        watch = self._watches.begin()
        values: dict[str, Json] = {}
        header = self._without_known_input(patch)
        steps, attempts = patch.steps, patch.attempts
        if patch.large:
            header = take_apart(header, values)
            steps, attempts = take_apart(steps, values), take_apart(attempts, values)
            await self._put_values(patch.ref, values)
        if header is not None and header.get("home") is not None:
            header = {**header, "home": to_json(await self._home(patch.ref, header))}
        by_chunk: dict[int, dict[int, Json]] = {}
        for number, step in steps.items():
            by_chunk.setdefault(chunk_of(number), {})[number] = step
        first = by_chunk.pop(0, {})
        writes = [
            self._objects.update(self._places.steps(patch.ref, chunk), _steps_merger(part))
            for chunk, part in by_chunk.items()
        ]
        for part, told in _by_part(attempts, patch.spans).items():
            key = self._places.attempts(patch.ref, part, writer)
            writes.append(self._objects.update(key, _attempts_merger(*told)))
        await asyncio.gather(*writes)
        written = len(writes) + len(values)
        if header is None and not first and not patch.notes:
            return written
        shared = None
        if header is not None and header.get("checkpoints"):
            shared = await self._keep_document(patch.ref, header)
        await self._write_run(patch.ref, header, first, patch.notes, watch)
        if shared is not None:
            await self._keep(*shared)
        return written + 1

    async def _home(self, ref: RunRef, header: Json) -> ChainRef:
        """Return whose document a run's own is.

        A run may be told only the way to it. It is found once and kept in the record, since the
        runs on that way are not kept for ever; and said beside the document, see `OwnDocuments`.
        """
        known = self._homes.get(ref)
        if known is None:
            own = ChainRef(ref.namespace, ref.workflow_id, header["chain"])
            told = home_from((await self._read_run(ref)).get("home"))
            if not isinstance(told, ChainRef):
                told = home_from(header["home"])
            known = (None if told is None else await find_home(self, told)) or own
            if known != own:
                await self.own.join(known, ref)
            if len(self._homes) >= KNOWN_RUNS:
                self._homes.clear()
            self._homes[ref] = known
        return known

    def _without_known_input(self, patch: Patch) -> Json | None:
        header = patch.header
        if header is not None and patch.ref in self._with_input:
            return {**header, "input": [], "start": None}
        return header

    async def _put_values(self, ref: RunRef, values: Mapping[str, Json]) -> None:
        puts = [
            self._objects.create(self._places.value(ref, digest), data)
            for digest, data in values.items()
        ]
        await asyncio.gather(*puts)

    async def _write_run(
        self,
        ref: RunRef,
        header: Json | None,
        steps: dict[int, Json],
        notes: Mapping[str, Json],
        watch: Stopwatch,
    ) -> None:
        dropped: list[Json] = []
        left_out: list[str] = []

        def merge(record: Json) -> Json:
            merged = merge_record(record, _timed(header, watch.micros()), steps)
            merged, left_out[:] = _with_notes(ref, merged, notes)
            told = all_checkpoints(header or {})
            dropped[:] = dropped_of([*all_checkpoints(record), *told], merged)
            return merged

        await self._objects.update(self._places.run(ref), merge)
        watch.stop()
        if left_out:
            log.warning(
                "notes that activities of run %s of %r made are not kept, since all together would "
                "be over %d bytes: %s",
                ref.run_id,
                ref.workflow_id,
                MAX_NOTES,
                ", ".join(map(repr, left_out)),
            )
        if header is not None and digests_in([header.get("input"), header.get("start")]):
            if len(self._with_input) >= KNOWN_RUNS:
                self._with_input.clear()
            self._with_input.add(ref)
        await self._forget(ref, dropped)

    async def _keep_document(self, ref: RunRef, header: Json) -> tuple[str, bytes] | None:
        """Keep the own document for checkpoints; return what was there already, if it was.

        Until the record names these checkpoints too, who drops others may take it away.
        """
        own = {"workflow_id": ref.workflow_id, "chain": header["chain"]}
        chain = ChainRef(**(header.get("home") or {"namespace": ref.namespace, **own}))
        envelope = await self.engine.look(self.own.one(chain).address)
        if envelope.deleted:
            return None
        data = dumps({"state": envelope.state})
        label: Json = {"version": envelope.version, "bytes": len(data)}
        name = f"{envelope.version:09}"
        if envelope.expires:  # with each key that expires the same version is another state
            name = label["object"] = f"{name}-{len(envelope.expires)}"
        key = self._places.state(ref, name)
        kept = await self._keep(key, data)
        for checkpoint in header["checkpoints"]:
            if "version" not in checkpoint:
                checkpoint.update(label)
        return None if kept else (key, data)

    async def _keep(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one; return whether it was written."""
        if await self._store.head(key) is not None:
            return False
        await self._store.put(key, data)
        return True

    async def _forget(self, ref: RunRef, checkpoints: list[Json]) -> None:
        """Remove the states of dropped checkpoints that no other one shares."""
        if not checkpoints:
            return
        kept = {state_of(one) for one in view(await self._read_run(ref)).get("checkpoints", [])}
        names = {state_of(one) for one in checkpoints} - kept - {None}
        await self._objects.delete([self._places.state(ref, name) for name in names if name])


def _chunks(patch: Patch) -> set[int]:
    return {chunk_of(number) for number in patch.steps}


def _change(patch: Patch) -> Change:
    header = patch.header or {}
    return Change(patch.ref, header.get("clock"), header.get("seen"))


def _timed(header: Json | None, micros: int) -> Json | None:
    """Return a header whose checkpoints say how long it took; those kept stay."""
    if header is None or not header.get("checkpoints"):
        return header
    return {**header, "checkpoints": [{**one, "took": micros} for one in header["checkpoints"]]}


def dropped_of(checkpoints: list[Json], record: Json) -> list[Json]:
    """Return those of some checkpoints that a record has not, or not with this state."""
    kept = {(one["number"], state_of(one)) for one in all_checkpoints(record)}
    return [one for one in checkpoints if (one["number"], state_of(one)) not in kept]


def all_checkpoints(record: Json) -> list[Json]:
    """Return the checkpoints of a record, its worker's and those by hand."""
    return [*record.get("checkpoints", []), *record.get("hand", {}).get("checkpoints", [])]


def _steps_merger(steps: Mapping[int, Json]) -> Callable[[Json], Json]:
    return lambda stored: {**stored, "steps": merge_steps(stored.get("steps", {}), steps)}


def _with_notes(ref: RunRef, record: Json, notes: Mapping[str, Json]) -> tuple[Json, Sequence[str]]:
    """Return a record with what fits of some notes, and the keys of those that do not.

    They were said long ago, and nobody can be told any more.
    """
    try:
        return _with_all_notes(ref, record, notes), []
    except TooLargeError:
        left_out = []
    for key in sorted(notes, key=lambda key: (notes[key]["at"], key)):
        try:
            record = _with_all_notes(ref, record, {key: notes[key]})
        except TooLargeError:
            left_out.append(key)
    return record, left_out


def _with_all_notes(ref: RunRef, record: Json, notes: Mapping[str, Json]) -> Json:
    if not notes:
        return record
    latest = max(fact["at"] for fact in notes.values())
    run = of_run(ref, to_text(ref.started))
    return merge_hand(run, latest, lambda stored: with_notes(stored, notes))(record)


def _by_part(
    attempts: Mapping[str, Json], spans: Mapping[str, Json]
) -> dict[int, tuple[dict[str, Json], Mapping[str, Json]]]:
    """Return attempts by the part that their call names, with all spans beside the last ones."""
    parts: dict[int, tuple[dict[str, Json], Mapping[str, Json]]] = {}
    for key, attempt in attempts.items():
        parts.setdefault(attempt.get("part", 0), ({}, {}))[0][key] = attempt
    if spans:
        last = max(parts, default=0)
        parts[last] = (parts.get(last, ({}, {}))[0], spans)
    return parts


def _attempts_merger(
    attempts: Mapping[str, Json], spans: Mapping[str, Json]
) -> Callable[[Json], Json]:
    def merge(stored: Json) -> Json:
        known = dict(stored.get("attempts", {}))
        for key, attempt in attempts.items():
            known[key] = merge_attempt(known.get(key), attempt)
        own = dict(stored.get("spans", {}))
        for span_id, span in spans.items():
            own[span_id] = merge_span(span_id, own.get(span_id), span)
        return {**stored, "attempts": known, **({"spans": own} if own else {})}

    return merge
