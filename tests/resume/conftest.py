"""What the tests of resume share: a worker that records quickly, outside of the sandbox."""

from datetime import timedelta

import pytest
from temporalio.worker import UnsandboxedWorkflowRunner

from temporal_state import Recording, StatePlugin

QUICK = Recording(flush_interval=timedelta(milliseconds=50))


@pytest.fixture(autouse=True)
def workers_that_are_not_far_behind(monkeypatch):
    """Wait less for the record of an end that no worker saw: these workers have little to do."""
    monkeypatch.setattr("temporal_state.temporal._plan.UNSEEN", timedelta(seconds=1))


@pytest.fixture
def quick(on_dev):
    on_dev.options["workflow_runner"] = UnsandboxedWorkflowRunner()
    on_dev.options["plugins"] = [StatePlugin(on_dev.backend, recording=QUICK)]
    return on_dev
