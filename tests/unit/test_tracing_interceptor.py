"""A caller's trace and baggage reach activities by way of workflows; spans are of users' code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from perdure import activity, workflow
from perdure.client import Client, WorkflowFailureError
from perdure.contrib.opentelemetry import TracingInterceptor
from perdure.contrib.opentelemetry.interceptor import HEADER_KEY, context_of
from perdure.contrib.opentelemetry.workflow import completed_span
from perdure.converter import PayloadConverter
from perdure.exceptions import ApplicationError
from perdure.worker import Worker

pytestmark = pytest.mark.embedded
EXPORTED = InMemorySpanExporter()
A_MINUTE = timedelta(minutes=1)


@activity.defn
async def who() -> str:
    return str(baggage.get_baggage("user"))


@activity.defn
def who_in_a_thread() -> str:
    return str(baggage.get_baggage("user"))


@activity.defn
async def decline() -> None:
    raise ApplicationError("no", non_retryable=True)


@workflow.defn
class Asking:
    @workflow.run
    async def run(self, again: bool) -> list[str]:
        if again:
            workflow.continue_as_new(False)
        first = await workflow.execute_activity(who, start_to_close_timeout=A_MINUTE)
        completed_span("in between", attributes={"first": first})
        second = await workflow.execute_activity(who_in_a_thread, start_to_close_timeout=A_MINUTE)
        return [first, second]


@workflow.defn
class Declining:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(decline, start_to_close_timeout=A_MINUTE)


@pytest.fixture
def tracer(monkeypatch: pytest.MonkeyPatch) -> trace.Tracer:
    EXPORTED.clear()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(EXPORTED))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return provider.get_tracer("test")


@pytest.fixture
async def client(tmp_path: Path, tracer: trace.Tracer) -> AsyncIterator[Client]:
    made = await Client.connect(f"file:{tmp_path}", interceptors=[TracingInterceptor(tracer)])
    yield made
    await made.close()


def worker_of(client: Client) -> Worker:
    return Worker(
        client,
        task_queue="q",
        workflows=[Asking, Declining],
        activities=[who, who_in_a_thread, decline],
    )


def spans() -> dict[str, ReadableSpan]:
    return {span.name: span for span in EXPORTED.get_finished_spans()}


async def test_trace_and_baggage_reach_activities(client: Client, tracer: trace.Tracer) -> None:
    token = otel_context.attach(baggage.set_baggage("user", "ada"))
    try:
        async with worker_of(client):
            with tracer.start_as_current_span("caller") as caller:
                found = await client.execute_workflow(Asking.run, True, id="w", task_queue="q")
    finally:
        otel_context.detach(token)

    assert found == ["ada", "ada"]
    names = ["caller", "StartWorkflow:Asking", "RunActivity:who", "RunActivity:who_in_a_thread"]
    made = spans()
    assert set(made) == {*names, "in between"}
    trace_id = caller.get_span_context().trace_id
    assert {span.context.trace_id for span in made.values() if span.context} == {trace_id}
    start = made["StartWorkflow:Asking"]
    assert start.parent is not None
    assert start.parent.span_id == caller.get_span_context().span_id
    assert start.context is not None
    inner = made["in between"].parent
    assert inner is not None
    assert inner.span_id == start.context.span_id
    assert (made["in between"].attributes or {})["first"] == "ada"


async def test_an_activitys_error_is_its_spans(client: Client) -> None:
    async with worker_of(client):
        with pytest.raises(WorkflowFailureError):
            await client.execute_workflow(Declining.run, id="w", task_queue="q")

    span = spans()["RunActivity:decline"]
    assert span.status.status_code == trace.StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]
    assert (span.attributes or {})["perdure.workflow.id"] == "w"


async def test_without_a_trace_nothing_is_carried(client: Client) -> None:
    class Bare(TracingInterceptor):
        pass

    async with worker_of(client):
        found = await client.execute_workflow(Asking.run, False, id="w", task_queue="q")

    assert found == ["None", "None"]


def test_a_header_that_cannot_be_read_is_passed_over() -> None:
    payload = PayloadConverter.default.to_payload("nonsense")

    assert context_of({HEADER_KEY: payload}) == otel_context.get_current()
