"""The context of OpenTelemetry, where there is one, so that our records name the same trace.

The SDK's tracing interceptors carry it in a header, as W3C writes it. Only what is there is read:
nothing is imported for it, and no span of OpenTelemetry is made.
"""

import re
import sys
from collections.abc import Mapping

from temporalio.api.common.v1 import Payload

from temporal_state.runs import Json
from temporal_state.temporal._wire import object_in

TRACER_HEADER = "_tracer-data"
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-.*")


def trace_in(headers: Mapping[str, Payload]) -> Json | None:
    """Return the span that a call was made in; ``None`` if nothing readable is there."""
    if TRACER_HEADER not in headers:
        return None
    carrier = object_in(headers[TRACER_HEADER]) or {}
    text = carrier.get("traceparent")
    found = _TRACEPARENT.fullmatch(text) if isinstance(text, str) else None
    return None if found is None else {"trace_id": found[1], "span_id": found[2]}


def active_span() -> Json | None:
    """Return the span of OpenTelemetry that the calling code is in, if it is in one."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None  # nobody can have begun one
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
