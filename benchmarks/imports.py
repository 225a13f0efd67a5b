"""What an import costs: of the package in a process, of the state module in the workflow sandbox.

    python -m benchmarks imports

Every time is of a process of its own, so that nothing was imported before. The package is compiled
first, as it is once it is installed.
"""

import asyncio
import compileall
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import temporal_state
from benchmarks._table import ROUNDS, Goal, Row, in_turns, in_words

_PACKAGE = """
import time
begun = time.perf_counter()
import temporalio.client, temporalio.worker, temporalio.workflow, temporalio.activity
{more}
print(time.perf_counter() - begun)
"""
# Of what the plugin adds to a runner only the passing through matters to an import.
_SANDBOX = """
import asyncio, time
from temporalio import workflow
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from benchmarks import _empty_workflow, _stateful_workflow
from temporal_state.temporal._plugin import _with_passthrough
async def main():
    runner = _with_passthrough(SandboxedWorkflowRunner())
    defn = workflow._Definition.must_from_class({module}.Workflow)
    times = []
    for _ in range(21):
        begun = time.perf_counter()
        runner.prepare_workflow(defn)
        times.append(time.perf_counter() - begun)
    print(sorted(times[1:])[10])
asyncio.run(main())
"""


async def rows(*, short: bool) -> AsyncIterator[Row]:
    """Yield the figures."""
    rounds = 1 if short else ROUNDS
    for package in temporal_state.__path__:
        compileall.compile_dir(Path(package), quiet=2)
    alone, ours = await in_turns(
        rounds,
        lambda: seconds(_PACKAGE.format(more="")),
        lambda: seconds(_PACKAGE.format(more="import temporal_state")),
    )
    yield _more(
        "import of `temporal_state`", "temporalio's client and worker alone", 100, ours, alone
    )
    empty, stateful = await in_turns(
        rounds,
        lambda: seconds(_SANDBOX.format(module="_empty_workflow")),
        lambda: seconds(_SANDBOX.format(module="_stateful_workflow")),
    )
    yield _more(
        "import of `temporal_state.state` in the sandbox", "an empty workflow", 5, stateful, empty
    )


def _more(figure: str, against: str, goal: float, ours: list[float], theirs: list[float]) -> Row:
    more = [1000 * (mine - other) for mine, other in zip(ours, theirs, strict=True)]
    return Row(figure, against, Goal(goal, "less"), more, "ms more", in_words(ours, theirs))


async def seconds(program: str) -> float:
    """Return what a program prints."""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return float(done.stdout)
