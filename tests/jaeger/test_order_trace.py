"""Orders traced into a real Jaeger, read back by its query API and held against their histories."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from examples.orders.app import Order, OrderWorkflow
from perdure.client import Client, RPCError, WorkflowFailureError, WorkflowHandle
from perdure.client._history import HistoryEvent
from perdure_schemas import events
from perdure_schemas.tracing import (
    attempt_span_id,
    run_span_id,
    span_id_of,
    trace_of,
)
from tests.broker.kafka_broker import free_port
from tests.broker.processes import ROOT, Process, until
from tests.jaeger.jaeger_server import BINARY, Jaeger, jaeger_binary

pytestmark = [pytest.mark.jaeger, pytest.mark.timeout(120)]
# Name, parent span id, start and end in milliseconds, whether it failed.
Row = tuple[str, int, int, int, bool]


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    binary = jaeger_binary()
    if binary is None:
        pytest.skip(f"no Jaeger at {BINARY}: `make jaeger` builds it, with Go")
    server = Jaeger(binary, tmp_path_factory.mktemp("jaeger"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Shop:
    """An engine with the orders example, traced."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.target = f"http://127.0.0.1:{port}"
        self.kills = 0
        options = ["--data", str(folder / "data"), "--port", str(port)]
        self.engine = Process(
            "engine",
            ["engine", "examples.orders.app", *options],
            folder,
            journal=folder / "journal.jsonl",
        )

    async def client(self) -> Client:
        for _ in range(80):
            try:
                return await Client.connect(self.target)
            except RPCError:
                await asyncio.sleep(0.25)
        raise AssertionError(f"no engine at {self.target}\n{self.engine.said()}")


@pytest.fixture
def shop(tmp_path: Path, jaeger: Jaeger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.otlp)
    monkeypatch.setenv("ORDERS_JOURNAL", str(tmp_path / "orders.jsonl"))
    made = Shop(tmp_path)
    made.engine.start()
    try:
        yield made
    finally:
        made.engine.stop()


def _order(order_id: str, product: str = "book") -> Order:
    return Order(order_id, "ann", product, 1, 1250, bank="slow-bank", email="ann@example.org")


async def test_an_orders_trace_is_its_history(shop: Shop, jaeger: Jaeger) -> None:
    client = await shop.client()
    tracer = TracerProvider().get_tracer("shop")
    with tracer.start_as_current_span("checkout") as caller:
        handle = await client.start_workflow(
            OrderWorkflow.run, _order("o-1"), id="o-1", task_queue="orders"
        )
    assert await handle.result() == "shipped"
    await _is_its_history(shop, handle, jaeger, caller_id=caller.get_span_context().span_id)
    await client.close()


async def test_the_same_after_the_engine_was_killed(
    shop: Shop, jaeger: Jaeger, tmp_path: Path
) -> None:
    client = await shop.client()
    handle = await client.start_workflow(
        OrderWorkflow.run, _order("o-2", "sold-out-book"), id="o-2", task_queue="orders"
    )
    journal = tmp_path / "orders.jsonl"
    await until(
        lambda: journal.exists() and '"refund"' in journal.read_text("utf-8"), "the refund is tried"
    )
    shop.engine.kill()
    shop.kills += 1
    shop.engine.start()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    rows = await _is_its_history(shop, handle, jaeger)
    assert Counter(name for name, *_ in rows.values())["attempt refund_payment"] == 3
    started = (await handle.fetch_history()).events[0].event
    assert isinstance(started, events.WorkflowStarted)
    trace_id = trace_of(started, started.first_run_id).trace_id
    await _exported_again(shop, jaeger, trace_id)
    await client.close()


