"""Objects under names: what every other layer stands on.

Nothing here knows of documents, runs or Temporal.
"""

from typing import TYPE_CHECKING

from temporal_state._lazy import lazily

if TYPE_CHECKING:
    from temporal_state.storage._arrivals import in_thread
    from temporal_state.storage._compress import Compressed
    from temporal_state.storage._foreign import ForeignTree, root_of
    from temporal_state.storage._keys import check_key, check_prefix, join_location
    from temporal_state.storage._local import LocalStore
    from temporal_state.storage._marks import ENCODED, missing_transform
    from temporal_state.storage._memory import MemoryStore
    from temporal_state.storage._names import (
        KEPT_OF_LONG,
        MAX_ENCODED,
        decode_name,
        encode_name,
        encode_prefix,
    )
    from temporal_state.storage._object_storage import ObjectStorage
    from temporal_state.storage._open import open_store
    from temporal_state.storage._postgresql import PostgresStore
    from temporal_state.storage._protocol import (
        Change,
        ConditionalDelete,
        Object,
        ObjectInfo,
        ObjectStore,
    )
    from temporal_state.storage._transform import Transform, TransformedStore
else:
    __getattr__ = lazily(
        __name__,
        {
            "_arrivals": "in_thread",
            "_compress": "Compressed",
            "_foreign": "ForeignTree root_of",
            "_keys": "check_key check_prefix join_location",
            "_local": "LocalStore",
            "_marks": "ENCODED missing_transform",
            "_memory": "MemoryStore",
            "_names": "KEPT_OF_LONG MAX_ENCODED decode_name encode_name encode_prefix",
            "_object_storage": "ObjectStorage",
            "_open": "open_store",
            "_postgresql": "PostgresStore",
            "_protocol": "Change ConditionalDelete Object ObjectInfo ObjectStore",
            "_transform": "Transform TransformedStore",
        },
    )

__all__ = [
    "ENCODED",
    "KEPT_OF_LONG",
    "MAX_ENCODED",
    "Change",
    "Compressed",
    "ConditionalDelete",
    "ForeignTree",
    "LocalStore",
    "MemoryStore",
    "Object",
    "ObjectInfo",
    "ObjectStorage",
    "ObjectStore",
    "PostgresStore",
    "Transform",
    "TransformedStore",
    "check_key",
    "check_prefix",
    "decode_name",
    "encode_name",
    "encode_prefix",
    "in_thread",
    "join_location",
    "missing_transform",
    "open_store",
    "root_of",
]
