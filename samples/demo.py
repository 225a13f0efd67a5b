"""The demo: an inventory of a real tree of files, whose worker is killed half way.

    python -m samples.demo [path] [--store DIR] [--no-kill]

It starts a Temporal server and a worker process of its own, follows the record that the run makes
of itself, kills the worker with SIGKILL, starts another, and in the end counts the tree once more
with plain code: the totals must be right to the byte, and each batch be recorded exactly once.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import sysconfig
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from samples.inventory import Inventory, Request
from samples.progress import Display, display
from samples.record import Record, describe, faults_in, progress_in, read_record
from samples.recount import recount
from samples.worker_process import WorkerDiedError, WorkerProcess
from temporal_state import StateBackend, StateError
from temporal_state.runs import ChainRef
from temporal_state.testing import dev_server

APP = "demo"
TASK_QUEUE = "demo"
WORKFLOW_ID = "inventory"
POLL_SECONDS = 0.1


class DemoError(Exception):
    """The demo cannot go on, or its totals or its record are wrong."""


@dataclass(frozen=True)
class Plan:
    """What the demo will do, and where its files go."""

    tree: Path
    store: Path
    kill: bool
    exclude: list[str]

    @property
    def report(self) -> Path:
        """The report that the workflow writes."""
        return self.store / "demo" / "inventory.json"

    @property
    def log(self) -> Path:
        """What the worker processes print."""
        return self.store / "demo" / "worker.log"


@dataclass(frozen=True)
class Job:
    """The workflow at work: where its record is read, how it ends, who does it, who watches."""

    backend: StateBackend
    chain: ChainRef
    result: asyncio.Task[Any]
    worker: WorkerProcess
    screen: Display

    async def show(self) -> Record:
        """Show how far it is, and return the record that says so."""
        record = await read_record(self.backend.runs, self.chain)
        self.screen.show(progress_in(record))
        return record


@dataclass(frozen=True)
class Outcome:
    """What is in the store when all is over: the run's own document, and its record."""

    document: dict[str, Any]
    record: Record


def main() -> None:
    """Run the demo; exit with 1 when it fails."""
    plan = parse_arguments()
    try:
        verify(plan, asyncio.run(run(plan)))
    except (DemoError, StateError, WorkerDiedError) as error:
        sys.exit(f"demo: {error}")
    except asyncio.CancelledError:
        leave(signal.SIGTERM)
    except KeyboardInterrupt:
        leave(signal.SIGINT)


def leave(cause: signal.Signals) -> NoReturn:
    """Exit after a signal, when everything that was started has been stopped.

    Without finalizing the interpreter: threads of the SDK that are still at work would crash it.
    """
    sys.stdout.flush()
    os._exit(128 + cause)


