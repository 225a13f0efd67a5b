"""The resumable loops of one activity attempt: each has a name, and an end that is waited for."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

from temporal_state.errors import ConflictError

Settle = Callable[[], Awaitable[None]]


class Loops:
    """Names the loops of one attempt, and knows what they have to do when it ends."""

    def __init__(self) -> None:
        self._settle: dict[str, Settle] = {}
        self._unnamed = 0
        self._lock = threading.Lock()

    def enter(self, name: str | None, settle: Settle) -> str:
        """Return the loop's name among all of the activity: its own, or how many came before.

        Raises:
            ConflictError: Another loop of the attempt has the name.
        """
        with self._lock:
            if name is None:
                self._unnamed += 1
            # So that no name is another loop's number.
            unique = f"loop-{self._unnamed}" if name is None else f"name-{name}"
            if unique in self._settle:
                raise ConflictError(
                    f"two resumable loops of one activity are called {name!r}, and each would go "
                    "on at the other's position; give each a name= of its own"
                )
            self._settle[unique] = settle
        return unique

    def __len__(self) -> int:
        return len(self._settle)

    async def settle(self) -> None:
        """Let each loop save what is done."""
        await asyncio.gather(*(settle() for settle in self._settle.values()))
