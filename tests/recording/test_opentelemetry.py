"""Where there is a trace of OpenTelemetry, our records are a part of it; they make none."""

from datetime import timedelta

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.contrib.opentelemetry import TracingInterceptor

from temporal_state import state
from temporal_state.temporal._opentelemetry import trace_in

SOON = timedelta(seconds=30)


@activity.defn
async def traced() -> None:
    with state.span("own"):
        pass


@workflow.defn
class Traced:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(traced, start_to_close_timeout=SOON)


async def test_a_run_that_was_started_in_a_trace_belongs_to_it(on_dev):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("tests")
    config = on_dev.client.config()
    config["interceptors"] = [TracingInterceptor(tracer)]
    on_dev.client = Client(**config)
    async with on_dev.worker(Traced, activities=[traced]):
        with tracer.start_as_current_span("request"):
            handle = await on_dev.start(Traced.run)
            await handle.result()
    theirs = {s.name: s for s in exporter.get_finished_spans()}
    trace_id = f"{theirs['request'].context.trace_id:032x}"
    run = await on_dev.backend.runs.get(handle.id)
    assert run.trace_id == trace_id
    assert run.trace.span_id == f"{theirs['StartWorkflow:Traced'].context.span_id:016x}"
    (step,) = await on_dev.backend.runs.steps(handle.id)
    assert step.trace.trace_id == trace_id
    assert step.trace.span_id == f"{theirs['StartActivity:traced'].context.span_id:016x}"
    (own,) = await on_dev.backend.runs.spans(handle.id, name="own")
    within = f"{theirs['RunActivity:traced'].context.span_id:016x}"
    assert own.attributes == {"opentelemetry": {"trace_id": trace_id, "span_id": within}}


async def test_without_one_the_trace_is_that_of_the_lineage(on_dev):
    async with on_dev.worker(Traced, activities=[traced]):
        handle = await on_dev.start(Traced.run)
        await handle.result()
    run = await on_dev.backend.runs.get(handle.id)
    (own,) = await on_dev.backend.runs.spans(handle.id, name="own")
    assert (run.trace, len(run.trace_id), own.attributes) == (None, 32, {})


A, B = "a" * 32, "b" * 16


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (f'{{"traceparent": "00-{A}-{B}-01"}}', True),
        (f'{{"traceparent": "01-{A}-{B}-01-more"}}', True),
        (f'{{"traceparent": "ff-{A}-{B}-01"}}', False),
        (f'{{"traceparent": "00-{"0" * 32}-{B}-01"}}', False),
        (f'{{"traceparent": "00-{A}-{"0" * 16}-01"}}', False),
        (f'{{"traceparent": "00-{A.upper()}-{B}-01"}}', False),
        ('{"traceparent": 7}', False),
        ("{}", False),
        ("[]", False),
        ("\x00", False),
    ],
)
def test_only_what_w3c_allows_is_read_from_a_header(data, read):
    found = trace_in({"_tracer-data": Payload(data=data.encode())})
    assert found == ({"trace_id": A, "span_id": B} if read else None)
    assert trace_in({}) is None
