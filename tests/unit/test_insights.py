"""Figures and findings: each record once, however often it comes, and each finding in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure_schemas import events as ev
from perdure_schemas.avro import encode
from perdure_schemas.operator_events import ActivityPaused, ActivityUnpaused
from perdure_schemas.payloads import Failure, FailureCause, Record
from perdure_schemas.transition import EpochBump, Outcome, Transition, TransitionBody
from perdure_topics.ports import StoredRecord
from perdure_views.insights.aggregate import place_of, take
from perdure_views.insights.rows import (
    RUNS,
    WINDOWS,
    decode_figures,
    decode_run,
    percentile,
    windows_at,
)
from perdure_views.insights.rules import NOT_STARTED_MS, STUCK_MS, quiet_notices
from perdure_views.insights.windows import summary, unsummed, windows

START_MS = 1_700_000_040_000
DECLINED = Failure(chain=[FailureCause(message="card declined", type="CardError")])


class Partition:
    """An events partition in the making."""

    def __init__(self) -> None:
        bump = EpochBump(epoch=1, nonce=b"n", input_topic_id="t", owner="host", time_ms=START_MS)
        self.records = [self._stored(0, encode(bump))]
        self._seqs: dict[str, int] = {}

    def happens(
        self, run: str, *events: Record, at_ms: int = START_MS, dead: str = "", epoch: int = 1
    ) -> None:
        """A transition of a run; of a zombie when its epoch is another."""
        offset = len(self.records)
        pseq = sum(1 for r in self.records[1:] if r.key == b"counts") + 1
        seq = self._seqs.get(run, 0) + 1
        if epoch == 1:
            self._seqs[run] = seq + len(events) - 1
        body = TransitionBody(
            workflow_id=f"w-{run}" if run else "",
            run_id=run,
            seq=seq if run else 0,
            events=[encode(event) for event in events],
            outcomes=[Outcome(offset=7, outcome="dead", reason=dead)] if dead else [],
        )
        envelope = Transition(
            epoch=epoch,
            nonce=b"n",
            pseq=pseq,
            after=-1,
            upto=-1,
            dispatched=0,
            time_ms=at_ms,
            body=encode(body),
        )
        stored = self._stored(offset, encode(envelope))
        self.records.append(stored._replace(key=b"counts" if epoch == 1 else b"zombie"))

    @staticmethod
    def _stored(offset: int, value: bytes) -> StoredRecord:
        return StoredRecord("default.orders.events", 0, offset, b"", value, (), START_MS)


class Rows:
    """The rows of a partition in memory, and what was found."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.found: list[Any] = []

    def take(self, record: StoredRecord, *, crash_after: int | None = None) -> None:
        """Take a record; a crash leaves the first changes only."""
        changes, found = take(self.rows.get, record, "orders")
        for key, value in changes[:crash_after]:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
        if crash_after is None:
            self.found += found

    def summary(self) -> list[dict[str, Any]]:
        rows = [(k, decode_figures(v)) for k, v in self.rows.items() if k.startswith(WINDOWS)]
        return summary(rows)

    @property
    def runs(self) -> list[Any]:
        return [decode_run(v) for k, v in self.rows.items() if k.startswith(RUNS)]


def busy() -> Partition:
    """Two orders, one refused once and one that fails; a zombie in between."""
    log = Partition()
    started = ev.WorkflowStarted(workflow_type="Order")
    charge = ev.ActivityScheduled(activity_id="1", activity_type="charge", start_to_close_ms=1000)
    log.happens("a", started, charge)
    log.happens("b", started, charge, at_ms=START_MS + 10)
    log.happens("a", ev.WorkflowTerminated(), at_ms=START_MS + 11, epoch=0)
    retry = ev.ActivityRetryScheduled(activity_id="1", attempt=1, failure=DECLINED, due_ms=START_MS)
    log.happens("a", retry, at_ms=START_MS + 20)
    log.happens("a", ev.ActivityAttemptScheduled(activity_id="1", attempt=2), at_ms=START_MS + 21)
    log.happens(
        "a",
        ev.ActivityCompleted(activity_id="1", attempt=2),
        ev.WorkflowCompleted(),
        at_ms=START_MS + 100,
    )
    failed = ev.ActivityFailed(activity_id="1", attempt=1, failure=DECLINED)
    log.happens("b", failed, ev.WorkflowFailed(failure=DECLINED), at_ms=START_MS + 61_000)
    return log


