"""The payloads of records are found and replaced wherever they sit."""

from __future__ import annotations

import pytest

from perdure_schemas import commands, events, payloads, replies, tasks
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.events import ActivityFailed, TimerFired, WorkflowStarted
from perdure_schemas.payload_places import NEVER, payloads_in, with_payloads
from perdure_schemas.payloads import Failure, FailureCause, Payload, Record, SignalInput
from perdure_schemas.replies import PendingActivity, RunDescription, RunSummary


def p(text: str) -> Payload:
    return Payload(data=text.encode())


def names(record: Record, *, headers: bool = False) -> list[str]:
    return [payload.data.decode() for payload in payloads_in(record, headers=headers)]


def upper(record: Record, *, headers: bool = False) -> list[Payload]:
    found = payloads_in(record, headers=headers)
    return [Payload(data=payload.data.upper()) for payload in found]


START = StartWorkflow(
    workflow_id="w",
    workflow_type="W",
    input=[p("a"), p("b")],
    memo={"m": p("c")},
    search_attributes={"s": p("kept")},
    header={"h": p("header")},
    static_summary=p("d"),
    signals=[SignalInput(signal_name="s", input=[p("e")], header={"h": p("inner")})],
)


def test_payloads_are_found_in_order_without_search_attributes_and_headers() -> None:
    assert sorted(names(START)) == ["a", "b", "c", "d", "e"]


def test_headers_are_found_where_they_are_asked_for() -> None:
    assert sorted(names(START, headers=True)) == ["a", "b", "c", "d", "e", "header", "inner"]


def test_payloads_are_replaced_in_their_places() -> None:
    changed = with_payloads(START, upper(START))

    assert changed == StartWorkflow(
        workflow_id="w",
        workflow_type="W",
        input=[p("A"), p("B")],
        memo={"m": p("C")},
        search_attributes={"s": p("kept")},
        header={"h": p("header")},
        static_summary=p("D"),
        signals=[SignalInput(signal_name="s", input=[p("E")], header={"h": p("inner")})],
    )


def test_failures_are_reached() -> None:
    failure = Failure(
        chain=[
            FailureCause(details=[p("a")], encoded=p("b")),
            FailureCause(last_heartbeat_details=[p("c")]),
        ]
    )
    event = ActivityFailed(activity_id="1", failure=failure, attempt=1)

    assert sorted(names(event)) == ["a", "b", "c"]
    again = with_payloads(event, upper(event))
    assert sorted(names(again)) == ["A", "B", "C"]


def test_what_lies_deep_is_reached() -> None:
    summary = RunSummary(
        workflow_id="w", run_id="r", workflow_type="W", status="running", start_ms=1
    )
    pending = PendingActivity(
        activity_id="1", activity_type="a", state="x", attempt=1, heartbeat_details=[p("deep")]
    )

    found = RunDescription(summary=summary, pending_activities=[pending])

    assert names(found) == ["deep"]


def test_a_record_without_payloads_is_the_same_one() -> None:
    event = TimerFired(timer_id="1")

    assert payloads_in(event) == []
    assert with_payloads(event, []) is event


def classes() -> list[type[Record]]:
    modules = (commands, events, payloads, replies, tasks)
    found = {
        item
        for module in modules
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Record) and item is not Record
    }
    return sorted(found, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_no_field_that_says_payload_is_passed_over(kind: type[Record]) -> None:
    """A field of a new shape would be left out of encryption in silence."""
    from perdure_schemas.payload_places import _walk_of

    for name, hint in kind.__annotations__.items():
        if name in NEVER or "Payload" not in str(hint):
            continue
        walk = _walk_of(kind, True)
        assert walk is not None
        # The cells of a struct's walk hold the walks of its fields.
        fields = [cell.cell_contents for cell in walk.__closure__ or ()]
        assert any(isinstance(held, dict) and name in held for held in fields), name


def test_a_started_event_is_walked_like_its_command() -> None:
    event = WorkflowStarted(workflow_type="W", input=[p("a")], memo={"m": p("b")})

    assert sorted(names(event)) == ["a", "b"]
