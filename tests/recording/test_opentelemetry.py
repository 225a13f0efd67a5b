"""Where there is a trace of OpenTelemetry, our records are a part of it; they make none."""

from datetime import timedelta

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto.workflow_activation import InitializeWorkflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner

from temporal_state import Recording, StatePlugin, resume, state
from temporal_state.runs import Run, Source
from temporal_state.temporal import Lineage
from temporal_state.temporal._opentelemetry import trace_in
from temporal_state.temporal._wire import HEADER

SOON = timedelta(seconds=30)
QUICK = Recording(flush_interval=timedelta(milliseconds=20))
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=10))


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


broken = set[str]()


@workflow.defn
class Chain:
    """Is retried once, continued as new once, and fails as long as it is broken."""

    @workflow.run
    async def run(self, name: str, part: int = 0) -> None:
        await workflow.execute_activity(traced, start_to_close_timeout=SOON)
        if part == 0 and workflow.info().attempt == 1:
            raise ApplicationError("once")
        if part == 0:
            workflow.continue_as_new(args=[name, 1])
        if name in broken:
            raise ApplicationError("still broken", non_retryable=True)


async def chain_of(on_dev, start, resume_it) -> list[Run]:
    """Runs in their order: the first attempt, its retry, the continued one, that which resumed."""
    on_dev.options["workflow_runner"] = UnsandboxedWorkflowRunner()
    on_dev.options["plugins"] = [StatePlugin(on_dev.backend, recording=QUICK)]
    runs, name = on_dev.backend.runs, on_dev.task_queue
    broken.add(name)
    async with on_dev.worker(Chain, activities=[traced]):
        handle = await start(Chain.run, name, retry_policy=QUICKLY)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        broken.clear()
        await (await resume_it(on_dev.client, on_dev.backend, handle.id)).result()
    return sorted(await runs.of_workflow(handle.id), key=lambda run: run.started)


async def traces_of(on_dev, run: Run) -> set[str]:
    """The traces that a run and its steps say they are a part of."""
    spans = await on_dev.backend.runs.spans(run.workflow_id, run_id=run.run_id)
    assert [span.parent_span_id for span in spans[:2]] == [None, spans[0].span_id]
    return {span.attributes["trace_id"] for span in spans if "trace_id" in span.attributes}


async def test_a_resumed_run_is_of_the_trace_of_what_it_resumes_and_others_of_their_own(on_dev):
    first, retried, continued, resumed = await chain_of(on_dev, on_dev.start, resume)
    assert [first.attempt, retried.attempt] == [1, 2]
    assert [retried.continued_from, continued.continued_from] == [first.run_id, retried.run_id]
    assert resumed.resumed_from.run_id == continued.run_id
    assert (resumed.trace_id, resumed.trace_root) == (continued.trace_id,) * 2
    assert len({run.trace_id for run in (first, retried, continued, resumed)}) == 3
    for run in (first, retried, continued, resumed):
        assert await traces_of(on_dev, run) == {run.trace_id}
    root = {(await on_dev.backend.runs.spans(run.workflow_id, run_id=run.run_id))[0].span_id
            for run in (first, retried, continued, resumed)}  # fmt: skip
    assert len(root) == 4


def test_a_retried_run_stays_in_the_trace_of_what_it_resumed_wherever_it_takes_over_from():
    resumed, before = (Source("default", "wf", run_id) for run_id in ("first", "attempt"))
    start = InitializeWorkflow(headers={HEADER: Lineage(resumed, trace_root=A).to_payload()})
    for former in (None, before):
        told = Lineage.of(start, former)
        assert (told.source, told.trace_root) == (former or resumed, A)


async def test_in_a_trace_of_opentelemetry_the_whole_chain_is_and_a_resumed_run_in_its_own(on_dev):
    tracer = TracerProvider().get_tracer("tests")
    config = on_dev.client.config()
    config["interceptors"] = [TracingInterceptor(tracer)]
    on_dev.client = Client(**config)
    contexts: list[str] = []

    def within(call):
        async def started(*args, **options):
            with tracer.start_as_current_span("request") as span:
                contexts.append(f"{span.get_span_context().trace_id:032x}")
                return await call(*args, **options)

        return started

    runs = await chain_of(on_dev, within(on_dev.start), within(resume))
    first, later = contexts
    assert [run.trace_id for run in runs] == [first, first, first, later]
    assert runs[-1].trace_root == first  # so that it leads back to what it resumes
    for run in runs:
        assert await traces_of(on_dev, run) == {run.trace_id}


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
