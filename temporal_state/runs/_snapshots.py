"""Snapshots: the state of a document or a run under a name, kept until someone deletes it.

Each is one object that nothing else refers to, so retention cannot touch it, and it outlives the
run. Restoring writes a new version of the document: nothing of what was there since is lost.
"""

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from temporal_state.documents import (
    Caller,
    Document,
    DocumentHandle,
    Engine,
    StateType,
    check_id,
    dumps,
    from_text,
    plain_object,
    to_text,
)
from temporal_state.errors import (
    ConflictError,
    DamagedObjectError,
    InvalidValueError,
    NotFoundError,
    NotRecordedError,
)
from temporal_state.runs._audit import Audit
from temporal_state.runs._listed import Listed, check_limit, place_after
from temporal_state.runs._merge import Json
from temporal_state.runs._objects import SCHEMA, Objects, decoding
from temporal_state.runs._own import ChainRef
from temporal_state.runs._refs import RunRef
from temporal_state.runs._takeover import document_home
from temporal_state.storage import KEPT_OF_LONG, encode_name, encode_prefix

if TYPE_CHECKING:
    from temporal_state.documents import Documents
    from temporal_state.runs._store import Runs


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a document or of a run at one moment, under a name.

    Attributes:
        name: Its name.
        time: When it was made.
        document: Type and id of the document, if it is one's.
        run: Which run it is of, and how far that was, if it is one's.
        version: The document's version; 0 if the state is that of a checkpoint by hand.
        state: The state.
        metadata: What else was noted.
    """

    name: str
    time: datetime
    document: dict[str, str] | None
    run: dict[str, Any] | None
    version: int
    state: dict[str, Any]
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshots:
    """The snapshots of one application (and tenant)."""

    documents: "Documents"
    runs: "Runs"
    audit: Audit

    async def create(
        self,
        name: str,
        *,
        document: tuple[str, str] | str | None = None,
        run: str | None = None,
        run_id: str | None = None,
        namespace: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        replace: bool = False,
        call: str | None = None,
    ) -> Snapshot:
        """Keep the present state of a document or of a run under a name.

        Making it again of the same state is fine and makes no second.

        Args:
            name: Any id.
            document: Id and type of the document, or the id of a workflow's one.
            run: Or the workflow id of a run: its own document, or of a run that is written by hand
                its latest checkpoint.
            run_id: Which run; by default the newest.
            namespace: Temporal's namespace; by default the backend's.
            metadata: What else to note: a JSON object.
            replace: Whether to replace one of this name.
            call: Names this call; when it is repeated, the snapshot is the one that it made.

        Raises:
            ConflictError: There is one of this name, and it is another.
            NotFoundError: There is no such document, or `NotRecordedError`, run.
            InvalidValueError: Neither or both of ``document`` and ``run`` are given.
        """
        if (document is None) == (run is None):
            raise InvalidValueError("give document=(id, type) or run=workflow_id, one of the two")
        self._key(name)
        plain_object(dict(metadata or {}), "metadata")
        if document is not None:
            value = await self._of_document(document)
        else:
            value = await self._of_run(run or "", run_id, namespace)
        return await self._keep(name, value, metadata, call, replace=replace)

    async def create_of(
        self,
        name: str,
        ref: RunRef,
        home: ChainRef,
        workflow_type: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        replace: bool = False,
        call: str | None = None,
    ) -> Snapshot:
        """Keep the present own document of a run that may have no record, as yet or for ever.

        Args:
            name: Any id.
            ref: Which run.
            home: Whose document its own is.
            workflow_type: Of the run.
            metadata: See `create`.
            replace: See `create`.
            call: See `create`.
        """
        own = await self.runs.own.one(home).read()
        version, state = (0, {}) if own is None else (own.version, own.value)
        ids = {"workflow_id": ref.workflow_id, "run_id": ref.run_id, "namespace": ref.namespace}
        run = {**ids, "home": asdict(home), "workflow_type": workflow_type, "status": "running"}
        value = {"document": None, "run": run, "version": version, "state": state}
        return await self._keep(name, value, metadata, call, replace=replace)

    def on_behalf_of(self, caller: Caller) -> "Snapshots":
        """Return the same snapshots; documents are read and restored for another caller."""
        runs = dataclasses.replace(self.runs, own=self.runs.own.on_behalf_of(caller))
        documents = self.documents.on_behalf_of(caller)
        return dataclasses.replace(self, documents=documents, runs=runs)

    async def _keep(
        self,
        name: str,
        value: Json,
        metadata: Mapping[str, Any] | None,
        call: str | None,
        *,
        replace: bool,
    ) -> Snapshot:
        key, notes = self._key(name), plain_object(dict(metadata or {}), "metadata")
        value |= {"call": call} if call is not None else {}
        value |= {"name": name, "metadata": notes, "time": to_text(self._engine.now())}
        if replace:
            writing = self._engine.store.put(key, dumps({"schema": SCHEMA, **value}))
            await self._engine.to_the_end(writing, f"writing {key}")
        elif not await self._engine.to_the_end(self._objects.create(key, value), f"writing {key}"):
            value = await self._same(key, value)
        return _snapshot(value)

    async def load(self, name: str) -> Snapshot | None:
        """Return a snapshot, or ``None`` if there is none."""
        key = self._key(name)
        found = await self._objects.find(key)
        if found is not None and found.get("name", name) != name:
            raise DamagedObjectError(f"{key} holds the snapshot {found['name']!r}, not {name!r}")
        return None if found is None else _snapshot(found)

    async def list(
        self, *, prefix: str = "", limit: int = 100, cursor: str | None = None
    ) -> Listed[Snapshot]:
        """Return snapshots in the order of their names as they are stored, a page at a time.

        Args:
            prefix: What their names start with; empty for all.
            limit: At most that many, 1 to 1,000.
            cursor: The ``cursor`` of the page before.
        """
        check_limit(limit)
        start = f"{self._prefix}{encode_prefix(prefix)[:KEPT_OF_LONG]}"
        after = place_after(self._prefix, cursor)
        found: list[Snapshot] = []
        while keys := await self._objects.page(start, after, limit):
            for key, value in zip(
                keys, await asyncio.gather(*map(self._objects.find, keys)), strict=True
            ):
                if value is not None and _snapshot(value).name.startswith(prefix):
                    found.append(_snapshot(value))
                if len(found) == limit:
                    return Listed(found, key.removeprefix(self._prefix))
            if len(keys) < limit:
                break
            after = keys[-1]
        return Listed(found, None)

    async def restore(self, name: str, *, actor: str | None = None) -> Document:
        """Write a snapshot's state back as a new version of its document; return that.

        Args:
            name: The snapshot.
            actor: Who asks for it, for the audit.

        Raises:
            NotFoundError: There is no snapshot of this name.
        """
        snapshot = await self.load(name)
        if snapshot is None:
            raise NotFoundError(f"there is no snapshot {name!r}; snapshots.list names those kept")
        target = {"snapshot": name, "document": snapshot.document, "run": snapshot.run}
        await self.audit.write("snapshot.restore", target, actor=actor)
        return await self._handle_of(snapshot).replace(snapshot.state)

    async def delete(self, name: str, *, actor: str | None = None) -> bool:
        """Delete a snapshot; return whether there was one."""
        key = self._key(name)
        if await self._objects.find(key) is None:
            return False
        await self.audit.write("snapshot.delete", {"snapshot": name}, actor=actor)
        return bool(await self._objects.delete([key]))

    async def _of_document(self, document: tuple[str, str] | str) -> Json:
        id, type = (document, StateType.WORKFLOWS) if isinstance(document, str) else document
        handle = self.documents.one(id, type)
        found = await handle.read()
        if found is None:
            raise NotFoundError(f"there is no document {handle.address} to make a snapshot of")
        kept = {"type": handle.address.type, "id": handle.address.id}
        return {"document": kept, "run": None, "version": found.version, "state": found.value}

    async def _of_run(self, workflow_id: str, run_id: str | None, namespace: str | None) -> Json:
        run = await self.runs.get(workflow_id, run_id=run_id, namespace=namespace)
        if run is None:
            raise NotRecordedError(f"there is no run of {workflow_id!r} to make a snapshot of")
        home = await document_home(self.runs, run)
        own = await self.runs.own.one(home).read()
        version, state = (0, None) if own is None else (own.version, own.value)
        if state is None:
            latest = await self.runs.load_checkpoint(
                workflow_id, run_id=run.run_id, namespace=namespace
            )
            state = (latest.state if latest is not None else None) or {}
        kept = {
            "namespace": run.namespace,
            "workflow_id": workflow_id,
            "run_id": run.run_id,
            "home": asdict(home),
            "workflow_type": run.workflow_type,
            "status": run.status,
            "steps": run.steps,
        }
        return {"document": None, "run": kept, "version": version, "state": state}

    async def _same(self, key: str, value: Json) -> Json:
        known = await self._objects.read(key)
        parts = ("name", "document", "run", "state", "metadata")
        again = "call" in value and known.get("call") == value["call"]
        if not again and any(known.get(part) != value[part] for part in parts):
            raise ConflictError(
                f"there is a snapshot {value['name']!r} of {known.get('time')} that is another; "
                "choose another name, or give replace=True"
            )
        return known

    def _handle_of(self, snapshot: Snapshot) -> DocumentHandle:
        if snapshot.document is not None:
            return self.documents.one(snapshot.document["id"], snapshot.document["type"])
        assert snapshot.run is not None
        return self.runs.own.one(ChainRef(**snapshot.run["home"]))

    def _key(self, name: str) -> str:
        return f"{self._prefix}{encode_name(check_id(name, 'snapshot'))}.json"

    @property
    def _prefix(self) -> str:
        return f"{self.runs.layout.base}/snapshots/"

    @property
    def _engine(self) -> Engine:
        return self.runs.engine

    @property
    def _objects(self) -> Objects:
        return Objects(self.runs.engine)


def _snapshot(value: Json) -> Snapshot:
    with decoding(f"the snapshot {value.get('name')!r}"):
        fields = {name: value[name] for name in Snapshot.__slots__ if name != "time"}
        return Snapshot(**fields, time=from_text(value["time"]))
