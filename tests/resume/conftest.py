"""What the tests of resume share: a worker that records quickly, outside of the sandbox."""

from datetime import timedelta

import pytest
from temporalio.worker import UnsandboxedWorkflowRunner

from temporal_state import Recording, StatePlugin

QUICK = Recording(flush_interval=timedelta(milliseconds=50))


@pytest.fixture
def quick(on_dev):
    on_dev.options["workflow_runner"] = UnsandboxedWorkflowRunner()
    on_dev.options["plugins"] = [StatePlugin(on_dev.backend, recording=QUICK)]
    return on_dev
