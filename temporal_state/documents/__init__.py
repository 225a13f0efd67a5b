"""Documents: JSON objects found by type and id, merged without losing a change."""

from typing import TYPE_CHECKING

from temporal_state._lazy import lazily

if TYPE_CHECKING:
    from temporal_state.documents._adopt import Adoption, Progress, adopter, folders_of
    from temporal_state.documents._batch import Batch
    from temporal_state.documents._cleanup import Swept
    from temporal_state.documents._credentials import (
        Credentials,
        ResolvedCredential,
        Secrets,
        refuse_in_workflow,
        resolve_config,
    )
    from temporal_state.documents._documents import Documents
    from temporal_state.documents._edits import Edit, check_items, check_key_name, check_state
    from temporal_state.documents._engine import DEFAULT_LIMITS, Caller, Document, Engine, Limits
    from temporal_state.documents._envelope import RESERVED_KEY, Envelope
    from temporal_state.documents._execution import (
        KEY_PREFIX,
        DeletedState,
        delete_documents,
        delete_keys,
    )
    from temporal_state.documents._handle import DocumentHandle, to_model
    from temporal_state.documents._ids import check_id
    from temporal_state.documents._json import check_foreign, dumps, loads, plain, plain_object
    from temporal_state.documents._key_values import Keys, packed, unpacked
    from temporal_state.documents._layout import Address, Folder, Layout
    from temporal_state.documents._pages import Page, check_cursor
    from temporal_state.documents._secrets import check_no_secrets
    from temporal_state.documents._system import SystemState, SystemValue
    from temporal_state.documents._times import Clock, aware, from_text, to_text, utc_now
    from temporal_state.documents._tokens import RETRY_HORIZON, Token
    from temporal_state.documents._transaction import Name, Seen, Transaction, TransactionEdit
    from temporal_state.documents._transactions import Transactions
    from temporal_state.documents._types import StateType, check_type
else:
    __getattr__ = lazily(
        __name__,
        {
            "_adopt": "Adoption Progress adopter folders_of",
            "_batch": "Batch",
            "_cleanup": "Swept",
            "_credentials": (
                "Credentials ResolvedCredential Secrets refuse_in_workflow resolve_config"
            ),
            "_documents": "Documents",
            "_edits": "Edit check_items check_key_name check_state",
            "_engine": "DEFAULT_LIMITS Caller Document Engine Limits",
            "_envelope": "RESERVED_KEY Envelope",
            "_execution": "KEY_PREFIX DeletedState delete_documents delete_keys",
            "_handle": "DocumentHandle to_model",
            "_ids": "check_id",
            "_json": "check_foreign dumps loads plain plain_object",
            "_key_values": "Keys packed unpacked",
            "_layout": "Address Folder Layout",
            "_pages": "Page check_cursor",
            "_secrets": "check_no_secrets",
            "_system": "SystemState SystemValue",
            "_times": "Clock aware from_text to_text utc_now",
            "_tokens": "RETRY_HORIZON Token",
            "_transaction": "Name Seen Transaction TransactionEdit",
            "_transactions": "Transactions",
            "_types": "StateType check_type",
        },
    )

__all__ = [
    "DEFAULT_LIMITS",
    "KEY_PREFIX",
    "RESERVED_KEY",
    "RETRY_HORIZON",
    "Address",
    "Adoption",
    "Batch",
    "Caller",
    "Clock",
    "Credentials",
    "DeletedState",
    "Document",
    "DocumentHandle",
    "Documents",
    "Edit",
    "Engine",
    "Envelope",
    "Folder",
    "Keys",
    "Layout",
    "Limits",
    "Name",
    "Page",
    "Progress",
    "ResolvedCredential",
    "Secrets",
    "Seen",
    "StateType",
    "Swept",
    "SystemState",
    "SystemValue",
    "Token",
    "Transaction",
    "TransactionEdit",
    "Transactions",
    "adopter",
    "aware",
    "check_cursor",
    "check_foreign",
    "check_id",
    "check_items",
    "check_key_name",
    "check_no_secrets",
    "check_state",
    "check_type",
    "delete_documents",
    "delete_keys",
    "dumps",
    "folders_of",
    "from_text",
    "loads",
    "packed",
    "plain",
    "plain_object",
    "refuse_in_workflow",
    "resolve_config",
    "to_model",
    "to_text",
    "unpacked",
    "utc_now",
]
