"""Reading and writing the records of runs, with or without Temporal at hand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from temporal_state.documents import DocumentHandle, Engine, Layout, dumps
from temporal_state.documents import loads as load_json
from temporal_state.errors import (
    ConfigurationError,
    ConflictError,
    DamagedObjectError,
    InvalidValueError,
)
from temporal_state.runs._decode import optional_value, to_checkpoint, to_run, to_step
from temporal_state.runs._merge import Json, merge_attempt
from temporal_state.runs._own import ChainRef, OwnDocuments
from temporal_state.runs._patch import Patch, merge_record, merge_steps
from temporal_state.runs._records import CLOSED, Checkpoint, Run, Step, Value
from temporal_state.runs._refs import RUN_FILE, RunLayout, RunRef, chunk_of
from temporal_state.runs._takeover import Takeover
from temporal_state.storage import ObjectStore, encode_name, missing_transform

SCHEMA = 1
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Runs:
    """The records of all runs of one application."""

    engine: Engine
    layout: Layout
    own: OwnDocuments

    @property
    def _store(self) -> ObjectStore:
        return self.engine.store

    @property
    def _places(self) -> RunLayout:
        return RunLayout(self.layout)

    async def get(
        self, workflow_id: str, *, run_id: str | None = None, namespace: str = "default"
    ) -> Run | None:
        """Return the newest run of a workflow id, or the one asked for; ``None`` if unknown."""
        key = await self._find(namespace, workflow_id, run_id)
        return None if key is None else to_run(await self._read(key))

    async def list(
        self,
        *,
        status: str | None = None,
        workflow_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        namespace: str = "default",
    ) -> Sequence[Run]:
        """Return runs, the newest first.

        Args:
            status: Only those with this status.
            workflow_type: Only those of this type.
            since: Only those started at or after this time.
            until: Only those started before this time.
            limit: At most that many.
            namespace: Temporal's namespace.

        Raises:
            InvalidValueError: ``status`` is none.
        """
        if status is not None and status not in {"running", *CLOSED}:
            raise InvalidValueError(
                f"status={status!r} is none of a run; ask for running, {', '.join(sorted(CLOSED))}"
            )
        found: list[Run] = []
        async for key in self._newest_first(namespace):
            run = to_run(await self._read(key))
            if since is not None and run.started < since:
                break
            if (
                (status is None or run.status == status)
                and (workflow_type is None or run.workflow_type == workflow_type)
                and (until is None or run.started < until)
            ):
                found.append(run)
            if len(found) == limit:
                break
        return found

    async def steps(
        self, workflow_id: str, *, run_id: str | None = None, namespace: str = "default"
    ) -> Sequence[Step]:
        """Return a run's steps in the order in which the workflow scheduled them."""
        key = await self._find(namespace, workflow_id, run_id)
        if key is None:
            return []
        folder = key.removesuffix(RUN_FILE)
        keys = await self._all_keys(folder)
        record = await self._read(key)
        steps: dict[str, Json] = dict(record.get("steps", {}))
        attempts: dict[str, Json] = {}
        parts = [k for k in keys if k.removeprefix(folder).startswith(("steps/", "attempts/"))]
        for part in await asyncio.gather(*map(self._read, parts)):
            steps.update(part.get("steps", {}))
            for name, attempt in part.get("attempts", {}).items():
                attempts[name] = merge_attempt(attempts.get(name), attempt)
        return [
            to_step(number, step, attempts.get(step["call"]["key"] or ""))
            for number, step in sorted((int(n), step) for n, step in steps.items())
            if number <= record.get("step_count", number) and "call" in step
        ]

    async def history(
        self, workflow_id: str, *, run_id: str | None = None, namespace: str = "default"
    ) -> Sequence[Checkpoint]:
        """Return a run's checkpoints, the oldest first, with its document at each."""
        key = await self._find(namespace, workflow_id, run_id)
        if key is None:
            return []
        folder = key.removesuffix(RUN_FILE)
        checkpoints = (await self._read(key)).get("checkpoints", [])
        return [
            to_checkpoint(checkpoint, await self._document_at(folder, checkpoint))
            for checkpoint in checkpoints
        ]

    async def of_workflow(self, workflow_id: str, *, namespace: str = "default") -> Sequence[Run]:
        """Return all runs of one workflow id, the newest first."""
        found: list[Run] = []
        for month in await self._months(namespace):
            prefix = self._places.workflow(namespace, month, workflow_id)
            keys = [key for key in await self._all_keys(prefix) if key.endswith(f"/{RUN_FILE}")]
            records = await asyncio.gather(*map(self._read, reversed(keys)))
            found += [to_run(record) for record in records if record]
        return found

    async def document(
        self, workflow_id: str, *, run_id: str | None = None, namespace: str = "default"
    ) -> dict[str, Any]:
        """Return the own document of a run (its chain's), by default the newest's.

        Of a run without a record, only the newest document of its workflow id can be found.
        """
        run = await self.get(workflow_id, run_id=run_id, namespace=namespace)
        if run is not None:
            return await self.own.one(await Takeover(self).home_of(run)).get()
        newest = await self.own.newest(namespace, workflow_id) if run_id is None else None
        return {} if newest is None else await self.own.one(newest).get()

    async def acknowledge(self, ref: RunRef, key: str, value: Json) -> None:
        """Keep the result of a step before Temporal learns of it; the first one stays."""
        data = dumps({"schema": SCHEMA, "result": value})
        with contextlib.suppress(ConflictError):
            await self._store.put(self._places.result(ref, key), data, if_absent=True)

    async def acknowledged(self, ref: RunRef, key: str) -> Value | None:
        """Return the result of a step that was kept so, unless it was dropped."""
        value = optional_value((await self._read(self._places.result(ref, key))).get("result"))
        return value if value is not None and value.dropped is None else None

    async def synced(self, ref: RunRef) -> int:
        """Return the length of history up to which the record of a run is complete."""
        found = await self._store.get(self._places.run(ref))
        return 0 if found is None else int(self._load(self._places.run(ref), found.data)["synced"])

    async def write(self, patch: Patch, writer: str) -> int:
        """Merge a patch into the record; return how many objects were written.

        The run's own object comes last: it says up to where the rest is complete.
        """
        by_chunk: dict[int, dict[int, Json]] = {}
        for number, step in patch.steps.items():
            by_chunk.setdefault(chunk_of(number), {})[number] = step
        first = by_chunk.pop(0, {})
        writes = [
            self._update(self._places.steps(patch.ref, chunk), _steps_merger(steps))
            for chunk, steps in by_chunk.items()
        ]
        if patch.attempts:
            key = self._places.attempts(patch.ref, writer)
            writes.append(self._update(key, _attempts_merger(patch.attempts)))
        await asyncio.gather(*writes)
        if patch.header is None and not first:
            return len(writes)
        header = patch.header
        if header is not None and header.get("checkpoints"):
            await self._keep_document(patch.ref, header)
        merger: Callable[[Json], Json] = lambda old: merge_record(old, header, first)  # noqa: E731
        await self._update(self._places.run(patch.ref), merger)
        return len(writes) + 1

    async def _keep_document(self, ref: RunRef, header: Json) -> None:
        chain = ChainRef(ref.namespace, ref.workflow_id, header["chain"])
        document = await DocumentHandle(self.engine, self.own.one(chain).address).read()
        if document is None:
            return
        for checkpoint in header["checkpoints"]:
            checkpoint.setdefault("version", document.version)
        key = self._places.document(ref, document.version)
        if await self._store.head(key) is None:
            await self._store.put(key, dumps({"state": document.value}))

    async def _document_at(self, folder: str, checkpoint: Json) -> dict[str, Any] | None:
        version = checkpoint.get("version")
        if version is None:
            return None
        found = await self._store.get(f"{folder}documents/{version:09}.json")
        return None if found is None else dict(load_json(found.data)["state"])

    async def _update(self, key: str, merger: Callable[[Json], Json]) -> None:
        def change(data: bytes | None) -> bytes | None:
            stored = self._load(key, data) if data is not None else {}
            merged = merger(stored)
            return None if merged == stored else dumps({"schema": SCHEMA, **merged})

        await self._store.update(key, change)

    async def _find(self, namespace: str, workflow_id: str, run_id: str | None) -> str | None:
        for month in await self._months(namespace):
            prefix = self._places.workflow(namespace, month, workflow_id)
            keys = [key for key in await self._all_keys(prefix) if key.endswith(f"/{RUN_FILE}")]
            for key in reversed(keys):
                if run_id is None or key.split("/")[-2].partition("-")[2] == encode_name(run_id):
                    return key
        return None

    async def _newest_first(self, namespace: str) -> AsyncIterator[str]:
        for month in await self._months(namespace):
            keys = await self._all_keys(f"{self._places.namespace(namespace)}{month}/")
            runs = [key for key in keys if key.endswith(f"/{RUN_FILE}")]
            for key in sorted(runs, key=lambda key: key.split("/")[-2], reverse=True):
                yield key

    async def _months(self, namespace: str) -> Sequence[str]:
        prefix, after, months = self._places.namespace(namespace), "", []
        while keys := await self._page(prefix, after, 1):
            month = keys[0].removeprefix(prefix).partition("/")[0]
            if month[:1].isdigit():
                months.append(month)
            after = f"{prefix}{month}/~"
        return months[::-1]

    async def _all_keys(self, prefix: str) -> Sequence[str]:
        keys: list[str] = []
        while page := await self._page(prefix, keys[-1] if keys else "", PAGE):
            keys += page
            if len(page) < PAGE:
                break
        return keys

    async def _read(self, key: str) -> Json:
        found = await self.engine.in_time(self._store.get(key), f"reading {key}")
        return {} if found is None else self._load(key, found.data)

    async def _page(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        listing = self._store.list(prefix, after=after, limit=limit)
        return await self.engine.in_time(listing, f"listing {prefix}")

    @staticmethod
    def _load(key: str, data: bytes) -> Json:
        try:
            record = load_json(data)
        except ValueError as error:
            if missing := missing_transform(data):
                raise ConfigurationError(f"the record {key} is {missing}") from error
            raise DamagedObjectError(
                f"the record {key} is damaged ({error}); move it away"
            ) from error
        if not isinstance(record, dict) or record.get("schema", SCHEMA) > SCHEMA:
            raise DamagedObjectError(f"the record {key} is of a newer version; upgrade")
        return record


def _steps_merger(steps: Mapping[int, Json]) -> Callable[[Json], Json]:
    return lambda stored: {**stored, "steps": merge_steps(stored.get("steps", {}), steps)}


def _attempts_merger(attempts: Mapping[str, Json]) -> Callable[[Json], Json]:
    def merge(stored: Json) -> Json:
        known = dict(stored.get("attempts", {}))
        for key, attempt in attempts.items():
            known[key] = merge_attempt(known.get(key), attempt)
        return {**stored, "attempts": known}

    return merge
