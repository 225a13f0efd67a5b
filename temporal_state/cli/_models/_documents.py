"""Shapes of documents, keys and snapshots, and of what moves them."""

from datetime import datetime
from typing import Any, Literal, Self

from temporal_state.cli._models._base import Shape
from temporal_state.documents import Document
from temporal_state.runs import Snapshot


class DocumentShape(Shape):
    """What ``get`` and ``set`` print."""

    type: str
    id: str
    version: int
    created: datetime | None
    updated: datetime | None
    value: dict[str, Any]

    @classmethod
    def of(cls, document: Document) -> Self:
        """Return the shape of a document."""
        return cls(**{name: getattr(document, name) for name in cls.model_fields})


class DocumentName(Shape):
    """One line of ``documents``; and what ``delete`` prints."""

    type: str
    id: str


class KeyName(Shape):
    """One line of ``keys``."""

    name: str


class SnapshotShape(Shape):
    """What ``snapshot create`` prints, and one line of ``snapshot list``."""

    name: str
    time: datetime
    document: dict[str, str] | None
    run: dict[str, Any] | None
    version: int
    state: dict[str, Any]
    metadata: dict[str, Any]

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """Return the shape of a snapshot."""
        return cls(**{name: getattr(snapshot, name) for name in cls.model_fields})


class SnapshotName(Shape):
    """What ``snapshot delete`` prints."""

    name: str


class AdoptionShape(Shape):
    """What ``adopt`` prints; reasons by ``type/id``."""

    dry_run: bool
    adopted: list[str]
    unchanged: list[str]
    conflicting: dict[str, str]
    refused: dict[str, str]


class TransferShape(Shape):
    """What ``import`` prints, and ``export`` into a file."""

    documents: int
    records: int
    unchanged: int
    bytes: int


class DocumentLine(Shape):
    """A document in an export.

    ``meta`` is what lies beside its state: version, times, lifetimes and applied changes. Without
    it, a document is written anew.
    """

    kind: Literal["document"] = "document"
    type: str
    id: str
    value: dict[str, Any]
    meta: dict[str, Any] | None = None


class RecordLine(Shape):
    """An object of the records in an export: of runs, keys, snapshots, evaluations, the audit.

    Attributes:
        key: Its key below the application's (and tenant's) part of the store.
    """

    kind: Literal["record"] = "record"
    key: str
    value: dict[str, Any]
