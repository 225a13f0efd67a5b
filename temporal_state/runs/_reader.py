"""Reading the records of runs: one, its steps, its checkpoints, its document.

A reader pays for what it asks: a run is one object and its large values, steps are their chunks
and what the activity side told of them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from temporal_state.documents import Engine, Layout
from temporal_state.errors import DamagedObjectError, NotRecordedError
from temporal_state.runs._decode import optional_value, to_checkpoint, to_run, to_value
from temporal_state.runs._diff import CheckpointDiff, difference
from temporal_state.runs._hand import view
from temporal_state.runs._merge import Json
from temporal_state.runs._objects import PAGE, Objects
from temporal_state.runs._outcomes import Outcome
from temporal_state.runs._own import OwnDocuments
from temporal_state.runs._records import Checkpoint, Run, Step, Value
from temporal_state.runs._refs import RUN_FILE, RunLayout, RunRef
from temporal_state.runs._span_store import SpanStore
from temporal_state.runs._spans import Span, to_span
from temporal_state.runs._step_reader import StepReader, steps_of
from temporal_state.runs._takeover import document_home
from temporal_state.runs._trace import trace_of
from temporal_state.runs._values import digests_in, put_together
from temporal_state.storage import ObjectStore, encode_name

FIRST_PAGE = 16  # objects of a workflow id: as a rule it has one run, or one that is long


@dataclass(frozen=True, slots=True)
class RunReader:
    """Reads the records of runs."""

    engine: Engine
    layout: Layout
    own: OwnDocuments
    namespace: str = field(default="default", kw_only=True)
    """Of which runs a question that names no namespace is."""

    @property
    def _store(self) -> ObjectStore:
        return self.engine.store

    @property
    def _objects(self) -> Objects:
        return Objects(self.engine)

    @property
    def _steps(self) -> StepReader:
        return StepReader(self._objects)

    @property
    def _places(self) -> RunLayout:
        return RunLayout(self.layout)

    async def get(
        self, workflow_id: str, *, run_id: str | None = None, namespace: str | None = None
    ) -> Run | None:
        """Return the newest run of a workflow id, or the one asked for; ``None`` if unknown."""
        key = await self._find(namespace, workflow_id, run_id)
        record = {} if key is None else await self._read_sound(key)
        return await self._with_its_values(key, record) if key is not None and record else None

    async def steps(
        self, workflow_id: str, *, run_id: str | None = None, namespace: str | None = None
    ) -> Sequence[Step]:
        """Return a run's steps in the order in which the workflow scheduled them."""
        key = await self._find(namespace, workflow_id, run_id)
        parts = [] if key is None else await self._step_parts(key)
        if key is None or not parts:
            return []
        return steps_of(await self._with_values(key.removesuffix(RUN_FILE), parts))

    async def get_step(
        self,
        workflow_id: str,
        number: int,
        *,
        run_id: str | None = None,
        namespace: str | None = None,
    ) -> Step | None:
        """Return one step of a run by its number, from 1; ``None`` if there is none.

        It costs the same however many steps the run has, and wherever among them it is.
        """
        key = await self._find(namespace, workflow_id, run_id)
        if key is None or number < 1:
            return None
        folder = key.removesuffix(RUN_FILE)
        parts = await self._with_values(folder, await self._steps.with_one(key, number))
        return next(iter(steps_of(parts)), None)

    async def outcomes(self, ref: RunRef) -> Mapping[str, Outcome]:
        """Return how the steps of a run stand, by the key of the call; results as they are kept."""
        return await self._steps.outcomes(self._places.run(ref))

    async def result_of(self, ref: RunRef, outcome: Outcome) -> Value | None:
        """Return the result of a step that completed, unless it was not kept."""
        if not outcome.completed or outcome.result is None:
            return None
        folder = self._places.folder(ref)
        (part,) = await self._with_values(folder, [{"result": outcome.result}])
        value = to_value(part["result"])
        return value if value.dropped is None else None

    async def history(
        self, workflow_id: str, *, run_id: str | None = None, namespace: str | None = None
    ) -> Sequence[Checkpoint]:
        """Return a run's checkpoints, the oldest first, with its document at each."""
        key = await self._find(namespace, workflow_id, run_id)
        if key is None:
            return []
        checkpoints = view(await self._read_sound(key)).get("checkpoints", [])
        return await asyncio.gather(*(self._checkpoint(key, one) for one in checkpoints))

    async def load_checkpoint(
        self,
        workflow_id: str,
        which: int | str | None = None,
        *,
        run_id: str | None = None,
        namespace: str | None = None,
    ) -> Checkpoint | None:
        """Return a checkpoint of a run by its number, or the latest of a name, or of all.

        ``None`` if there is none.
        """
        key = await self._find(namespace, workflow_id, run_id)
        if key is None:
            return None
        found = view(await self._read_sound(key)).get("checkpoints", [])
        chosen = found[-1] if found and which is None else _chosen(found, which)
        return None if chosen is None else await self._checkpoint(key, chosen)

    async def diff(
        self,
        workflow_id: str,
        a: int | str,
        b: int | str,
        *,
        run_id: str | None = None,
        namespace: str | None = None,
    ) -> CheckpointDiff:
        """Return what changed from checkpoint ``a`` of a run to its checkpoint ``b``.

        Each is a number or a name.

        Raises:
            NotRecordedError: One of the two is not, or no longer, there.
        """
        key = await self._find(namespace, workflow_id, run_id)
        record = {} if key is None else view(await self._read_sound(key))
        chosen = []
        for which in (a, b):
            found = _chosen(record.get("checkpoints", []), which)
            if found is None:
                raise NotRecordedError(
                    f"workflow {workflow_id!r} has no checkpoint {which!r}; runs.history lists "
                    "those that are kept"
                )
            chosen.append(found)
        assert key is not None
        first, second = await asyncio.gather(*(self._checkpoint(key, one) for one in chosen))
        return difference(first, second)

    async def of_workflow(self, workflow_id: str, *, namespace: str | None = None) -> Sequence[Run]:
        """Return all runs of one workflow id, the newest first, without their large values."""
        found: list[Run] = []
        space = namespace or self.namespace
        for month in await self._months(space):
            keys = await self._runs_under(self._places.workflow(space, month, workflow_id))
            keys.reverse()
            records = await asyncio.gather(*map(self._read, keys))
            pairs = zip(keys, records, strict=True)
            found += [to_run(record, key) for key, record in pairs if record]
        return found

    async def acknowledged(self, ref: RunRef, key: str) -> Value | None:
        """Return the result of a step that was kept by `acknowledge`, unless it was dropped."""
        value = optional_value((await self._read(self._places.result(ref, key))).get("result"))
        return value if value is not None and value.dropped is None else None

    async def acknowledged_steps(self, ref: RunRef) -> frozenset[str]:
        """Return the keys of the steps of which something was kept so."""
        prefix = self._places.result(ref, "").removesuffix(".json")
        keys = await self._objects.keys(prefix)
        return frozenset(key.removeprefix(prefix).removesuffix(".json") for key in keys)

    async def document(
        self, workflow_id: str, *, run_id: str | None = None, namespace: str | None = None
    ) -> dict[str, Any]:
        """Return the own document of a run (its chain's), by default the newest's.

        Of a run without a record, only the newest document of its workflow id can be found.
        """
        key = await self._find(namespace, workflow_id, run_id)
        run = None if key is None else await self._run_without_values(key)
        if run is not None:
            return await self.own.one(await document_home(self, run)).get()
        if run_id is not None:
            return {}
        newest = await self.own.newest(namespace or self.namespace, workflow_id)
        return {} if newest is None else await self.own.one(newest).get()

    async def _with_its_values(self, key: str, record: Json) -> Run:
        record = view(record)
        values = {part: record.get(part) for part in ("input", "start", "result")}
        (values,) = await self._with_values(key.removesuffix(RUN_FILE), [values])
        return to_run({**record, **values, "hand": None})

    async def _run_without_values(self, key: str) -> Run | None:
        record = await self._read(key)
        return to_run(record, key) if record else None

    async def _trace(self, key: str) -> Sequence[Span]:
        """Return the run, its steps and the spans of the steps' code."""
        parts = await self._step_parts(key)
        if not parts:
            return []
        own = {id: span for part in parts for id, span in part.get("spans", {}).items()}
        spans = [to_span(id, span) for id, span in own.items()]
        spans += await SpanStore(self._objects, self._places).read(key.removesuffix(RUN_FILE))
        return trace_of(to_run(parts[0], key), steps_of(parts), spans)

    async def _step_parts(self, key: str) -> Sequence[Json]:
        """Return the run's own object, and the others that tell of its steps; none if it is gone.

        Raises:
            DamagedObjectError: Its own object is no record.
        """
        record, *others = await self._steps.with_all(key)
        if not record:
            return []
        to_run(record, key)
        return [record, *others]

    async def _checkpoint(self, key: str, checkpoint: Json) -> Checkpoint:
        name = checkpoint.get("object")
        if name is None and checkpoint.get("version") is not None:
            name = f"{checkpoint['version']:09}"
        if name is None:
            return to_checkpoint(checkpoint, None)
        found = await self._objects.find(f"{key.removesuffix(RUN_FILE)}documents/{name}.json")
        return to_checkpoint(checkpoint, None if found is None else dict(found["state"]))

    async def _with_values(self, folder: str, parts: Sequence[Json]) -> Sequence[Json]:
        digests = sorted(digests_in([*parts]))
        values = await asyncio.gather(*(self._value(folder, digest) for digest in digests))
        return list(put_together([*parts], dict(zip(digests, values, strict=True))))

    async def _value(self, folder: str, digest: str) -> Json:
        key = f"{folder}values/{digest}.json"
        found = await self._objects.find(key)
        if found is None:
            raise DamagedObjectError(f"the value {key} of a record is gone; restore or delete it")
        return {part: found[part] for part in found if part != "schema"}

    async def _find(
        self, namespace: str | None, workflow_id: str, run_id: str | None
    ) -> str | None:
        space = namespace or self.namespace
        for month in await self._months(space):
            prefix = self._places.workflow(space, month, workflow_id)
            for key in reversed(await self._runs_under(prefix)):
                if run_id is None or _run_id_in(key) == encode_name(run_id):
                    return key
        return None

    async def _runs_under(self, prefix: str) -> list[str]:
        """Return the keys of a workflow id's runs, without listing all that one run may have."""
        found: list[str] = []
        page, limit = await self._objects.page(prefix, "", FIRST_PAGE), FIRST_PAGE
        while page:
            found += [key for key in page if key.endswith(f"/{RUN_FILE}")]
            if len(page) < limit:
                break
            limit = PAGE
            folder = f"{prefix}{page[-1].removeprefix(prefix).partition('/')[0]}/"
            key = f"{folder}{RUN_FILE}"
            further = self._objects.page(prefix, f"{folder}~", limit)
            if key in found:
                page = await further
                continue
            is_there, page = await asyncio.gather(self._objects.exists(key), further)
            found += [key] if is_there else []
        return found

    async def _months(self, namespace: str) -> Sequence[str]:
        prefix, after, months = self._places.namespace(namespace), "", []
        while keys := await self._objects.page(prefix, after, 1):
            month = keys[0].removeprefix(prefix).partition("/")[0]
            if month[:1].isdigit():
                months.append(month)
            after = f"{prefix}{month}/~"
        return months[::-1]

    async def _read(self, key: str) -> Json:
        return await self._objects.read(key)

    async def _read_sound(self, key: str) -> Json:
        """Return a run's own object, or an empty one if it is gone since it was listed.

        Raises:
            DamagedObjectError: It is no record, so that what it seems to lack may be lost.
        """
        record = await self._read(key)
        if record:
            to_run(record, key)
        return record

    async def _read_run(self, ref: RunRef) -> Json:
        return await self._read(self._places.run(ref))


def _chosen(checkpoints: Sequence[Json], which: int | str | None) -> Json | None:
    part = "name" if isinstance(which, str) else "number"
    found = [checkpoint for checkpoint in checkpoints if checkpoint.get(part) == which]
    return found[-1] if found else None


def _run_id_in(key: str) -> str:
    return key.split("/")[-2].partition("-")[2]
