"""What every sandbox has to load."""

from temporalio import workflow


@workflow.defn
class Workflow:
    """Does nothing."""

    @workflow.run
    async def run(self) -> None:
        """Do nothing."""
