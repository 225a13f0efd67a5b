"""What an import costs: of the package in a process, of the state module in the workflow sandbox.

    python -m benchmarks imports

Every time is of a process of its own, so that nothing was imported before, and none compiles: the
first of each program, which is not counted, writes the caches that an installed package has. The
figures are processor time, which a busy machine changes less; the notes have the clock's.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator

from benchmarks._table import ROUNDS, Goal, Row, in_turns, in_words

_PACKAGE = """
import time
begun, clock = time.process_time(), time.perf_counter()
import temporalio.client, temporalio.worker, temporalio.workflow, temporalio.activity
{more}
print(time.process_time() - begun, time.perf_counter() - clock)
"""
# What a worker and its workflows import; the rest of the package comes with the plugin.
_WORKER = "from temporal_state import StateBackend, StatePlugin, StateStore, StateType, state"
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
        begun, clock = time.process_time(), time.perf_counter()
        runner.prepare_workflow(defn)
        times.append((time.process_time() - begun, time.perf_counter() - clock))
    print(*(sorted(some)[10] for some in zip(*times[1:])))
asyncio.run(main())
"""


STATE = (
    "97 modules, all but orjson the package's own: every operation with its request, what it "
    "returns and what it refuses, most of it the making of dataclasses. It is paid once in a "
    "process, and not in the sandbox, where workflows import it (below). Tried: to import "
    "layers when they are first used, from 478 ms"
)


async def rows(*, short: bool) -> AsyncIterator[Row]:
    """Yield the figures."""
    rounds = 1 if short else ROUNDS
    alone = _PACKAGE.format(more="")
    for more, goal, limit in (
        ("import temporal_state", Goal(100, "less"), ""),
        ("from temporal_state import state", Goal(100, "less"), STATE),  # as workflow code does
        (_WORKER, None, ""),
    ):
        yield await _row(
            f"`{more}`",
            "temporalio's client and worker alone",
            goal,
            rounds,
            (_PACKAGE.format(more=more), alone),
            limit=limit,
        )
    yield await _row(
        "import of `temporal_state.state` in the sandbox",
        "an empty workflow",
        Goal(5, "less"),
        rounds,
        (_SANDBOX.format(module="_stateful_workflow"), _SANDBOX.format(module="_empty_workflow")),
    )


async def _row(
    figure: str,
    against: str,
    goal: Goal | None,
    rounds: int,
    programs: tuple[str, str],
    *,
    limit: str = "",
) -> Row:
    clocks: dict[str, list[float]] = {program: [] for program in programs}

    async def seconds(program: str) -> float:
        processor, clock = await times(program)
        clocks[program].append(clock)
        return processor

    for program in programs if rounds > 1 else ():  # the figures of one round say nothing
        await times(program)
    ours, theirs = await in_turns(
        rounds, lambda: seconds(programs[0]), lambda: seconds(programs[1])
    )
    more = [1000 * (mine - other) for mine, other in zip(ours, theirs, strict=True)]
    both = f"processor {in_words(ours, theirs)}, clock {in_words(*clocks.values())}"
    return Row(figure, against, goal, more, "ms more", f"{both}; {limit}" if limit else both)


async def times(program: str) -> tuple[float, float]:
    """Return what a program prints: its processor time and the clock's, in seconds."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", program]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, check=True
    )
    processor, clock = done.stdout.split()
    return float(processor), float(clock)
