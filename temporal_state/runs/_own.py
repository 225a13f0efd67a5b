"""The own document of a chain of runs, and the way back to the chain before.

It belongs to the chain, not to the workflow id: retries, continued, cron and reset runs share it,
and an unrelated later run of the same id starts empty. A short list for each workflow id, in the
order in which its chains first wrote, tells what came before; it is written once per chain.

A resumed run goes on with the document of another chain, be it one of another workflow id. It says
so beside that document, before its record does, so that whoever deletes the other runs finds it.
"""

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from temporal_state.documents import (
    Address,
    Caller,
    Document,
    DocumentHandle,
    Edit,
    Engine,
    Envelope,
    Layout,
    to_text,
)
from temporal_state.runs._objects import Objects
from temporal_state.runs._refs import RunRef
from temporal_state.storage import encode_name

MAX_CHAINS = 1000
"""So many chains of one workflow id are remembered in their order."""


@dataclass(frozen=True, slots=True)
class ChainRef:
    """One chain of runs: where it runs, its workflow id, and the run id that all its runs share."""

    namespace: str
    workflow_id: str
    chain: str


@dataclass(frozen=True, slots=True)
class OwnDocuments:
    """The own documents of the chains of one application."""

    engine: Engine
    layout: Layout
    _listed: set[ChainRef] = field(default_factory=set)

    def on_behalf_of(self, caller: Caller) -> "OwnDocuments":
        """Return the same documents for another caller."""
        return replace(self, engine=self.engine.on_behalf_of(caller))

    def one(self, ref: ChainRef) -> "OwnDocument":
        """Return the own document of a chain, to be read and changed."""
        address = self.layout.own_document(ref.namespace, ref.workflow_id, ref.chain)
        return OwnDocument(self.engine, address, self, ref)

    async def previous(self, ref: ChainRef) -> dict[str, Any]:
        """Return the document of the nearest earlier chain of this workflow id that has one."""
        chains = await self._chains(ref)
        earlier = chains[: chains.index(ref.chain)] if ref.chain in chains else chains
        for chain in reversed(earlier):
            found = await self.one(replace(ref, chain=chain)).read()
            if found is not None:
                return found.value
        return {}

    async def newest(self, namespace: str, workflow_id: str) -> ChainRef | None:
        """Return the chain of a workflow id that wrote first most recently, if there is one."""
        ref = ChainRef(namespace, workflow_id, "")
        chains = await self._chains(ref)
        return replace(ref, chain=chains[-1]) if chains else None

    async def remember(self, ref: ChainRef) -> None:
        """Put the chain on the list of its workflow id's chains, unless it is there."""
        if ref in self._listed:
            return

        def edit(envelope: Envelope, now: datetime) -> bool:
            chains = envelope.state.get("chains", [])
            if ref.chain in chains:
                return False
            envelope.revive(now)
            envelope.state["chains"] = [*chains[1 - MAX_CHAINS :], ref.chain]
            return True

        engine = self.engine.on_behalf_of(Caller(now=self.engine.now()))
        await engine.change(self._list_address(ref), edit)
        if len(self._listed) > MAX_CHAINS:
            self._listed.clear()
        self._listed.add(ref)

    async def join(self, home: ChainRef, run: RunRef) -> None:
        """Say that a run goes on with the document of a chain that is not its own."""
        await Objects(self.engine).create(
            self._user(home, run), {**asdict(run), "started": to_text(run.started)}
        )

    async def leave(self, home: ChainRef, run: RunRef) -> None:
        """Take back what `join` said."""
        await Objects(self.engine).delete([self._user(home, run)])

    async def is_joined(self, home: ChainRef, *, by_other_than: RunRef) -> bool:
        """Return whether some other run goes on with the document of a chain."""
        prefix = self.layout.users(home.namespace, home.workflow_id, home.chain)
        found = await Objects(self.engine).page(prefix, "", 2)
        return bool({*found} - {self._user(home, by_other_than)})

    def _user(self, home: ChainRef, run: RunRef) -> str:
        prefix = self.layout.users(home.namespace, home.workflow_id, home.chain)
        return f"{prefix}{encode_name(f'{run.namespace}/{run.workflow_id}/{run.run_id}')}.json"

    async def _chains(self, ref: ChainRef) -> list[str]:
        found = await self.engine.read(self._list_address(ref))
        return list(found.value["chains"]) if found is not None else []

    def _list_address(self, ref: ChainRef) -> Address:
        return self.layout.chains(ref.namespace, ref.workflow_id)


@dataclass(frozen=True, slots=True)
class OwnDocument(DocumentHandle):
    """The own document of one chain; its first change puts the chain on its list."""

    documents: OwnDocuments
    ref: ChainRef

    async def change(self, edit: Edit) -> tuple[Document, Any]:
        """Apply an edit as any document does."""
        await self.documents.remember(self.ref)
        return await self.engine.change(self.address, edit)
