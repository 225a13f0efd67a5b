"""An open store and what is kept in it: the object that scripts, pages and workers hold.

It knows nothing of Temporal, so a notebook can read what workers write. A worker's plugin and a
script may share one; it counts its users and closes with the last.
"""

import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar

from temporal_state.documents import (
    DEFAULT_LIMITS,
    KEY_PREFIX,
    Adoption,
    Caller,
    Clock,
    Credentials,
    DeletedState,
    Documents,
    Engine,
    Keys,
    Layout,
    Limits,
    Progress,
    StateType,
    SystemState,
    Transaction,
    adopter,
    check_id,
    delete_documents,
    delete_keys,
    folders_of,
    utc_now,
)
from temporal_state.errors import ConfigurationError
from temporal_state.runs import (
    Catalog,
    Feed,
    Maintenance,
    OwnDocuments,
    Positions,
    Runs,
    Seal,
    Snapshots,
    home_of,
)
from temporal_state.storage import (
    LocalStore,
    ObjectStore,
    Transform,
    TransformedStore,
    join_location,
    open_store,
)

T = TypeVar("T")

DEFAULT_URL = "./local/tmp"
DEFAULT_APP = "default"
DEFAULT_NAMESPACE = "default"
URL_VARIABLE = "TEMPORAL_STATE_URL"
APP_VARIABLE = "TEMPORAL_STATE_APP"
NAMESPACE_VARIABLE = "TEMPORAL_NAMESPACE"
ANYBODY = Caller()

__all__ = ["StateBackend"]


