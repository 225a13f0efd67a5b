"""A worker that dies once the server has taken the completion."""

import os
import signal
from datetime import timedelta

from reconciling import ACTIVITIES, WORKFLOWS
from temporalio.client import Client
from temporalio.worker import Worker

from temporal_state import Recording, StatePlugin


async def main(target, queue, root, id, flush):
    client = await Client.connect(target)
    # Nothing that is seen in the last half second before the end is written.
    recording = Recording(flush_interval=timedelta(seconds=float(flush)))
    worker = Worker(
        client,
        task_queue=queue,
        workflows=WORKFLOWS,
        activities=ACTIVITIES,
        plugins=[StatePlugin(root, app="tests", recording=recording)],
    )
    async with worker:
        await client.get_workflow_handle(id).result()
        os.kill(os.getpid(), signal.SIGKILL)
