"""``doctor``: tries out everything that the package stands on, and says what to do about it."""

import platform
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import typer
from rich.text import Text
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, GetSystemInfoRequest
from temporalio.client import Client

from temporal_state.backend import StateBackend
from temporal_state.cli._failures import Code, CommandError, TemporalUnreachableError, message_of
from temporal_state.cli._models import CheckShape, DoctorShape
from temporal_state.cli._output import Output, status_text
from temporal_state.cli._session import Session, perform
from temporal_state.cli._text import duration_text
from temporal_state.errors import ConflictError, StoreError
from temporal_state.storage import encode_name

SKEW = timedelta(seconds=5)
SLOW = timedelta(seconds=2)
PAGE, PAGES = 1000, 50


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command("doctor")(doctor)


def doctor(ctx: typer.Context) -> None:
    """Check the store, its promises, Temporal, the clocks and the versions."""

    async def work(session: Session) -> None:
        checks = await Doctor(session).run()
        shape = DoctorShape.of(session.backend, checks)
        if session.out.json:
            session.out.document(shape)
        else:
            _print(session.out, shape)
        failed = [check for check in checks if check.status == "failed"]
        if failed:
            names = ", ".join(check.name for check in failed)
            unreachable = {"store", "Temporal"} & {check.name for check in failed}
            raise CommandError(
                f"{names} failed; the table says what to do",
                Code.UNREACHABLE if unreachable else Code.FAILED,
            )

    perform(ctx, work)


def _print(out: Output, shape: DoctorShape) -> None:
    out.say(f"app {shape.app} in {shape.store}")
    out.table(
        ("check", "outcome", "detail", "remedy"),
        ((c.name, status_text(c.status), Text(c.detail), c.remedy or "") for c in shape.checks),
    )


@dataclass(slots=True)
class Doctor:
    """One round of checks."""

    session: Session
    checks: list[CheckShape] = field(default_factory=list)

    async def run(self) -> list[CheckShape]:
        """Return what all checks found; one that fails does not keep the others from it."""
        self._note("versions", "ok", _versions())
        for name, check in (
            ("store", self._store),
            ("conditional writes", self._conditions),
            ("clock", self._clock),
            ("catalog", self._catalog),
            ("Temporal", self._temporal),
        ):
            await self._try(name, check)
        return self.checks

    async def _try(self, name: str, check: Callable[[], Awaitable[None]]) -> None:
        try:
            await check()
        except TemporalUnreachableError as error:
            # Who has named no address may well use the store alone.
            asked = self.session.settings.address is not None
            self._note(name, "failed" if asked else "skipped", str(error), "give --address")
        except Exception as error:  # noqa: BLE001 what is wrong is the answer
            self._note(name, "failed", message_of(error), _remedy(error))

    async def _store(self) -> None:
        began = datetime.now(UTC)
        async with _probe(self._backend) as key:
            found = await self._backend.store.get(key)
            if found is None or found.data != b"1":
                raise StoreError("what was written is not what is read")
        took = datetime.now(UTC) - began
        detail = f"written, read and deleted in {duration_text(took)}"
        if took > SLOW:
            self._note("store", "warning", detail, "each update of a run takes about as long")
        else:
            self._note("store", "ok", detail)

    async def _conditions(self) -> None:
        store = self._backend.store
        async with _probe(self._backend) as key:
            found = await store.get(key)
            await _refused(store.put(key, b"2", if_absent=True), "creates what exists")
            await store.put(key, b"3", if_match=found.etag if found else "")
            stale = store.put(key, b"4", if_match=found.etag if found else "")
            await _refused(stale, "replaces what has changed")
        self._note("conditional writes", "ok", "what must be refused is refused")

    async def _clock(self) -> None:
        async with _probe(self._backend) as key:
            found = await self._backend.store.head(key)
            now = datetime.now(UTC)
        if found is None:
            raise StoreError("what was written cannot be looked up")
        skew = abs(now - found.modified)
        detail = f"{duration_text(skew)} from the store's"
        if skew > SKEW:
            self._note("clock", "warning", detail, "set this machine's clock by NTP")
        else:
            self._note("clock", "ok", detail)

    async def _catalog(self) -> None:
        namespace = self.session.namespace
        stats = await self._backend.runs.stats(namespace=namespace)
        stored = await self._stored_runs(namespace)
        detail = f"has {stats.total} runs of namespace {namespace}"
        if stats.unreadable:
            why = f"{detail}; {stats.unreadable} records cannot be read"
            self._note("catalog", "warning", why, "'temporal-state reindex' names them")
        elif stored is None:
            self._note("catalog", "ok", f"{detail}, too many to be counted in the store")
        elif stored != stats.total:
            why = f"{detail}, the store {stored}"
            self._note("catalog", "failed", why, "run 'temporal-state reindex'")
        else:
            self._note("catalog", "ok", f"{detail}, as many as the store")

    async def _stored_runs(self, namespace: str) -> int | None:
        prefix = f"{self._backend.layout.base}/runs/{encode_name(namespace)}/"
        after, count = "", 0
        for _ in range(PAGES):
            keys = await self._backend.store.list(prefix, after=after, limit=PAGE)
            months = [key for key in keys if key.removeprefix(prefix)[:1].isdigit()]
            count += sum(key.endswith("/run.json") for key in months)
            if len(keys) < PAGE:
                return count
            after = keys[-1]
        return None

    async def _temporal(self) -> None:
        client = await self.session.client()
        info = await client.workflow_service.get_system_info(GetSystemInfoRequest())
        retention = await _retention(client, self.session.namespace)
        target = client.service_client.config.target_host
        self._note(
            "Temporal",
            "ok",
            f"{target} runs {info.server_version or 'a server without a version'}; namespace "
            f"{self.session.namespace} keeps closed runs for {duration_text(retention)}",
        )

    def _note(self, name: str, status: str, detail: str, remedy: str | None = None) -> None:
        self.checks.append(
            CheckShape.model_validate(
                {"name": name, "status": status, "detail": detail, "remedy": remedy}
            )
        )

    @property
    def _backend(self) -> StateBackend:
        return self.session.backend


async def _retention(client: Client, namespace: str) -> timedelta:
    request = DescribeNamespaceRequest(namespace=namespace)
    described = await client.workflow_service.describe_namespace(request)
    return described.config.workflow_execution_retention_ttl.ToTimedelta()


@asynccontextmanager
async def _probe(backend: StateBackend) -> AsyncIterator[str]:
    """Keep an object in the store for a moment, where no other command looks."""
    key = f"{backend.layout.base}/doctor/{secrets.token_hex(8)}.json"
    engine = backend.documents.engine
    await engine.to_the_end(backend.store.put(key, b"1", if_absent=True), f"writing {key}")
    try:
        yield key
    finally:
        await engine.to_the_end(backend.store.delete(key), f"deleting {key}")


async def _refused(write: Awaitable[object], what: str) -> None:
    try:
        await write
    except ConflictError:
        return
    raise StoreError(f"it {what}, so that updates would be lost; use a store that honours If-Match")


def _remedy(error: Exception) -> str | None:
    if isinstance(error, PermissionError):
        return "let this user write there"
    return None


def _versions() -> str:
    names = ("temporal-state", "temporalio", "typer")
    found = [f"{name} {version(name)}" for name in names]
    return ", ".join([*found, f"Python {platform.python_version()}"])
