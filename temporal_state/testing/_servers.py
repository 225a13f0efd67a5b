"""Where the servers' binaries are, and how to start them."""

import shutil
import sysconfig
from typing import Any

from temporalio.testing import WorkflowEnvironment

_THROTTLE = "history.transferProcessorMaxPollRPS=2000"


async def dev_server(*, fast: bool = False, **options: Any) -> WorkflowEnvironment:
    """Start the dev server, which prints nothing but errors; use the result with ``async with``.

    Args:
        fast: Lift the throttle that holds each workflow to about 20 activities a second.
        **options: What `WorkflowEnvironment.start_local` takes.
    """
    arguments = [*options.pop("dev_server_extra_args", [])]
    if "--output" not in arguments:
        arguments += ["--output", "none"]
    if fast:
        arguments += ["--dynamic-config-value", _THROTTLE]
    options.setdefault("dev_server_log_level", "error")
    return await WorkflowEnvironment.start_local(
        dev_server_existing_path=_binary("temporal"),
        dev_server_extra_args=arguments,
        **options,
    )


async def time_skipping_server(**options: Any) -> WorkflowEnvironment:
    """Start the time-skipping test server; use the result with ``async with``.

    Args:
        **options: What `WorkflowEnvironment.start_time_skipping` takes.
    """
    return await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=_binary("temporal-test-server"), **options
    )


def _binary(name: str) -> str | None:
    # First beside this interpreter: a virtual environment need not be on PATH.
    return shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
