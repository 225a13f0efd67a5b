"""The process's default backend: what code outside of Temporal uses when it names none.

It stays open for the life of the process, so that a script needs no ceremony.
"""

import os
import threading
from collections.abc import Sequence
from weakref import WeakSet

from temporal_state.backend import StateBackend
from temporal_state.documents import DEFAULT_LIMITS, Clock, Limits, utc_now
from temporal_state.errors import ConfigurationError
from temporal_state.storage import ObjectStore, Transform

_lock = threading.Lock()
_default: StateBackend | None = None
_held: WeakSet[StateBackend] = WeakSet()


def configure(
    backend: str | os.PathLike[str] | ObjectStore | StateBackend | None = None,
    *,
    app: str | None = None,
    tenant: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    clock: Clock = utc_now,
    transform: Transform | Sequence[Transform] | None = None,
    catalog: str | os.PathLike[str] | None = None,
    namespace: str | None = None,
) -> StateBackend:
    """Set the process's default backend, and return it.

    Takes what `StateBackend.open` takes, or a `StateBackend`, whose own settings then hold.
    Code that already uses the former default goes on with it.

    Raises:
        ConfigurationError: As `StateBackend.open`, or a `StateBackend` is given with settings that
            it does not have.
    """
    global _default  # noqa: PLW0603 one default per process is the point
    chosen = choose_backend(
        backend,
        app=app,
        tenant=tenant,
        limits=limits,
        clock=clock,
        transform=transform,
        catalog=catalog,
        namespace=namespace,
    )
    with _lock:
        _default = chosen
    return chosen


def choose_backend(
    backend: str | os.PathLike[str] | ObjectStore | StateBackend | None,
    *,
    app: str | None,
    tenant: str | None,
    limits: Limits,
    clock: Clock,
    transform: Transform | Sequence[Transform] | None,
    catalog: str | os.PathLike[str] | None,
    namespace: str | None = None,
) -> StateBackend:
    """Return the backend that is meant: one that is open is used as it is, others are opened.

    Raises:
        ConfigurationError: As `configure`.
    """
    if not isinstance(backend, StateBackend):
        return StateBackend.open(
            backend,
            app=app,
            tenant=tenant,
            limits=limits,
            clock=clock,
            transform=transform,
            catalog=catalog,
            namespace=namespace,
        )
    layout = backend.layout
    # Who asks for another place, or for encryption, must not go without in silence.
    wanted = {
        "app": app if app != layout.app else None,
        "tenant": tenant if tenant != layout.tenant else None,
        "limits": None if limits in (DEFAULT_LIMITS, backend.limits) else limits,
        "clock": None if clock in (utc_now, backend.clock) else clock,
        "transform": transform,
        "catalog": catalog,
        "namespace": namespace if namespace != backend.namespace else None,
    }
    other = [f"{name}=" for name, value in wanted.items() if value is not None]
    if other:
        raise ConfigurationError(
            f"{', '.join(other)} cannot change {backend!r}, which has its own; leave it away, or "
            "give it to StateBackend.open"
        )
    return backend


def default_backend() -> StateBackend:
    """Return the process's default backend, from the environment if none was configured."""
    with _lock:
        found = _default
    return found if found is not None else configure()


def is_configured() -> bool:
    """Return whether this process has chosen its default backend."""
    return _default is not None


async def open_default_backend() -> StateBackend:
    """Return the process's default backend, open; it stays open."""
    backend = default_backend()
    with _lock:
        held = backend in _held
        _held.add(backend)
    if not held:
        await backend.start()
    else:
        await backend.store.open()
    return backend
