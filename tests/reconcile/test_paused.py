"""A run that someone has paused: the record learns it, and that it goes on."""

import uuid
from datetime import timedelta

import pytest
from reconciling import ACTIVITIES, WORKFLOWS, Waits, until
from temporalio.api.workflowservice.v1 import (
    PauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
)
from temporalio.worker import Worker

from temporal_state import ConflictError, Recording, StatePlugin, recover, resume
from temporal_state.temporal import freshness, reconcile
from temporal_state.testing import dev_server

PAUSES = ["--dynamic-config-value", "frontend.WorkflowPauseEnabled=true"]


async def test_a_paused_run_is_known_to_be_paused_until_it_goes_on(backend):
    plugin = StatePlugin(backend, recording=Recording(flush_interval=timedelta(milliseconds=20)))
    async with await dev_server(dev_server_extra_args=PAUSES) as environment:
        client, service = environment.client, environment.client.workflow_service
        queue = id = uuid.uuid4().hex
        names = {"namespace": "default", "workflow_id": id, "identity": "someone"}
        async with Worker(
            client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES, plugins=[plugin]
        ):
            handle = await client.start_workflow(Waits.run, "value", id=id, task_queue=queue)

            async def waits():
                run = await backend.runs.get(id)
                return run is not None and run.counts.get("failed")

            await until(waits)
            await service.pause_workflow_execution(
                PauseWorkflowExecutionRequest(**names, request_id=uuid.uuid4().hex)
            )
            await reconcile(client, backend, id)
            run = await backend.runs.get(id)
            assert (run.status, run.paused) == ("running", True)
            assert [each.workflow_id for each in await backend.runs.list(status="paused")] == [id]
            with pytest.raises(ConflictError, match="is open"):
                await resume(client, backend, id)
            recovered = await recover(client, backend)
            assert (recovered.resumed, recovered.refused, recovered.complete) == ([], [], True)
            assert (await freshness(client, backend, id)).open
            await service.unpause_workflow_execution(
                UnpauseWorkflowExecutionRequest(**names, request_id=uuid.uuid4().hex)
            )
            await reconcile(client, backend)
            assert not (await backend.runs.get(id)).paused
            await handle.signal(Waits.release)
            await handle.result()
        await reconcile(client, backend)
        run = await backend.runs.get(id)
        assert (run.status, run.confirmed, run.paused) == ("completed", True, False)
