"""One command at work: its store is opened, its errors become an exit code, Ctrl-C is heard.

All of a command is one ``asyncio.run``. Ctrl-C cancels it, and a change under way is awaited first
(see `Engine.to_the_end`), so nothing is left half done.
"""

import asyncio
import getpass
import importlib
import logging
import os
import re
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import typer
from temporalio.client import Client
from temporalio.envconfig import ClientConfig, ClientConnectConfig

from temporal_state.backend import StateBackend
from temporal_state.cli._failures import (
    Code,
    CommandError,
    TemporalUnreachableError,
    code_of,
    message_of,
)
from temporal_state.cli._output import Output
from temporal_state.cli._settings import DEFAULT_ADDRESS, DEFAULT_NAMESPACE, Settings
from temporal_state.cli._text import harmless
from temporal_state.errors import ConfigurationError
from temporal_state.storage import root_of

CONNECT_SECONDS = 10
APPS = "persistent-artifacts/apps/"


@dataclass(frozen=True, slots=True)
class Session:
    """A command with its store open."""

    settings: Settings
    out: Output
    backend: StateBackend

    @property
    def namespace(self) -> str:
        """Temporal's namespace, of which records are read and which Temporal is asked for."""
        return self.settings.namespace or profile().get("namespace") or DEFAULT_NAMESPACE

    @property
    def place(self) -> str:
        """Which part of which store it is, for people."""
        layout = self.backend.layout
        tenant = "" if layout.tenant is None else f", tenant {layout.tenant!r}"
        return f"{self.backend.store.url}, app {layout.app!r}{tenant}"

    @property
    def actor(self) -> str:
        """Who gives the command, for the audit."""
        try:
            return f"cli:{getpass.getuser()}"
        except (OSError, KeyError):  # a container's user need have no name
            return f"cli:{os.getuid()}"

    async def client(self) -> Client:
        """Return a connection to Temporal."""
        return await connect(self.settings)

    async def note_empty(self) -> None:
        """Say which applications the store has, when nothing was found in this one."""
        if await self._names(f"{self.backend.layout.base}/"):
            return
        apps = await self._names(APPS)
        there = f"it has {', '.join(apps)}" if apps else "it has none at all"
        self.out.say(
            f"{self.backend.store.url} has nothing of app {self.backend.layout.app!r}; {there}"
        )

    async def _names(self, prefix: str) -> list[str]:
        names: list[str] = []
        after = ""
        while keys := await self.backend.store.list(prefix, after=after, limit=1):
            names.append(keys[0].removeprefix(prefix).partition("/")[0])
            after = f"{prefix}{names[-1]}/~"
            if prefix != APPS:
                break
        return names


class _Notes(logging.Handler):
    def __init__(self, out: Output) -> None:
        super().__init__(logging.WARNING)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        self._out.say(record.getMessage())


Work: TypeAlias = Callable[[Session], Awaitable[None]]


def perform(ctx: typer.Context, work: Work, *, creates: bool = False) -> None:
    """Do the work of a command on its store; exit with its code unless it is done.

    Args:
        ctx: The command's context.
        work: What to do.
        creates: Whether a local root that does not exist is made.
    """
    settings: Settings = ctx.obj
    out = Output(settings)
    try:
        with _logging_to(out):
            asyncio.run(_in_session(settings, out, work, creates=creates))
    except KeyboardInterrupt:
        _say_error("interrupted")
        code = Code.INTERRUPTED
    except BrokenPipeError:
        code = Code.PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 whatever it is, people get one line and a code
        if settings.debug:
            traceback.print_exc()
        _say_error(message_of(error))
        code = code_of(error)
    else:
        return
    raise typer.Exit(code)


@contextmanager
def _logging_to(out: Output) -> Iterator[None]:
    """Show the package's warnings as notes, without their tracebacks."""
    handler = _Notes(out)
    log = logging.getLogger("temporal_state")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


async def _in_session(settings: Settings, out: Output, work: Work, *, creates: bool) -> None:
    async with opened(settings, creates=creates) as backend:
        await work(Session(settings, out, backend))


@asynccontextmanager
async def opened(settings: Settings, *, creates: bool) -> AsyncIterator[StateBackend]:
    """Open the store; a local root that is not there is an error, unless it may be made."""
    backend = StateBackend.open(
        settings.store,
        app=settings.app,
        tenant=settings.tenant,
        transform=transforms(settings.transform),
        catalog=settings.catalog,
    )
    if not creates:
        _require_root(backend)
    async with backend:
        yield backend


def _require_root(backend: StateBackend) -> None:
    root = root_of(backend.store)
    if root is not None and not root.exists():
        raise CommandError(
            f"there is no store at {root}; give its place with --store or TEMPORAL_STATE_URL",
            Code.UNREACHABLE,
        )


def transforms(place: str | None) -> Any:
    """Return what ``module:name`` names: a transform, several, or a function that returns them."""
    if place is None:
        return None
    module, _, name = place.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name or "transform")
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"there is no transform {place!r} ({error}); name one as module:name, with the "
            "module in the present folder or installed"
        ) from error
    finally:
        sys.path.pop(0)
    return found() if callable(found) and not hasattr(found, "encode") else found


async def connect(settings: Settings) -> Client:
    """Return a connection to Temporal, by the options, the environment and the profile."""
    config = connection(settings)
    address = config["target_host"]
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await Client.connect(**config)
    except (RuntimeError, TimeoutError) as error:
        reason = _reason(error)
        raise TemporalUnreachableError(
            f"cannot reach Temporal at {address}: {reason}; give its --address"
        ) from error


def connection(settings: Settings) -> ClientConnectConfig:
    """Return where Temporal is, and how to connect: what is given wins over the profile."""
    config = profile()
    if settings.address is not None:
        config["target_host"] = settings.address
    config.setdefault("target_host", DEFAULT_ADDRESS)
    if settings.namespace is not None:
        config["namespace"] = settings.namespace
    return config


def profile() -> ClientConnectConfig:
    """Return how the temporal CLI is set up: the environment and the profile it names.

    Raises:
        ConfigurationError: That cannot be read.
    """
    try:
        return ClientConfig.load_client_connect_config()
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"the profile of the temporal CLI cannot be read ({error}); mend it, or leave "
            "TEMPORAL_PROFILE and TEMPORAL_CONFIG_FILE unset"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_SECONDS} s"
    told = re.search(r'message: "([^"]+)"', str(error))
    return told[1] if told else str(error)


def _say_error(message: str) -> None:
    sys.stderr.write(f"temporal-state: {harmless(message)}\n")
    sys.stderr.flush()