async def _exported_again(shop: Shop, jaeger: Jaeger, trace_id: int) -> None:
    """What is sent again is the same again. This Jaeger keeps both; from 1.62 on it shows one."""
    before = Counter(span["spanID"] for span in jaeger.trace(trace_id))
    arguments = ["traces", "--engine", shop.target, "--since", "1h", "--output", "json"]
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "perdure.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    copies: dict[str, list[dict[str, Any]]] = {}

    async def again() -> bool:
        copies.clear()
        for span in await asyncio.to_thread(jaeger.trace, trace_id):
            copies.setdefault(span["spanID"], []).append(span)
        return all(len(copies[span_id]) > count for span_id, count in before.items())

    await until(again, "each span has been sent again")
    assert set(copies) >= set(before)
    assert len(copies) == json.loads(done.stdout)["spans"]
    for first, *others in copies.values():
        for other in others:
            assert other == first


async def _is_its_history(
    shop: Shop, handle: WorkflowHandle[Any, Any], jaeger: Jaeger, *, caller_id: int = 0
) -> dict[int, Row]:
    """Hold the trace of a closed run against its history, span by span; the spans' rows."""
    history = [event async for event in handle.fetch_history_events()]
    started = history[0].event
    assert isinstance(started, events.WorkflowStarted)
    run_id = started.first_run_id
    expected = _expected(history, run_id, caller_id)
    trace_id = trace_of(started, run_id).trace_id
    spans: list[dict[str, Any]] = []

    async def complete() -> bool:
        spans[:] = await asyncio.to_thread(jaeger.trace, trace_id)
        return set(expected) <= {int(span["spanID"], 16) for span in spans}

    await until(complete, f"the spans of {sorted(row[0] for row in expected.values())} are there")
    ours = [span for span in spans if not _tag(span, "perdure.mark")]
    if shop.kills == 0:
        assert Counter(span["spanID"] for span in spans).most_common(1)[0][1] == 1
    assert {int(span["spanID"], 16): _row(span) for span in ours} == expected
    assert {_tag(span, "perdure.run.id") for span in spans} == {run_id}
    return expected


def _row(span: dict[str, Any]) -> Row:
    parents = [ref["spanID"] for ref in span["references"] if ref["refType"] == "CHILD_OF"]
    start_us, took_us = span["startTime"], span["duration"]
    return (
        span["operationName"],
        int(parents[0], 16) if parents else 0,
        start_us // 1000,
        (start_us + took_us) // 1000,
        bool(_tag(span, "error")),
    )


def _tag(span: dict[str, Any], key: str) -> Any:
    return next((tag["value"] for tag in span["tags"] if tag["key"] == key), None)


def _expected(history: Sequence[HistoryEvent], run_id: str, caller_id: int) -> dict[int, Row]:
    """What the history says the spans are, worked out apart from the code that makes them."""
    at = {item.event_id: round(item.event_time.timestamp() * 1000) for item in history}
    failed = isinstance(history[-1].event, events.WorkflowFailed)
    first, last = history[0].event_id, history[-1].event_id
    started = history[0].event
    assert isinstance(started, events.WorkflowStarted)
    run = run_span_id(run_id)
    name = f"workflow {started.workflow_type}"
    rows: dict[int, Row] = {run: (name, caller_id, at[first], at[last], failed)}
    for item in history:
        scheduled = item.event
        if not isinstance(scheduled, events.ActivityScheduled):
            continue
        about = [
            later
            for later in history
            if getattr(later.event, "activity_id", "") == scheduled.activity_id
        ]
        kind, seq, issued = scheduled.activity_type, item.event_id, at[item.event_id]
        for later in about:
            event, ended = later.event, at[later.event_id]
            if isinstance(event, events.ActivityAttemptScheduled):
                issued = ended
            outcomes = events.ActivityCompleted | events.ActivityFailed
            if isinstance(event, outcomes | events.ActivityRetryScheduled):
                began = min(max(event.started_ms, issued), ended)
                is_error = not isinstance(event, events.ActivityCompleted)
                span_id = attempt_span_id(run_id, seq, event.attempt)
                activity = span_id_of(run_id, seq)
                rows[span_id] = (f"attempt {kind}", activity, began, ended, is_error)
                if isinstance(event, outcomes):
                    rows[activity] = (f"activity {kind}", run, at[seq], ended, is_error)
    return rows