def parse_arguments() -> Plan:
    """Return the plan that the command line asks for."""
    parser = argparse.ArgumentParser(prog="samples.demo", description=__doc__.partition("\n")[0])
    library = Path(sysconfig.get_path("stdlib"))
    parser.add_argument("path", nargs="?", type=Path, default=library, help="default: %(default)s")
    parser.add_argument(
        "--store", type=Path, default=Path("local/tmp"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--no-kill", action="store_true", help="let the first worker finish")
    options = parser.parse_args()
    tree, store = options.path.resolve(), options.store.resolve()
    # Python writes __pycache__ whenever it likes, and the store changes while the job runs.
    exclude = ["__pycache__", str(store)]
    if tree == library.resolve():
        exclude.append("site-packages")  # lies in the library's folder, but is no part of it
    return Plan(tree, store, not options.no_kill, exclude)


async def run(plan: Plan) -> Outcome:
    """Take the inventory; return what the store holds of it when Temporal has gone."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with StateBackend.open(plan.store, app=APP) as backend:
        async with await start_server() as server:
            chain = await take_inventory(plan, server.client, backend)
        document = backend.own_documents.one(chain)
        print(f"\ndocument  {plan.store / document.address.key}")
        print(f"report    {plan.report}")
        return Outcome(await document.get(), await read_record(backend.runs, chain))


async def start_server() -> WorkflowEnvironment:
    """Start a server that prints nothing.

    Cancelled half way, the SDK would leave it running, and could hang when this process exits; so
    a cancellation waits for it.
    """
    quiet = ["--output", "none"]
    starting = asyncio.ensure_future(
        dev_server(dev_server_log_level="error", dev_server_extra_args=quiet)
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await (await starting).shutdown()
        raise


async def take_inventory(plan: Plan, client: Client, backend: StateBackend) -> ChainRef:
    """Start the workflow and worker processes, and stay until both have ended."""
    async with AsyncExitStack() as stack:
        handle = await start_workflow(plan, client)
        options = ["--store", str(plan.store), "--app", APP, "--task-queue", TASK_QUEUE]
        job = Job(
            backend=backend,
            chain=ChainRef(client.namespace, handle.id, str(handle.first_execution_run_id)),
            result=asyncio.create_task(handle.result()),
            worker=WorkerProcess(client, options, plan.log),
            screen=stack.enter_context(display()),
        )
        stack.push_async_callback(job.worker.stop)
        stack.callback(job.result.cancel)
        job.screen.say(f"inventory of {plan.tree}")
        job.screen.say(f"worker {await job.worker.start()} started")
        await watch(job, kill=plan.kill)
        # The worker writes the record a moment behind the workflow, and all of it when it stops.
        await job.worker.stop()
        await job.show()
        return job.chain


async def start_workflow(plan: Plan, client: Client) -> WorkflowHandle[Any, Any]:
    """Start the workflow; the same id each time, as a new run."""
    request = Request(str(plan.tree), str(plan.report), plan.exclude)
    return await client.start_workflow(
        Inventory.run, request, id=WORKFLOW_ID, task_queue=TASK_QUEUE
    )


async def watch(job: Job, *, kill: bool) -> None:
    """Follow the job to its end; half way, kill the worker and start another."""
    async for record in records_of(job):
        listed, done = record.listed, record.hashed()["batches"]
        if kill and listed is not None and 2 * done >= listed["batches"]:
            kill = False
            code = await job.worker.kill()
            job.screen.say(
                f"worker killed half way with SIGKILL (exit code {code}), when {done} of "
                f"{listed['batches']} batches were recorded"
            )
            job.screen.say(f"worker {await job.worker.start()} started in its place")
            job.screen.say("Temporal gives it the work once it misses the first, in 10 to 20 s")
    if kill:
        job.screen.say("the job had ended before the worker could be killed")


async def records_of(job: Job) -> AsyncIterator[Record]:
    """Yield the run's record, read from the store again and again, until the workflow ended."""
    while not job.result.done():
        job.worker.check()
        yield await job.show()
        await asyncio.wait({job.result}, timeout=POLL_SECONDS)
    try:
        await job.result
    except WorkflowFailureError as error:
        raise DemoError(f"the workflow failed: {root_of(error)}") from error


def root_of(error: BaseException) -> BaseException:
    """Return the first cause of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def verify(plan: Plan, outcome: Outcome) -> None:
    """Compare what the store holds with a count of our own; raise if they differ."""
    document = outcome.document
    report = json.loads(plan.report.read_text())
    report["skipped"] = sum(report["skipped"].values())
    counted = recount(plan.tree, plan.exclude)
    print(f"record    {describe(outcome.record)}")
    names = ("files", "bytes", "skipped", "digest", "extensions")
    for source, found in (("document", document), ("report", report), ("counted", counted)):
        print(f"{source:8}  " + "  ".join(_column(name, found) for name in names if name in found))
    faults = faults_in(outcome.record, document)
    if faults:
        raise DemoError("; ".join(faults))
    print("each batch is recorded exactly once, as completed")
    wrong = [name for name in names if report[name] != counted[name]]
    wrong += [f"{name} of the document" for name in names[:3] if document[name] != counted[name]]
    if wrong:
        raise DemoError(f"{', '.join(wrong)} differ; or did {plan.tree} change meanwhile?")
    print("all totals are right to the byte")


def _column(name: str, found: dict[str, Any]) -> str:
    match found[name]:
        case int(number):
            return f"{number:,} {name}"
        case str(digest):
            return f"sha256 {digest[:16]}"
        case extensions:
            return f"{len(extensions)} {name}"


if __name__ == "__main__":
    main()
