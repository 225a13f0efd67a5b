"""Which run, and where its objects lie.

    {app}/runs/{namespace}/{yyyy-mm}/{workflow id}/{start}-{run id}/run.json
                                                                   /steps/{n // 64}.json
                                                                   /attempts/{n // 64}-{writer}.json
                                                                   /documents/{version}.json
                                                                   /results/{step key}.json
                                                                   /values/{digest}.json
                                                                   /spans/{bucket}.json
                                                                   /evaluations/e-{id}.json

By month, so that old months can be dropped as a whole; the start in the folder's name, so that the
newest run of a workflow id is the last in a listing.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from temporal_state.documents import Layout
from temporal_state.storage import encode_name

STEPS_PER_OBJECT = 64
RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class RunRef:
    """One run, with all that is needed to find its record.

    Attributes:
        namespace: Temporal's namespace.
        workflow_id: The workflow id; of a standalone activity, its activity id.
        run_id: The run id.
        started: When the run started, by Temporal's clock; part of where the record lies.
    """

    namespace: str
    workflow_id: str
    run_id: str
    started: datetime


@dataclass(frozen=True, slots=True)
class RunLayout:
    """Where the records of runs lie in one application's part of a store."""

    layout: Layout

    def namespace(self, namespace: str) -> str:
        """Return the prefix of all months of a namespace."""
        return f"{self.layout.base}/runs/{encode_name(namespace)}/"

    def workflow(self, namespace: str, month: str, workflow_id: str) -> str:
        """Return the prefix of a workflow id's runs that started in a month."""
        return f"{self.namespace(namespace)}{month}/{encode_name(workflow_id)}/"

    def folder(self, ref: RunRef) -> str:
        """Return the prefix of a run's objects."""
        start = ref.started.astimezone(UTC)
        name = f"{start:%Y%m%dt%H%M%S%f}-{encode_name(ref.run_id)}"
        return f"{self.workflow(ref.namespace, f'{start:%Y-%m}', ref.workflow_id)}{name}/"

    def run(self, ref: RunRef) -> str:
        """Return the key of the run's own object."""
        return f"{self.folder(ref)}{RUN_FILE}"

    def steps(self, ref: RunRef, chunk: int) -> str:
        """Return the key of some of its steps; the first ones are in the run's own object."""
        return f"{self.folder(ref)}{steps_file(chunk)}" if chunk else self.run(ref)

    def attempts(self, ref: RunRef, part: int, writer: str) -> str:
        """Return the key of what one writer saw of the attempts of some of its activities."""
        return f"{self.folder(ref)}{attempts_in(part)}{writer}.json"

    def result(self, ref: RunRef, key: str) -> str:
        """Return the key of the result of the step with a key, recorded before all else."""
        return f"{self.folder(ref)}results/{key}.json"

    def state(self, ref: RunRef, name: str) -> str:
        """Return the key of the state that a checkpoint has, by the name of its object."""
        return f"{self.folder(ref)}documents/{name}.json"

    def value(self, ref: RunRef, digest: str) -> str:
        """Return the key of a large value."""
        return f"{self.folder(ref)}values/{digest}.json"

    def spans(self, ref: RunRef, bucket: int) -> str:
        """Return the key of some of the run's own spans."""
        return f"{self.folder(ref)}spans/{bucket:02}.json"

    def evaluation(self, ref: RunRef, evaluation_id: str) -> str:
        """Return the key of an evaluation of the run; never that of a run's own object."""
        return f"{self.folder(ref)}evaluations/e-{encode_name(evaluation_id)}.json"

    def started_by_hand(self, namespace: str, workflow_id: str, run_id: str) -> str:
        """Return the key of what says when a run that is written by hand began."""
        ids = f"{encode_name(workflow_id)}/{encode_name(run_id)}"
        return f"{self.namespace(namespace)}by-hand/{ids}.json"


def steps_file(chunk: int) -> str:
    """Return where in a run's folder some of its steps are, other than the first."""
    return f"steps/{chunk:06}.json"


def attempts_in(part: int) -> str:
    """Return how, in a run's folder, the keys of a part of the attempts of activities begin."""
    return f"attempts/{part:06}-"


def chunk_of(number: int) -> int:
    """Return which object the step with a number, from 1, is kept in."""
    return (number - 1) // STEPS_PER_OBJECT
