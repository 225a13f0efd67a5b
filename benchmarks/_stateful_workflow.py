"""The same, and the state module, by both ways to import it."""

from temporalio import workflow

import temporal_state.state
from temporal_state import state


@workflow.defn
class Workflow:
    """Does nothing."""

    @workflow.run
    async def run(self) -> None:
        """Do nothing."""
        assert state is temporal_state.state
