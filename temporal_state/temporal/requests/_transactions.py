"""Transactions: the reads of a block, and its end.

The end is a regular activity: its argument, what the block has read and what it will change, is in
the history before anything is done, so a retry means the same transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from functools import partial
from typing import Any

from temporal_state.documents import (
    Address,
    Envelope,
    Name,
    Seen,
    StateType,
    Transaction,
    TransactionEdit,
    Transactions,
    check_no_secrets,
)
from temporal_state.errors import InvalidValueError
from temporal_state.temporal.requests._base import Request, Scope, request
from temporal_state.temporal.requests._documents import DocumentRequest


@request
class Look(DocumentRequest):
    """Read a document and its version. Returns ``{"value", "version", "exists"}``."""

    operation = "transactions.look"

    def reading(self) -> "Look":
        """See base class."""
        return self

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        document = self.document(scope)
        found = await document.engine.look(document.address)
        result = {"value": found.state, "version": found.version, "exists": not found.deleted}
        return scope.fitting(result, f"{document.address} is too large, keep large data elsewhere")

    def envelope(self, result: Mapping[str, Any]) -> Envelope:
        """Return what was performed as an envelope."""
        address = Address(self.type, self.id or "the own document", "")
        return Envelope(address, result["value"], result["version"], deleted=not result["exists"])


@request
class Commit(Request):
    """Make the changes of a transaction if all that it read still holds. Returns nothing.

    Attributes:
        reads: ``{"id", "type", "version", "digest"}`` of each document as it was read.
        edits: The fields of each `TransactionEdit`, in order.
        key: Names the change for repetitions that compute other values.
    """

    operation = "transactions.commit"
    changes = True
    regular = True
    _: KW_ONLY
    reads: Sequence[Mapping[str, Any]] = ()
    edits: Sequence[Mapping[str, Any]] = ()
    key: str | None = None

    @classmethod
    def of(cls, transaction: Transaction, key: str | None) -> "Commit":
        """Return the request that ends a block."""
        reads = [
            {"id": id, "type": type, "version": seen.version, "digest": seen.digest}
            for (id, type), seen in transaction.reads.items()
        ]
        return cls(reads=reads, edits=[edit.to_json() for edit in transaction.edits], key=key)

    @property
    def own_name(self) -> str | None:
        """See base class."""
        return self.key

    def check(self) -> None:
        """See base class."""
        for edit in self._parts()[1]:
            if edit.id is not None and edit.type == StateType.CREDENTIALS:
                check_no_secrets(edit.written)

    def _parts(self) -> tuple[Mapping[Name, Seen], Sequence[TransactionEdit]]:
        try:
            reads = {_name(read): Seen(read["version"], read["digest"]) for read in self.reads}
            return reads, [TransactionEdit(**edit) for edit in self.edits]
        except (KeyError, TypeError) as error:
            raise InvalidValueError(
                f"the argument of {self.operation} is no transaction ({error!r}); give reads and "
                "edits with the fields that its description has"
            ) from error

    async def perform(self, scope: Scope) -> None:
        """See base class."""
        reads, edits = self._parts()
        if any(edit.id is None for edit in edits):
            await scope.backend.own_documents_for(scope.caller).remember(scope.own())
        documents = scope.backend.documents_for(scope.caller)
        place = partial(_place, scope)
        await Transactions(documents.engine, place).commit(reads, edits)


def _place(scope: Scope, name: Name) -> Address:
    id, type = name
    return DocumentRequest(id=id, type=type).document(scope).address


def _name(read: Mapping[str, Any]) -> Name:
    return read["id"], read["type"]
