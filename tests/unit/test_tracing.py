"""Trace contexts and derived ids: what is read of W3C headers, and who wins."""

from __future__ import annotations

import pytest

from perdure_schemas.commands import CancelWorkflow, StartWorkflow
from perdure_schemas.events import WorkflowStarted
from perdure_schemas.payloads import Payload
from perdure_schemas.tracing import (
    TraceContext,
    adopt_headers,
    attempt_span_id,
    parse_context,
    run_span_id,
    span_id_of,
    trace_of,
    with_context,
    with_trace_of,
)

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
PARENT = f"00-{TRACE:032x}-{SPAN:016x}-01"


def test_a_traceparent_is_read_and_written() -> None:
    assert parse_context(PARENT) == TraceContext(TRACE, SPAN)
    assert parse_context(PARENT[:-2] + "00", "a=b") == TraceContext(TRACE, SPAN, False, "a=b")
    assert TraceContext(TRACE, SPAN).header() == PARENT
    assert parse_context(f"cc-{PARENT[3:]}-what-the-future-adds") == TraceContext(TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        "",
        PARENT.upper(),
        PARENT[:-1],
        f"ff-{PARENT[3:]}",
        f"00-{0:032x}-{SPAN:016x}-01",
        f"00-{TRACE:032x}-{0:016x}-01",
        f"{PARENT}-{'x' * 600}",
        "\x00" * 55,
    ],
)
def test_what_is_no_traceparent_names_no_trace(header: str) -> None:
    assert parse_context(header) is None
    command = adopt_headers(_start(), [("traceparent", header.encode())])
    assert command == _start()


def test_a_run_is_in_its_callers_trace_or_in_one_of_its_chain() -> None:
    carried = WorkflowStarted(
        workflow_type="Order", header=with_context({}, TraceContext(TRACE, SPAN, state="a=b"))
    )
    assert trace_of(carried, "run-9") == TraceContext(TRACE, SPAN, state="a=b")
    first = trace_of(WorkflowStarted(workflow_type="Order", first_run_id="run-1"), "run-1")
    later = trace_of(WorkflowStarted(workflow_type="Order", first_run_id="run-1"), "run-2")
    assert first == later == TraceContext(first.trace_id)
    assert first.trace_id.bit_length() > 64
    assert trace_of(WorkflowStarted(workflow_type="Order"), "run-1") == first


def test_ids_are_the_same_everywhere_and_differ_from_each_other() -> None:
    ids = {
        run_span_id("run-1"),
        run_span_id("run-2"),
        span_id_of("run-1", 2),
        span_id_of("run-1", 2, "mark"),
        attempt_span_id("run-1", 2, 1),
        attempt_span_id("run-1", 2, 2),
    }
    assert len(ids) == 6
    # Kept for ever: an id that changed would be a second span in a trace exported again.
    assert run_span_id("run-1") == 0xB3A66FF203CF84DE
    assert attempt_span_id("run-1", 2, 1) == 0x5D0394D0E3C11466


def test_a_commands_own_header_wins_over_its_records() -> None:
    place = TraceContext(TRACE, SPAN)
    headers = [
        ("perdure-reply", b"0|x|0"),
        ("traceparent", PARENT.encode()),
        ("tracestate", b"k=v"),
    ]
    assert adopt_headers(_start(), headers) == _start(with_context({}, place._replace(state="k=v")))
    own = _start(with_context({}, TraceContext(7, 8)))
    assert adopt_headers(own, headers) is own
    cancel = CancelWorkflow(workflow_id="wf")
    assert adopt_headers(cancel, headers) is cancel


def test_the_trace_goes_on_with_the_chain_when_the_header_is_new() -> None:
    before = with_context({}, TraceContext(TRACE, SPAN, state="a=b"))
    assert with_trace_of({}, before) == before
    other = with_context({}, TraceContext(7, 8))
    assert with_trace_of(other, before) == other


def _start(header: dict[str, Payload] | None = None) -> StartWorkflow:
    return StartWorkflow(workflow_id="wf", workflow_type="Order", header=header or {})
