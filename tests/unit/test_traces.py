"""Traces of real workers on the embedded log: each span once, nested in the caller's trace."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from perdure import activity, workflow
from perdure.client import Client
from perdure.common import RetryPolicy
from perdure.worker import Worker
from tests.otlp_sink import OtlpSink, otlp_sink

pytestmark = pytest.mark.embedded
A_MINUTE = timedelta(minutes=1)
TRACER = TracerProvider().get_tracer("users")
SEEN: list[trace.SpanContext] = []


@activity.defn
async def charge(order: str) -> str:
    with TRACER.start_as_current_span("card"):
        SEEN.append(trace.get_current_span().parent)  # type: ignore[attr-defined]
    if activity.info().attempt == 1:
        raise RuntimeError("the card reader is asleep")
    return f"charged {order}"


@activity.defn
def pack(order: str) -> None:
    SEEN.append(trace.get_current_span().get_span_context())


@workflow.defn
class Order:
    @workflow.run
    async def run(self, order: str) -> str:
        charged = await workflow.execute_activity(
            charge,
            order,
            start_to_close_timeout=A_MINUTE,
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
        )
        await asyncio.sleep(0.01)
        await workflow.execute_activity(pack, order, start_to_close_timeout=A_MINUTE)
        return charged


@workflow.defn
class Waiting:
    @workflow.run
    async def run(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpSink]:
    with otlp_sink() as sink:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint)
        yield sink


def _worker(client: Client) -> Worker:
    return Worker(
        client, task_queue="orders", workflows=[Order, Waiting], activities=[charge, pack]
    )


async def test_a_trace_from_the_caller_to_the_users_own_spans(
    sink: OtlpSink, tmp_path: Path
) -> None:
    SEEN.clear()
    client = await Client.connect(f"file:{tmp_path / 'data'}")
    async with _worker(client):
        with TRACER.start_as_current_span("checkout") as caller:
            await client.execute_workflow(Order.run, "o-1", id="o-1", task_queue="orders")
    await client.close()
    spans = await asyncio.to_thread(sink.wait_for, "workflow Order")
    assert Counter(span.name for span in spans) == {
        "workflow Order started": 1,
        "workflow Order": 1,
        "activity charge": 1,
        "attempt charge": 2,
        "timer": 1,
        "activity pack": 1,
        "attempt pack": 1,
    }
    place = caller.get_span_context()
    assert {span.trace_id for span in spans} == {place.trace_id.to_bytes(16, "big")}
    [run] = sink.named("workflow Order")
    assert run.parent_span_id == place.span_id.to_bytes(8, "big")
    [charging] = sink.named("activity charge")
    assert charging.parent_span_id == run.span_id
    assert [event.name for event in charging.events] == ["retry"]
    attempts = sink.named("attempt charge") + sink.named("attempt pack")
    assert {span.parent_span_id for span in attempts[:2]} == {charging.span_id}
    assert [span.status.message for span in attempts] == [
        "RuntimeError: the card reader is asleep",
        "",
        "",
    ]
    # What the code of each attempt recorded is beneath it.
    assert [seen.span_id.to_bytes(8, "big") for seen in SEEN] == [span.span_id for span in attempts]
    for span in spans:
        assert run.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= run.end_time_unix_nano


async def test_a_run_that_changes_owners_is_exported_once(sink: OtlpSink, tmp_path: Path) -> None:
    client = await Client.connect(f"file:{tmp_path / 'data'}")
    async with _worker(client):
        await client.execute_workflow(Waiting.run, 0.0, id="short", task_queue="orders")
        handle = await client.start_workflow(Waiting.run, 1.0, id="w", task_queue="orders")
        await asyncio.to_thread(sink.wait_for, "workflow Waiting started")
    async with _worker(client):
        await handle.result()
    await client.close()
    await asyncio.to_thread(sink.wait_for, "workflow Waiting", "timer")
    ids = Counter(span.span_id for span in sink.wait_for("workflow Waiting"))
    assert set(ids.values()) == {1}
    assert len(sink.named("workflow Waiting")) == 2
    assert len(sink.named("workflow Waiting started")) == 1


async def test_without_an_endpoint_nothing_is_sent(tmp_path: Path) -> None:
    client = await Client.connect(f"file:{tmp_path / 'data'}")
    async with _worker(client) as worker:
        await client.execute_workflow(Waiting.run, 0.0, id="w", task_queue="orders")
        assert worker.is_running
    await client.close()
