"""From recorded values back to payloads, for whoever hands them to Temporal again."""

import base64

from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, WorkflowSerializationContext

from temporal_state.runs import Value


def to_payload(value: Value) -> Payload:
    """Return the payload of a value that was not dropped, as it is kept: codec included."""
    metadata = {name: base64.b64decode(part) for name, part in value.metadata.items()}
    metadata["encoding"] = value.encoding.encode()
    return Payload(metadata=metadata, data=value.data or b"")


async def restored(
    converter: DataConverter, namespace: str, workflow_id: str, value: Value
) -> Payload:
    """Return the payload of a kept value as it was before the codec.

    Args:
        converter: The data converter that the value was recorded with.
        namespace: Of the run whose value it is.
        workflow_id: Of that run.
        value: A value that was not dropped.
    """
    context = WorkflowSerializationContext(namespace, workflow_id)
    codec = converter.with_context(context).payload_codec
    payload = to_payload(value)
    return payload if codec is None else (await codec.decode([payload]))[0]