class StateBackend:
    """The documents and runs of one application in one store.

    Example:
        async with StateBackend.open("./local/tmp", app="billing") as backend:
            await backend.documents.get("workflow-123", StateType.WORKFLOWS)

    Attributes:
        url: Where the store lies, as it was given.
        layout: The application and tenant, and where their objects lie.
        store: Where the objects lie, as they were before any transform.
        transforms: What is done to objects on their way there.
        documents: The documents of the application.
        keys: Its small values under names, which may expire.
        system: Its state that belongs to no run, such as watermarks.
        credentials: Its documents that say where secrets lie.
        own_documents: The own documents of its runs.
        positions: How far loops over items in its activities have come.
        runs: The records of its runs.
        snapshots: States of documents and runs that are kept under a name.
        audit: Who deleted and restored what.
        maintenance: Retention of runs and checkpoints, and all else that keeps the store tidy.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        url: str,
        layout: Layout,
        limits: Limits,
        clock: Clock,
        transforms: Sequence[Transform] = (),
        catalog: str | os.PathLike[str] | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> None:
        self.url = url
        self.layout = layout
        self.transforms = tuple(transforms)
        self.store = TransformedStore(store, *transforms) if transforms else store
        engine = Engine(self.store, limits, clock)
        self.documents = Documents(engine, layout)
        self.keys = Keys(engine, layout)
        self.system = SystemState(self.documents)
        self.credentials = Credentials(self.documents)
        self.own_documents = OwnDocuments(engine, layout)
        self.positions = Positions(engine, layout)
        feed = Feed(engine, layout)
        patience = limits.operation_timeout.total_seconds()
        self._catalog = Catalog(
            engine,
            layout,
            feed,
            lambda: home_of(store, layout, catalog, patience),
            Seal(self.transforms),
        )
        self.runs = Runs(
            engine,
            layout,
            self.own_documents,
            feed=feed,
            catalog=self._catalog,
            namespace=namespace,
        )
        self.audit = self.runs.audit
        self.snapshots = Snapshots(self.documents, self.runs, self.audit)
        self.maintenance = Maintenance(self.documents, self.keys, self.runs)
        self._users = 0
        self._counting = threading.Lock()

    @classmethod
    def open(
        cls,
        url: str | os.PathLike[str] | ObjectStore | None = None,
        *,
        app: str | None = None,
        tenant: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
        clock: Clock = utc_now,
        transform: Transform | Sequence[Transform] | None = None,
        catalog: str | os.PathLike[str] | None = None,
        namespace: str | None = None,
    ) -> Self:
        """Return a backend that opens its store when it is entered with ``async with``.

        Args:
            url: A path, ``file:///...`` or ``memory://``, or a store. By default
                ``TEMPORAL_STATE_URL``, else ``./local/tmp``.
            app: The application whose state this is. By default ``TEMPORAL_STATE_APP``, else
                ``default``.
            tenant: One tenant of it; nothing of one tenant is visible to another.
            limits: How large documents may be, how long the store may take, and more.
            clock: Tells the time where Temporal does not.
            transform: What is done to objects before they are stored, such as `Compressed` or
                `CodecTransform`; of several, the first is done first. Names of objects, and with
                them ids, are not transformed.
            catalog: Where the index of runs lies, by which `runs.list` and its kin answer: a
                folder, ``memory://`` or ``postgresql://...`` (for all machines). By default beside
                local files, and else in the user's cache folder; it can be deleted at any time.
            namespace: Temporal's namespace, of which runs are meant where none is named. By default
                ``TEMPORAL_NAMESPACE``, else ``default``. In workflows and activities those of the
                calling run's are meant, whatever it is.

        Raises:
            ConfigurationError: The URL is none that we know.
            InvalidNameError: ``app`` or ``tenant`` can be no name.
        """
        if url is None:
            url = os.environ.get(URL_VARIABLE) or DEFAULT_URL
        if isinstance(url, str | os.PathLike):
            given = os.path.expanduser(os.fspath(url))  # noqa: PTH111 as given
            store = open_store(url, timeout=limits.operation_timeout)
        else:
            given, store = url.url, url
        if isinstance(store, LocalStore) and given.lower().startswith("file:"):
            given = str(store.root)
        return cls(
            store,
            url=given,
            layout=Layout(app or os.environ.get(APP_VARIABLE) or DEFAULT_APP, tenant),
            limits=limits,
            clock=clock,
            transforms=_as_sequence(transform),
            catalog=catalog,
            namespace=namespace or os.environ.get(NAMESPACE_VARIABLE) or DEFAULT_NAMESPACE,
        )

    def __repr__(self) -> str:
        tenant = f", tenant={self.layout.tenant!r}" if self.layout.tenant else ""
        return f"<StateBackend {self.store.url} app={self.layout.app!r}{tenant}>"

    @property
    def namespace(self) -> str:
        """Temporal's namespace, of which runs are meant where none is named."""
        return self.runs.namespace

    @property
    def limits(self) -> Limits:
        """The limits that operations keep."""
        return self.documents.engine.limits

    @property
    def clock(self) -> Clock:
        """Tells the time where Temporal does not."""
        return self.documents.engine.clock

    async def start(self) -> None:
        """Open the store for one more user; each must `close` it."""
        with self._counting:
            self._users += 1
        try:
            await self.store.open()
        except BaseException:
            with self._counting:
                self._users -= 1
            raise

    async def close(self) -> None:
        """Give up one use; the last one closes the store."""
        with self._counting:
            if self._users == 0:
                raise ConfigurationError(f"{self!r} is closed more often than it was started")
            self._users -= 1
            last = self._users == 0
        if last:
            await self._catalog.close()
            await self.store.close()
        if last and self._users:  # another event loop has begun to use it meanwhile
            await self.store.open()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Return a block whose changes of several documents take effect together, or not at all.

        Example:
            async with backend.transaction() as tx:
                order = await tx.get("order-1")
                await tx.merge("order-1", {"paid": True})
                await tx.merge("account-7", {"balance": order["sum"]})

        Raises:
            TransactionConflictError: At the end, if what the block has read was changed meanwhile;
                see `transact`, which runs it again.
        """
        return self.documents.transactions.transaction()

    async def transact(
        self,
        function: Callable[[Transaction], Awaitable[T]],
        *,
        attempts: int = 20,
        deadline: timedelta = timedelta(seconds=30),
    ) -> T:
        """Run ``function`` in a transaction, again for each conflict, and return what it returned.

        Args:
            function: Reads and changes by the transaction it is given; it may run several times.
            attempts: At most that many runs.
            deadline: No run begins later than so long after the call.

        Raises:
            TransactionConflictError: The last run met a conflict too.
        """
        return await self.documents.transactions.transact(
            function, attempts=attempts, deadline=deadline
        )

    def documents_for(self, caller: Caller) -> Documents:
        """Return the documents for operations on behalf of ``caller``."""
        return self.documents.on_behalf_of(caller)

    def own_documents_for(self, caller: Caller) -> OwnDocuments:
        """Return the own documents for operations on behalf of ``caller``."""
        return self.own_documents.on_behalf_of(caller)

    def keys_for(self, caller: Caller) -> Keys:
        """Return the keys for operations on behalf of ``caller``."""
        return self.keys.on_behalf_of(caller)

    async def delete_execution_state(
        self,
        id: str,
        *,
        types: Sequence[str] = (StateType.WORKFLOWS,),
        key_prefix: str = KEY_PREFIX,
        caller: Caller = ANYBODY,
    ) -> DeletedState:
        """Delete the state that is kept for an execution, and return how much there was.

        What an execution may share stays: state of other types, and the records of its runs.

        Args:
            id: The execution's id.
            types: The types of documents of which the one with this id goes.
            key_prefix: The key with this name goes, and those whose names go on with a colon;
                ``{id}`` stands for the id. So ``exec:1`` leaves ``exec:10``.
            caller: On whose behalf.
        """
        return DeletedState(
            documents=await delete_documents(self.documents_for(caller), id, types),
            keys=await delete_keys(self.keys_for(caller), id, key_prefix),
        )

    async def adopt(
        self,
        source: str | os.PathLike[str] | ObjectStore | None = None,
        *,
        app: str | None = None,
        id_of: Callable[[str], str] = str,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Adoption:
        """Bring in documents that another tool wrote, and report what became of each.

        Looks for ``persistent-artifacts/apps/{app}/{type}/{id}/config.json`` below ``source``,
        without following links there, and leaves the files as they are. Can be repeated.

        Args:
            source: A root, as a path or a store of local files; by default this backend's own,
                for folders that are not named as this package would name them.
            app: The folder of the application there; by default this backend's application.
            id_of: From a folder's name to the id, such as ``urllib.parse.unquote`` for a tool that
                escapes with percent signs. By default the name is the id.
            dry_run: Report only, and write nothing.
            progress: Is told how many documents are done, and of how many; may be async.

        Raises:
            ConfigurationError: ``source`` is no tree of files.
            StoreError: A store fails; what was adopted so far stays.
        """
        source = self.store if source is None else source
        adopting = adopter(self.documents.engine, self.layout, source, id_of, dry_run=dry_run)
        apps = folders_of(self.layout.app) if app is None else [check_id(app, "app")]
        return await adopting.run(apps, progress)

    def path(self, id: str, type: str) -> str:
        """Return where a document lies: a path for local files, otherwise a URL.

        The path starts with the root as it was given, so a relative root gives a relative path.
        """
        return join_location(self.url, self.layout.document(id, type).key)


def _as_sequence(transform: Transform | Sequence[Transform] | None) -> Sequence[Transform]:
    if transform is None:
        return ()
    return transform if isinstance(transform, Sequence) else (transform,)