def test_figures_are_counted_by_window_and_type() -> None:
    rows = Rows()
    for record in busy().records:
        rows.take(record)

    minutes = [row for row in rows.summary() if row["window_s"] == 60]
    assert [(row["started"], row["closed"]) for row in minutes] == [
        (0, {"failed": 1}),
        (2, {"completed": 1}),
    ]
    assert minutes[1]["attempts_failed"] == 1
    assert minutes[1]["failures"] == {"CardError": 1}
    assert minutes[1]["activities"] == 1
    assert minutes[1]["p50_ms"] == 128
    hops = [row for row in rows.summary() if row["window_s"] == 300]
    assert len(hops) == 6
    assert max(row["started"] for row in hops) == 2
    assert rows.runs == []


@given(st.data())
def test_a_crash_anywhere_and_records_that_come_again_change_no_figure(data: st.DataObject) -> None:
    records = busy().records
    whole = Rows()
    for record in records:
        whole.take(record)

    rows, at = Rows(), 0
    for _ in range(data.draw(st.integers(0, 6))):
        # Some are taken, the next is cut off in the middle, and the group goes back a little.
        upto = data.draw(st.integers(min(at, len(records) - 1), len(records) - 1))
        for record in records[at:upto]:
            rows.take(record)
        rows.take(records[upto], crash_after=data.draw(st.integers(0, 12)))
        at = data.draw(st.integers(0, place_of(rows.rows.get).next_offset))
    for record in records[at:]:
        rows.take(record)

    assert rows.rows == whole.rows


def test_a_blocked_run_is_found_with_both_sides() -> None:
    log, rows = Partition(), Rows()
    blocked = ev.WorkflowBlocked(
        cause="nondeterminism",
        message="at event 4",
        recorded="activity charge",
        produced="timer 1 at app.py:7",
    )
    log.happens("a", ev.WorkflowStarted(workflow_type="Order"), blocked)
    for record in log.records:
        rows.take(record)

    (found,) = rows.found
    assert (found.kind, found.workflow_id, found.run_id) == ("blocked", "w-a", "a")
    assert found.message == "workflow w-a is blocked (nondeterminism): at event 4"
    assert "timer 1 at app.py:7 where activity charge is recorded" in found.cause
    assert "workflow.patched()" in found.remedy


@pytest.mark.parametrize(("attempt", "told"), [(4, False), (5, True), (6, False), (10, True)])
def test_an_activity_that_keeps_failing_is_told_now_and_then(attempt: int, told: bool) -> None:
    log, rows = Partition(), Rows()
    charge = ev.ActivityScheduled(activity_id="1", activity_type="charge")
    log.happens("a", ev.WorkflowStarted(workflow_type="Order"), charge)
    retry = ev.ActivityRetryScheduled(
        activity_id="1", attempt=attempt, failure=DECLINED, due_ms=START_MS + 60_000
    )
    log.happens("a", retry)
    for record in log.records:
        rows.take(record)

    assert [found.message for found in rows.found] == [
        (
            f"activity charge of workflow w-a failed {attempt} times: card declined;"
            " the next attempt is at 2023-11-14 22:15:00 UTC"
        )
    ] * told


def test_poison_late_timers_and_long_histories_are_found() -> None:
    log, rows = Partition(), Rows()
    log.happens("", dead="not Avro")
    log.happens("a", ev.WorkflowStarted(workflow_type="Order"))
    log.happens("a", ev.TimerStarted(timer_id="1", duration_ms=1_000))
    log.happens("a", ev.TimerFired(timer_id="1"), at_ms=START_MS + 9_000)
    log._seqs["a"] = 9_999
    log.happens("a", ev.TimerStarted(timer_id="2", duration_ms=1))
    for record in log.records:
        rows.take(record)

    assert [(found.kind, found.message) for found in rows.found] == [
        ("poison", "the command at offset 7 could not be taken: not Avro"),
        ("timer_late", "a timer of workflow w-a fired 8.0 s late"),
        ("history_large", "the history of workflow w-a has 10000 events and 0.0 MiB"),
    ]


