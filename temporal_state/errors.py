"""Every error of this package, in one tree.

Each class also derives from the builtin that a caller would catch without knowing us, and says
whether trying again can help: that decides what Temporal retries.

    StateError
    ├── InvalidNameError (ValueError)          an id, type, app or tenant that is refused
    │   └── PathTraversalError                 ... because it tries to leave its place
    ├── InvalidValueError (ValueError)         a value that JSON cannot hold exactly
    │   └── SecretRefusedError                 ... or a raw secret where only references may be
    ├── InvalidDocumentError (ValueError)      a document that does not fit the model asked for
    ├── TooLargeError (ValueError)             a document or result over its size limit
    ├── ChangedItemsError (ValueError)         items that are not those the loop began with
    ├── NotFoundError (LookupError)            what was named to be worked on is not there
    │   └── NotRecordedError                   ... a run, or a value of it, that the record lacks
    ├── SecretUnavailableError (RuntimeError)  a reference whose secret was not given out
    ├── ConflictError                          the object is not what the caller expected
    │   ├── TransactionConflictError           ... a document changed under a transaction
    │   └── VersionConflictError               ... a document has another version; has both
    ├── BatchError                             changes of a batch that were not written
    ├── TokenExpiredError                      a change too old to tell whether it was applied
    ├── ConfigurationError (RuntimeError)      plugin, backend or URL that cannot work
    ├── ContextError (RuntimeError)            called from a place where it has no meaning
    └── StoreError (OSError)                   the store did not do what it was asked
        ├── StoreFullError                     no space, quota, or file size limit
        ├── StorePermissionError (PermissionError)  read-only, or not ours
        ├── StoreTimeoutError (TimeoutError)   no answer in time; the outcome is unknown
        └── DamagedObjectError                 an object that cannot be what was written
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

__all__ = [
    "BatchError",
    "ChangedItemsError",
    "ConfigurationError",
    "ConflictError",
    "ContextError",
    "DamagedObjectError",
    "InvalidDocumentError",
    "InvalidNameError",
    "InvalidValueError",
    "NotFoundError",
    "NotRecordedError",
    "PathTraversalError",
    "SecretRefusedError",
    "SecretUnavailableError",
    "StateError",
    "StoreError",
    "StoreFullError",
    "StorePermissionError",
    "StoreTimeoutError",
    "TokenExpiredError",
    "TooLargeError",
    "TransactionConflictError",
    "VersionConflictError",
]


class StateError(Exception):
    """Base of all errors of this package.

    Attributes:
        retryable: Whether the same call can succeed later without a change by the caller.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    @property
    def details(self) -> tuple[Any, ...]:
        """What the error carries besides its message, as JSON values."""
        return ()

    @classmethod
    def restored(cls, message: str, details: Sequence[Any]) -> Self:
        """Return the error that had this message and these `details`."""
        del details
        return cls(message)


class InvalidNameError(StateError, ValueError):
    """An id, type, app, tenant or key breaks the rule for its kind."""


class PathTraversalError(InvalidNameError):
    """Raised when a path traversal attempt is detected."""


class InvalidValueError(StateError, ValueError):
    """A value cannot be held by JSON exactly; the message has its path."""


class SecretRefusedError(InvalidValueError):
    """A credentials document would hold a raw secret; the message has its path, not its value."""


class InvalidDocumentError(StateError, ValueError):
    """A stored document does not fit the model that was asked for; the message has the field."""


class TooLargeError(StateError, ValueError):
    """A document, argument or result is over its size limit; the message has both sizes."""


class ChangedItemsError(StateError, ValueError):
    """The items of a loop that goes on are not those that it began with."""


class NotFoundError(StateError, LookupError):
    """What was named to be worked on is not there; where it is only read, that returns None."""


class NotRecordedError(NotFoundError):
    """There is no record of a run, or what is asked for was not recorded."""


class SecretUnavailableError(StateError, RuntimeError):
    """The caller's own function gave no secret for a reference; the message has the field."""

    retryable = True


class ConflictError(StateError):
    """An object is not in the state that the caller made a condition of."""


class TransactionConflictError(ConflictError):
    """A document that a transaction has read was changed before its end; nothing was written.

    The same values would meet the same conflict: run the whole block again, as ``transact`` does.
    """


class VersionConflictError(ConflictError):
    """A document does not have the version that the caller expected; nothing was changed.

    Attributes:
        expected: The version that was made a condition, as ``if_version=``.
        actual: The version that the document has; 0 if it is absent, deleted or expired, or a
            plain file of another tool that was never changed by this package.
    """

    def __init__(self, message: str, expected: int = 0, actual: int = 0) -> None:
        super().__init__(message)
        self.expected = expected
        self.actual = actual

    @property
    def details(self) -> tuple[int, int]:
        """See base class."""
        return self.expected, self.actual

    @classmethod
    def restored(cls, message: str, details: Sequence[Any]) -> Self:
        """See base class."""
        return cls(message, *map(int, details[:2]))


class BatchError(StateError):
    """Changes of a batch were not written; they are no longer in the batch.

    Attributes:
        failures: What went wrong, for each document (as ``type/id``) that was not written. A
            `StoreTimeoutError` may have written all the same; all others did not.
    """

    retryable = True  # as a rule the store failed; whoever runs again makes the changes anew

    def __init__(self, message: str, failures: Mapping[str, Exception] | None = None) -> None:
        super().__init__(message)
        self.failures = dict(failures or {})


class TokenExpiredError(StateError):
    """A change is older than the memory of applied changes, so it is refused, not repeated."""


class ConfigurationError(StateError, RuntimeError):
    """The package is set up in a way that cannot work."""


class ContextError(StateError, RuntimeError):
    """A function was called where it has no meaning, such as outside of a workflow."""


class StoreError(StateError, OSError):
    """The store could not do what it was asked; the object is as it was, unless said otherwise."""

    retryable = True


class StoreFullError(StoreError):
    """No space, quota or inode is left, or the file would pass the process's size limit."""


class StorePermissionError(StoreError, PermissionError):
    """The store is read-only or belongs to somebody else."""

    retryable = False


class StoreTimeoutError(StoreError, TimeoutError):
    """The store did not answer in time; whether a change was made is unknown."""


class DamagedObjectError(StoreError):
    """An object exists but cannot be what was written: truncated, not JSON, or another's."""

    retryable = False
