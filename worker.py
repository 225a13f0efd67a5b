"""A Temporal worker with state: serves the samples, or the workflows and activities you import.

It connects as every Temporal tool does: by TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY
and the others of Temporal's environment configuration, or by the profile in its configuration file.
"""

import argparse
import asyncio
import importlib
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError
from temporalio.worker import Worker

from temporal_state import StateBackend, StateError, StatePlugin
from temporal_state.testing import dev_server

_WORKFLOW = "__temporal_workflow_definition"
_ACTIVITY = "__temporal_activity_definition"
_DEFAULT_ADDRESS = "localhost:7233"
_THREADS = 100  # the SDK's own default for activities at a time


class StartError(Exception):
    """The worker cannot start; the message is all that the user needs."""


def main() -> None:
    """Serve until SIGINT or SIGTERM; exit with 1 and one line if that cannot begin."""
    try:
        asyncio.run(serve(parse_arguments()))
    except (StartError, StateError) as error:
        sys.exit(f"worker.py: {error}")


def parse_arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(prog="worker.py", description=__doc__)
    parser.add_argument(
        "--dev", action="store_true", help="start a Temporal dev server, and stop it at the end"
    )
    parser.add_argument(
        "--store", metavar="URL", help="default: TEMPORAL_STATE_URL, else ./local/tmp"
    )
    parser.add_argument(
        "--app", help="whose state this is; default: TEMPORAL_STATE_APP, else 'default'"
    )
    parser.add_argument("--task-queue", default="temporal-state", help="default: %(default)s")
    parser.add_argument(
        "--import",
        dest="modules",
        metavar="MODULE",
        action="append",
        help="serve every workflow class and activity function found in this module instead of "
        "the sample inventory; may be repeated",
    )
    return parser.parse_args()


async def serve(options: argparse.Namespace) -> None:
    """Run a worker until a signal asks it to stop; what it is doing then may still end."""
    workflows, activities = find_definitions(options.modules or ["samples.inventory"])
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # Open before the worker starts, so that a store that cannot be used is told in one line.
    async with (
        StateBackend.open(options.store, app=options.app) as backend,
        connect(dev=options.dev) as client,
    ):
        with ThreadPoolExecutor(_THREADS) as threads:
            worker = Worker(
                client,
                task_queue=options.task_queue,
                workflows=workflows,
                activities=activities,
                activity_executor=threads,
                plugins=[StatePlugin(backend)],
                graceful_shutdown_timeout=timedelta(seconds=10),
            )
            async with worker:
                _announce(client, options.task_queue, backend)
                await stop.wait()


@asynccontextmanager
async def connect(*, dev: bool) -> AsyncIterator[Client]:
    """Yield a client of the configured server, or of a dev server that ends with the block."""
    if dev:
        quiet = ["--output", "none"]
        server = await dev_server(dev_server_log_level="error", dev_server_extra_args=quiet)
        async with server:
            yield server.client
    else:
        yield await _connect_as_configured()


async def _connect_as_configured() -> Client:
    address = _DEFAULT_ADDRESS
    try:
        config = ClientConfig.load_client_connect_config()
        address = config.setdefault("target_host", _DEFAULT_ADDRESS)
        client = await Client.connect(**config)
        request = DescribeNamespaceRequest(namespace=client.namespace)
        await client.workflow_service.describe_namespace(request)
    except (RuntimeError, RPCError) as error:
        reason = " ".join(str(error).split())
        raise StartError(
            f"cannot work with a Temporal server at {address}: {reason}; set TEMPORAL_ADDRESS (and "
            "TEMPORAL_NAMESPACE), or start with --dev to have a server of your own"
        ) from error
    return client


def find_definitions(
    names: Sequence[str],
) -> tuple[Sequence[type], Sequence[Callable[..., Any]]]:
    """Return the workflow classes and activity functions that modules define or import.

    Raises:
        StartError: A module cannot be imported, or there is nothing to serve.
    """
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    found = [value for name in names for value in vars(_import(name)).values()]
    workflows = dict.fromkeys(v for v in found if isinstance(v, type) and _WORKFLOW in vars(v))
    activities = dict.fromkeys(v for v in found if callable(v) and hasattr(v, _ACTIVITY))
    if not workflows and not activities:
        raise StartError(
            f"nothing to serve in {', '.join(names)}: no class with @workflow.defn and no function "
            "with @activity.defn"
        )
    return list(workflows), list(activities)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise StartError(f"cannot import {name}: {error}") from error


def _announce(client: Client, task_queue: str, backend: StateBackend) -> None:
    address = client.service_client.config.target_host
    print(
        f"serving task queue {task_queue!r} of namespace {client.namespace!r} at {address}, "
        f"state in {backend!r}",
        flush=True,
    )


if __name__ == "__main__":
    main()
