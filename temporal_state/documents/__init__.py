"""Documents: JSON objects found by type and id, merged without losing a change."""

from temporal_state.documents._batch import Batch
from temporal_state.documents._documents import Documents, Page
from temporal_state.documents._edits import Edit, check_items, check_key_name, check_state
from temporal_state.documents._engine import DEFAULT_LIMITS, Caller, Document, Engine, Limits
from temporal_state.documents._envelope import RESERVED_KEY, Envelope
from temporal_state.documents._handle import DocumentHandle, to_model
from temporal_state.documents._ids import check_id
from temporal_state.documents._json import dumps, loads, plain, plain_object
from temporal_state.documents._layout import Address, Layout
from temporal_state.documents._times import Clock, from_text, to_text, utc_now
from temporal_state.documents._tokens import RETRY_HORIZON, Token
from temporal_state.documents._transaction import Name, Seen, Transaction, TransactionEdit
from temporal_state.documents._transactions import Transactions
from temporal_state.documents._types import StateType, check_type

__all__ = [
    "DEFAULT_LIMITS",
    "RESERVED_KEY",
    "RETRY_HORIZON",
    "Address",
    "Batch",
    "Caller",
    "Clock",
    "Document",
    "DocumentHandle",
    "Documents",
    "Edit",
    "Engine",
    "Envelope",
    "Layout",
    "Limits",
    "Name",
    "Page",
    "Seen",
    "StateType",
    "Token",
    "Transaction",
    "TransactionEdit",
    "Transactions",
    "check_id",
    "check_items",
    "check_key_name",
    "check_state",
    "check_type",
    "dumps",
    "from_text",
    "loads",
    "plain",
    "plain_object",
    "to_model",
    "to_text",
    "utc_now",
]
