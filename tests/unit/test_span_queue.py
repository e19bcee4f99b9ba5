"""The queue of spans: what is shown is known, what has no room is dropped, nobody waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from perdure_actors.partition.services import Seen
from perdure_schemas.events import WorkflowCompleted, WorkflowResumed, WorkflowStarted
from perdure_schemas.tracing import TraceContext, with_context
from perdure_views.tracing.projection import EVENTS
from perdure_views.tracing.span_queue import PartitionSpans, SpanCounts, SpanQueue
from perdure_views.tracing.spans import Span


class Collector:
    """Takes spans, or refuses them, or holds its caller up."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.is_away = False
        self.may_go = threading.Event()
        self.may_go.set()
        self.asked = threading.Event()

    def __call__(self, spans: Sequence[Span]) -> bool:
        self.asked.set()
        assert self.may_go.wait(20)
        if self.is_away:
            return False
        self.spans += spans
        return True


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def queue(collector: Collector) -> Iterator[SpanQueue]:
    queue = SpanQueue(collector, queue_max=10, gather_s=0.01, give_up_s=0.0, address="there")
    yield queue
    collector.may_go.set()
    queue.close()


def _runs(view: PartitionSpans, pseqs: Sequence[int]) -> None:
    """A run that starts and completes in one transition, for each pseq: one span each."""
    for pseq in pseqs:
        events = [WorkflowStarted(workflow_type="Order"), WorkflowCompleted()]
        view.see(None, Seen("wf", f"run-{pseq}", 1, 1000, list[Any](events)), pseq)


def test_what_has_arrived_is_shown(queue: SpanQueue, collector: Collector) -> None:
    view = queue.open(0, 4)
    assert view.shown() == 4
    collector.may_go.clear()
    _runs(view, [5, 6])
    view.passed(7)
    assert view.shown() == 4
    collector.may_go.set()
    queue.flush(10)
    assert view.shown() == 7
    assert [span.attributes["perdure.run.id"] for span in collector.spans] == ["run-5", "run-6"]
    assert queue.counts == SpanCounts(exported=2, dropped=0, waiting=0)


def test_the_past_is_taken_in_and_not_shown(queue: SpanQueue, collector: Collector) -> None:
    view = queue.open(0, 4)
    run = view.see(None, Seen("wf", "run-1", 1, 1000, [WorkflowStarted(workflow_type="Order")]))
    view.see(run, Seen("wf", "run-1", 2, 2000, [WorkflowCompleted()]), 5)
    queue.flush(10)
    assert [span.name for span in collector.spans] == ["workflow Order"]


def test_a_full_queue_drops_counts_and_says_so(
    queue: SpanQueue, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    view = queue.open(0, 0)
    collector.may_go.clear()
    _runs(view, [1])
    assert collector.asked.wait(10)
    _runs(view, range(2, 21))
    assert queue.counts == SpanCounts(exported=0, dropped=10, waiting=10)
    with caplog.at_level(logging.WARNING, "perdure.traces"):
        collector.may_go.set()
        queue.flush(10)
        queue.close()
    assert view.shown() == 20
    assert "10 spans were dropped, because there did not take them" in caplog.text
    assert "perdure traces --since" in caplog.text


def test_a_collector_that_is_away_costs_spans_and_nothing_else(
    queue: SpanQueue, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    view = queue.open(0, 0)
    collector.is_away = True
    with caplog.at_level(logging.WARNING, "perdure.traces"):
        _runs(view, [1])
        assert collector.asked.wait(10)
        queue.flush(10)
    assert "spans do not arrive at there" in caplog.text
    queue.close()
    assert queue.counts == SpanCounts(exported=0, dropped=1, waiting=0)
    assert view.shown() == 1


def test_a_defect_in_showing_does_not_reach_the_shard(
    queue: SpanQueue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    rows: dict[Any, Any] = EVENTS
    monkeypatch.setitem(rows, WorkflowResumed, fail)
    view = queue.open(0, 0)
    run = view.see(None, Seen("wf", "run-1", 1, 1000, [WorkflowStarted(workflow_type="Order")]), 1)
    after = view.see(run, Seen("wf", "run-1", 2, 1500, [WorkflowResumed(input_seq=1)]), 2)
    assert after is run
    assert "run run-1 is not shown: this is a defect" in caplog.text
    queue.flush(10)
    assert view.shown() == 2


def test_what_its_caller_does_not_sample_is_not_sent(
    queue: SpanQueue, collector: Collector
) -> None:
    view = queue.open(0, 0)
    header = with_context({}, TraceContext(7, 8, sampled=False))
    events = [WorkflowStarted(workflow_type="Order", header=header), WorkflowCompleted()]
    view.see(None, Seen("wf", "run-1", 1, 1000, list[Any](events)), 1)
    _runs(view, [2])
    queue.flush(10)
    assert [span.attributes["perdure.run.id"] for span in collector.spans] == ["run-2"]
