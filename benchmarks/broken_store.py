"""Workflow throughput under a store that fails, against the same worker without the plugin.

    python -m benchmarks.broken_store [rounds]

A broken store may cost a workflow no more than a healthy one does, so the healthy one is measured
beside it, in the same rounds.
"""

import asyncio
import statistics
import sys
from datetime import timedelta

from benchmarks.throughput import measure
from temporal_state import Recording, StateBackend, StateError, StatePlugin, StoreError
from temporal_state.storage import MemoryStore
from temporal_state.testing import FailingStore, dev_server

FAULTS: dict[str, StateError | timedelta | None] = {
    "healthy": None,
    "raises on every call": StoreError("the disk is gone"),
    "hangs": timedelta(hours=1),
    "takes 1 s a call": timedelta(seconds=1),
}
CASE = (1, 100, False)


def plugin(fault: StateError | timedelta | None) -> StatePlugin:
    """Return a plugin on a store with a fault."""
    store = FailingStore(MemoryStore())
    if isinstance(fault, timedelta):
        store.delay = fault
    else:
        store.error = fault
    # The last flush is not what is measured, and on such a store it cannot succeed.
    recording = Recording(shutdown_timeout=timedelta(milliseconds=200))
    return StatePlugin(StateBackend.open(store), recording=recording)


async def main(rounds: int) -> None:
    """Print a line for each fault."""
    ratios: dict[str, list[float]] = {name: [] for name in FAULTS}
    async with await dev_server(fast=True, dev_server_log_level="error") as server:
        for number in range(rounds + 1):
            without = await measure(server.client, [], CASE)
            for name, fault in FAULTS.items():
                with_us = await measure(server.client, [plugin(fault)], CASE)
                if number:  # the first round warms up
                    ratios[name].append(without / with_us)
    for name, values in ratios.items():
        low, _, high = statistics.quantiles(values, n=4)
        print(
            f"{name:24} throughput with / without: median {statistics.median(values):.3f}, "
            f"quartiles {low:.3f} to {high:.3f}, {rounds} rounds"
        )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8))
