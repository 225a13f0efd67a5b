"""Which workflows are not recorded, for those who learn of runs from Temporal, not from their code.

A mark on a class leaves no trace in Temporal, so that it is known only where the class is.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from temporalio import workflow

from temporal_state.temporal._recording import Recording
from temporal_state.temporal._wire import UNRECORDED


def marked(workflows: Iterable[type]) -> frozenset[str]:
    """Return the types of those workflows of a worker that are marked as unrecorded."""
    found = [one for one in workflows if getattr(one, UNRECORDED, False)]
    names = [workflow._Definition.must_from_class(one).name for one in found]  # noqa: SLF001 no public one
    return frozenset(name for name in names if name is not None)


def without(recording: Recording | None, types: Collection[str]) -> Recording:
    """Return what is recorded, but nothing of some types of workflows."""
    recording = recording or Recording(capture="none")
    return replace(recording, exclude=frozenset({*recording.exclude, *types}))
