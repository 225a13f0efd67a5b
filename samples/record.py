"""What the automatic record tells of an inventory, whose workflow has no line for any of this.

A tree that takes several runs, each continued as new, has a record for each; here they are one.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from samples.progress import Progress
from temporal_state import Run, Step
from temporal_state.runs import ChainRef, Runs


@dataclass(frozen=True)
class Record:
    """What was recorded of a chain of runs.

    Attributes:
        runs: Its runs, the newest first.
        steps: The steps of all of them.
    """

    runs: Sequence[Run] = ()
    steps: Sequence[Step] = ()

    @property
    def batches(self) -> Sequence[Step]:
        """The steps that hashed a batch, or are about to."""
        return [step for step in self.steps if step.name == "hash_batch"]

    @property
    def listed(self) -> dict[str, int] | None:
        """What listing the tree gave, once that is known: files, batches, skipped."""
        for step in self.steps:
            if step.name == "list_tree" and step.status == "completed":
                return result_of(step)
        return None

    def hashed(self) -> Counter[str]:
        """Return the sums over all hashed batches: files, bytes, skipped; and how many they are."""
        sums = Counter[str]()
        for step in self.batches:
            if step.status == "completed":
                sums.update(result_of(step), batches=1)
        return sums


def result_of(step: Step) -> dict[str, int]:
    """Return the recorded result of a step, which the data converter has made JSON."""
    assert step.result is not None
    assert step.result.data is not None, step.result.dropped
    result: dict[str, int] = json.loads(step.result.data)
    return result


async def read_record(runs: Runs, chain: ChainRef) -> Record:
    """Return what is recorded of a chain by now; nothing before a worker has begun with it."""
    workflow, namespace = chain.workflow_id, chain.namespace
    run = await runs.get(workflow, namespace=namespace)
    if run is None or run.chain != chain.chain:
        return Record()
    found, steps = list[Run](), list[Step]()
    while run is not None:
        found.append(run)
        steps += await runs.steps(workflow, run_id=run.run_id, namespace=namespace)
        before = run.continued_from
        run = await runs.get(workflow, run_id=before, namespace=namespace) if before else None
    return Record(found, steps)


def progress_in(record: Record) -> Progress:
    """Return how far an inventory is."""
    if not record.runs:
        return Progress(0, None, "waiting for a worker")
    listed, hashed = record.listed, record.hashed()
    if listed is None:
        return Progress(0, None, "listing")
    doing = "hashing" if hashed["batches"] < listed["batches"] else "reporting"
    if record.runs[0].status != "running":
        doing = record.runs[0].status
    text = f"{doing}: {hashed['files']:,} of {listed['files']:,} files, {hashed['bytes']:,} bytes"
    return Progress(hashed["batches"], listed["batches"], text)


def describe(record: Record) -> str:
    """Return how many steps are recorded, and how they ended."""
    statuses = Counter(step.status for step in record.steps).most_common()
    counts = ", ".join(f"{count:,} {status}" for status, count in statuses)
    again = sum(1 for step in record.batches if (step.attempt or 1) > 1)
    return (
        f"{len(record.steps):,} steps: {counts}; {len(record.batches):,} of them hash_batch, "
        f"{again:,} at a later attempt"
    )


def faults_in(record: Record, document: dict[str, Any]) -> list[str]:
    """Return what is wrong with the record of a completed inventory, given its document."""
    faults = []
    ends = [run.status for run in record.runs]
    if ends != ["completed", *["continued_as_new"] * (len(ends) - 1)]:
        faults.append(f"the record has the runs as {ends}")
    calls = Counter(step.key for step in record.batches)
    if len(calls) != document["batches"] or calls.total() != len(calls):
        faults.append(
            f"{calls.total()} calls of hash_batch are recorded, {len(calls)} different ones, for "
            f"{document['batches']} batches"
        )
    hashed = record.hashed()
    hashed["skipped"] += (record.listed or {}).get("skipped", 0)
    faults += [
        f"completed calls are recorded with {hashed[name]} {name}, the document has {expected}"
        for name in ("batches", "files", "bytes", "skipped")
        if hashed[name] != (expected := document[name])
    ]
    return faults