def test_silence_is_told_by_what_is_waited_for() -> None:
    log, rows = Partition(), Rows()
    charge = ev.ActivityScheduled(activity_id="1", activity_type="charge", task_queue="gpu")
    log.happens("a", ev.WorkflowStarted(workflow_type="Order"), charge)
    for record in log.records:
        rows.take(record)
    (run,) = rows.runs

    assert list(quiet_notices(run, "orders", START_MS + NOT_STARTED_MS)) == []
    (waits,) = quiet_notices(run, "orders", START_MS + NOT_STARTED_MS + 1)
    assert waits.kind == "no_worker"
    assert "on task queue gpu: no worker has taken it" in waits.message
    log.happens("a", ev.ActivityStarted(activity_id="1", attempt=1))
    rows.take(log.records[-1])
    (run,) = rows.runs
    assert list(quiet_notices(run, "orders", START_MS + STUCK_MS)) == []
    (hangs,) = quiet_notices(run, "orders", START_MS + STUCK_MS + 1)
    assert (hangs.kind, "it waits for activity charge" in hangs.message) == ("stuck", True)
    assert hangs.finding_id == "stuck/a/1/1"


def test_a_paused_activity_waits_for_a_person_and_not_for_a_worker() -> None:
    log, rows = Partition(), Rows()
    charge = ev.ActivityScheduled(activity_id="1", activity_type="charge")
    paused = ActivityPaused(activity_id="1", reason="bank holiday")
    log.happens("a", ev.WorkflowStarted(workflow_type="Order"), charge, paused)
    for record in log.records:
        rows.take(record)
    (run,) = rows.runs

    assert list(quiet_notices(run, "orders", START_MS + STUCK_MS)) == []
    log.happens("a", ActivityUnpaused(activity_id="1", due_ms=START_MS))
    rows.take(log.records[-1])
    (run,) = rows.runs
    assert [one.kind for one in quiet_notices(run, "orders", START_MS + STUCK_MS)] == ["no_worker"]


def test_an_activity_without_an_attempt_left_is_told() -> None:
    log, rows = Partition(), Rows()
    charge = ev.ActivityScheduled(activity_id="1", activity_type="charge")
    out = ActivityPaused(activity_id="1", failure=DECLINED, attempt=3)
    log.happens("a", ev.WorkflowStarted(workflow_type="Order"), charge, out)
    for record in log.records:
        rows.take(record)

    (found,) = rows.found
    assert (found.kind, found.workflow_id) == ("exhausted", "w-a")
    assert "charge of workflow w-a has no attempt left after 3: card declined" in found.message
    assert [one.exhausted for run in rows.runs for one in run.activities.values()] == [True]


def test_figures_that_were_written_out_add_up_to_the_same() -> None:
    rows = Rows()
    for record in busy().records:
        rows.take(record)

    again = unsummed(rows.summary())
    fives = windows(again, length_s=300, since_s=0)
    twice = windows([*again, *again], length_s=60, since_s=0, workflow_type="Order")

    assert summary(again) == rows.summary()
    assert [(one.started, one.closed) for one in fives.values()] == [
        (2, {"completed": 1}),
        (0, {"failed": 1}),
    ]
    assert [one.started for one in twice.values()] == [4, 0]
    assert windows(again, length_s=60, since_s=0, workflow_type="Other") == {}
    assert list(windows(again, length_s=60, since_s=START_MS // 1000 + 1)) == [
        START_MS // 1000 + 60
    ]


def test_windows_and_percentiles() -> None:
    assert windows_at(299_000) == [
        (60, 240),
        (300, 0),
        (300, 60),
        (300, 120),
        (300, 180),
        (300, 240),
    ]
    assert percentile({}, 0.5) is None
    assert percentile({3: 99, 10: 1}, 0.5) == 8
    assert percentile({3: 99, 10: 1}, 0.999) == 1024
