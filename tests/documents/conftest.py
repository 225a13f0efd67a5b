"""Time that passes only when everybody waits, so that a test of interleavings is deterministic."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

import pytest


class _VirtualSelector(selectors.SelectSelector):
    loop: "_VirtualLoop"

    def select(self, timeout=None):
        assert timeout is not None, "everybody waits, and nobody for a time"
        self.loop.passed += max(timeout, 0)
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.passed = 0.0
        selector = _VirtualSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.passed


@pytest.fixture(scope="session")
def virtually() -> Callable[[Callable[[], Awaitable[Any]]], Any]:
    """Runs a coroutine function on a loop of its own whose clock jumps from event to event."""

    def run(function: Callable[[], Awaitable[Any]]) -> Any:
        with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
            return runner.run(function())

    return run
