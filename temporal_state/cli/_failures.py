"""What a failed command says, in one line, and the code that it exits with."""

import enum
import re

import typer
from temporalio.service import RPCError, RPCStatusCode

from temporal_state.errors import (
    ConfigurationError,
    ConflictError,
    DamagedObjectError,
    InvalidNameError,
    InvalidValueError,
    NotFoundError,
    StoreError,
    StoreFullError,
)

_UNREACHABLE = {
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.UNAUTHENTICATED,
    RPCStatusCode.PERMISSION_DENIED,
}


class Code(enum.IntEnum):
    """What the exit code of a command says."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNREACHABLE = 5
    INTERRUPTED = 130
    PIPE_CLOSED = 141


class CommandError(Exception):
    """A command cannot go on; the message names the value, the rule and the remedy."""

    def __init__(self, message: str, code: Code = Code.FAILED) -> None:
        super().__init__(message)
        self.code = code


class TemporalUnreachableError(CommandError):
    """Temporal does not answer."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Code.UNREACHABLE)


# The first that fits counts.
_CODES: tuple[tuple[type[Exception], Code], ...] = (
    (DamagedObjectError, Code.FAILED),
    (StoreFullError, Code.FAILED),
    (StoreError, Code.UNREACHABLE),
    (NotFoundError, Code.NOT_FOUND),
    (ConflictError, Code.CONFLICT),
    (ConfigurationError, Code.USAGE),
    (InvalidNameError, Code.USAGE),
    (InvalidValueError, Code.USAGE),
    (typer.TyperException, Code.USAGE),
)


def code_of(error: BaseException) -> Code:
    """Return the exit code for an error."""
    if isinstance(error, CommandError):
        return error.code
    if isinstance(error, RPCError):
        if error.status in _UNREACHABLE:
            return Code.UNREACHABLE
        return Code.NOT_FOUND if error.status == RPCStatusCode.NOT_FOUND else Code.FAILED
    return next((code for kind, code in _CODES if isinstance(error, kind)), Code.FAILED)


def message_of(error: BaseException) -> str:
    """Return what an error says, in one line."""
    text = str(error) or type(error).__name__
    if isinstance(error, RPCError):
        text = f"Temporal answers {error.status.name}: {text}; look at --address and --namespace"
    elif isinstance(error, OSError) and not isinstance(error, StoreError):
        text = f"{error.filename or 'input or output'}: {error.strerror or error}"
    return re.sub(r"\s*\n\s*", " ", text)
