"""Cron: when a schedule is due, what a run that ends by one is followed by, and what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure_actors.core import cron, rules
from perdure_actors.core.decision import Decision, Due, Rejection, Step
from perdure_actors.core.execution import decide_run_alarm
from perdure_actors.core.next_run import decide_next_run
from perdure_actors.core.state import Run
from perdure_schemas import events as ev
from perdure_schemas.commands import CancelWorkflow, StartWorkflow
from perdure_schemas.payloads import Failure, FailureCause, Payload, Record, RetryPolicy
from tests.unit.core_world import NOW_MS, CoreWorld

HOUR_MS = 3_600_000
BOOM = Failure(chain=[FailureCause(message="boom")])
# NOW_MS is 00:16:40 on the first day of 1970.
QUARTER_MS = 30 * 60_000


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def due(schedule: str, after: int, began_ms: int = 0) -> int:
    return cron.next_due_ms(schedule, after, began_ms=began_ms)


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("30 9 * * MON-FRI", "2026-03-06T09:30", "2026-03-09T09:30"),
        ("30 9 * * mon-fri", "2026-03-06T09:29:59", "2026-03-06T09:30"),
        ("@daily", "2026-03-06T00:00", "2026-03-07T00:00"),
        ("@Midnight", "2026-03-06T23:59:59.999", "2026-03-07T00:00"),
        ("@hourly", "2026-03-06T10:00:00.001", "2026-03-06T11:00"),
        ("@weekly", "2026-03-06T00:00", "2026-03-08T00:00"),
        ("@monthly", "2026-03-06T00:00", "2026-04-01T00:00"),
        ("@yearly", "2026-03-06T00:00", "2027-01-01T00:00"),
        ("@annually", "2026-03-06T00:00", "2027-01-01T00:00"),
        ("0 0 29 2 *", "2026-03-06T00:00", "2028-02-29T00:00"),
        ("*/15 * * * *", "2026-03-06T10:07", "2026-03-06T10:15"),
    ],
)
def test_when_a_schedule_is_due_in_utc(schedule: str, after: str, expected: str) -> None:
    assert due(schedule, at(after)) == at(expected)


def test_a_zone_stands_in_front() -> None:
    for name in ("CRON_TZ", "TZ"):
        found = due(f"{name}=America/New_York 0 9 * * *", at("2026-07-01T00:00"))
        assert found == at("2026-07-01T09:00", "America/New_York")


def test_a_local_time_that_is_skipped_is_due_right_after_the_change() -> None:
    before = at("2026-03-28T12:00", "Europe/Berlin")

    skipped = due("CRON_TZ=Europe/Berlin 30 2 * * *", before)

    assert skipped == at("2026-03-29T03:00", "Europe/Berlin")
    assert due("CRON_TZ=Europe/Berlin 30 2 * * *", skipped) == at(
        "2026-03-30T02:30", "Europe/Berlin"
    )


def test_a_local_time_that_is_doubled_is_due_once_the_first_time() -> None:
    first = due("CRON_TZ=Europe/Berlin 30 2 * * *", at("2026-10-24T12:00", "Europe/Berlin"))

    assert first == at("2026-10-25T00:30")
    assert due("CRON_TZ=Europe/Berlin 30 2 * * *", first) == at("2026-10-26T01:30")


@pytest.mark.parametrize(
    ("schedule", "after_ms", "expected"),
    [
        ("@every 10s", 0, 10_500),
        ("@every 10s", 10_499, 10_500),
        ("@every 10s", 10_500, 20_500),
        ("@every 1h30m", 500, 500 + 90 * 60_000),
        ("@every 1.5s", 500, 2_000),
        ("@every 1500ms", 500, 2_000),
        ("CRON_TZ=Europe/Berlin @every 1h", 500, 500 + HOUR_MS),
    ],
)
def test_intervals_count_from_the_first_run(schedule: str, after_ms: int, expected: int) -> None:
    assert due(schedule, after_ms, began_ms=500) == expected


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("", "wrong number of fields"),
        ("* * * *", "wrong number of fields"),
        ("61 * * * *", "bad minute"),
        ("* * * * XXX", "bad day-of-week"),
        ("CRON_TZ=Europe/Atlantis * * * * *", "there is no time zone 'Europe/Atlantis'"),
        ("CRON_TZ=../../etc/passwd * * * * *", "there is no time zone"),
        ("@every", "'' is no interval"),
        ("@every soon", "'soon' is no interval"),
        ("@every 1h later", "is no interval"),
        ("@every 500ms", "at least a second"),
        ("@sometimes", "wrong number of fields"),
        ("* " * 600, "at most 1000 characters"),
        ("0 0 30 2 *", "bad day-of-month"),
    ],
)
def test_a_schedule_that_cannot_be_followed_is_refused_with_what_to_write(
    schedule: str, words: str
) -> None:
    assert words in cron.problem_of(schedule)


@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
    st.integers(0, 59),
    st.integers(at("2025-01-01T00:00") // 60_000, at("2027-12-31T00:00") // 60_000),
)
def test_every_so_many_minutes_agrees_with_looking_at_the_clock(
    zone: str, minute: int, after_min: int
) -> None:
    """A brute-force reference: walk minute by minute until the clock on the wall shows it."""
    moment = datetime.fromtimestamp(after_min * 60, UTC) + timedelta(minutes=1)
    while moment.astimezone(ZoneInfo(zone)).minute != minute:
        moment += timedelta(minutes=1)

    found = due(f"CRON_TZ={zone} {minute} * * * *", after_min * 60_000)

    # A clock that jumps over the minute has no such hour: it is due right after the jump.
    assert found <= int(moment.timestamp() * 1000)
    local = datetime.fromtimestamp(found / 1000, UTC).astimezone(ZoneInfo(zone))
    before = (datetime.fromtimestamp(found / 1000 - 60, UTC)).astimezone(ZoneInfo(zone))
    jumped = local.utcoffset() != before.utcoffset()
    assert local.minute == minute or jumped


# -- runs --


@pytest.fixture
def world() -> Iterator[CoreWorld]:
    made = CoreWorld()
    yield made
    made.check()


def cron_run(world: CoreWorld, **fields: Any) -> Run:
    """A run of a schedule of every half hour, whose code has begun."""
    run = world.start(cron_schedule="*/30 * * * *", **fields)
    if not run.state.begun:
        world.now_ms = run.state.begin_ms
        world.record(run.state.run_id, ev.TimerFired(timer_id=""))
    return run


def settled(world: CoreWorld, run: Run, output: Record) -> Any:
    return rules.settle(world, run, output, world.now_ms)


def end(world: CoreWorld, run: Run, output: Record) -> Any:
    world.record(run.state.run_id, output)
    return run.actor.next_start


def follow(world: CoreWorld, run: Run) -> Run:
    step = decide_next_run(run.actor, world.now_ms)
    assert isinstance(step, Step), "it begins at once"
    return world.record(step.run_id, *step.events)


def test_the_first_run_waits_for_its_time_and_is_there_meanwhile(world: CoreWorld) -> None:
    run = world.start(cron_schedule="*/30 * * * *", run_timeout_ms=5)

    assert (run.state.begun, run.state.begin_ms) == (False, QUARTER_MS)
    assert run.state.run_expires_ms == QUARTER_MS + 5, "waiting is not running"
    assert run.started.cron_schedule == "*/30 * * * *"
    due_now = decide_run_alarm(world, run, "", QUARTER_MS)
    assert due_now == Due([ev.TimerFired(timer_id="")])


def test_what_a_run_returns_reaches_the_next_which_begins_at_once_and_waits(
    world: CoreWorld,
) -> None:
    run = cron_run(world)
    world.pass_ms(1_000)
    result = Payload(data=b"1")

    begins = end(world, run, ev.WorkflowCompleted(result=result))

    assert run.state.closing is not None
    assert run.state.closing.next_run_id == "run-2"
    assert (begins.last_result, begins.last_failure) == (result, None)
    assert (begins.attempt, begins.initiator) == (1, "cron")
    assert begins.first_activation_delay_ms == QUARTER_MS - 1_000
    following = follow(world, run)
    assert (following.state.begun, following.state.begin_ms) == (False, 2 * QUARTER_MS)
    assert following.started.continued_run_id == "run-1"
    assert following.state.first_run_id == "run-1"


def test_a_failure_reaches_the_next_run_and_the_last_result_stays(world: CoreWorld) -> None:
    run = cron_run(world)
    end(world, run, ev.WorkflowCompleted(result=Payload(data=b"1")))
    second = follow(world, run)
    world.now_ms = second.state.begin_ms
    world.record("run-2", ev.TimerFired(timer_id=""))

    begins = end(world, second, ev.WorkflowFailed(failure=BOOM))

    assert (begins.last_result, begins.last_failure) == (Payload(data=b"1"), BOOM)
    assert begins.initiator == "cron"
    third = follow(world, second)
    world.now_ms = third.state.begin_ms
    world.record("run-3", ev.TimerFired(timer_id=""))
    begins = end(world, third, ev.WorkflowCompleted(result=Payload(data=b"3")))
    assert (begins.last_result, begins.last_failure) == (Payload(data=b"3"), None)


def test_attempts_come_first_and_then_the_schedule(world: CoreWorld) -> None:
    policy = RetryPolicy(initial_interval_ms=100, maximum_attempts=2)
    run = cron_run(world, retry_policy=policy)

    begins = end(world, run, ev.WorkflowFailed(failure=BOOM))

    assert (begins.attempt, begins.initiator) == (2, "retry")
    assert run.actor.alarm_ms == world.now_ms + 100
    world.pass_ms(100)
    second = follow(world, run)
    begins = end(world, second, ev.WorkflowFailed(failure=BOOM))
    assert (begins.attempt, begins.initiator) == (1, "cron")
    assert begins.first_activation_delay_ms == QUARTER_MS - 100


def test_a_run_that_outlives_its_time_is_followed_by_the_schedule(world: CoreWorld) -> None:
    run = cron_run(world, run_timeout_ms=60_000)
    world.pass_ms(60_000)

    verdict = decide_run_alarm(world, run, "", world.now_ms)

    assert isinstance(verdict, Due)
    (timed_out,) = verdict.events
    assert isinstance(timed_out, ev.WorkflowTimedOut)
    assert (timed_out.timeout_type, timed_out.next_run_delay_ms) == ("run", QUARTER_MS - 60_000)
    begins = end(world, run, timed_out)
    assert begins.last_failure.chain[0].kind == "timeout"


def test_no_run_begins_after_the_execution_has_expired(world: CoreWorld) -> None:
    run = cron_run(world, execution_timeout_ms=QUARTER_MS)

    done = settled(world, run, ev.WorkflowCompleted())

    assert done == ev.WorkflowCompleted()
    assert end(world, run, done) is None


def test_a_cancelled_or_terminated_run_ends_the_chain(world: CoreWorld) -> None:
    run = cron_run(world)
    assert end(world, run, ev.WorkflowCanceled()) is None
    other = world.start("other", cron_schedule="@daily")
    assert end(world, other, ev.WorkflowTerminated()) is None


def test_cancelling_a_run_that_waits_for_its_time_ends_the_chain(world: CoreWorld) -> None:
    world.start(cron_schedule="@daily")

    verdict = world.do(CancelWorkflow(workflow_id="wf"))

    assert isinstance(verdict, Decision)
    assert [type(event) for event in verdict.steps[0].events] == [
        ev.WorkflowCancelRequested,
        ev.WorkflowCanceled,
    ]
    assert world.runs["run-1"].actor.next_run_id == ""


def test_a_result_too_large_fails_the_run_and_not_the_chain(world: CoreWorld) -> None:
    run = cron_run(world)
    large = Payload(data=b"x" * (world.limits.result_bytes_max + 1))

    failed = settled(world, run, ev.WorkflowCompleted(result=large))

    assert isinstance(failed, ev.WorkflowFailed)
    assert failed.next_run_id


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cron_schedule": "soon"}, "cron schedule 'soon'"),
        ({"cron_schedule": "@daily", "start_delay_ms": 5}, "start_delay cannot be given with"),
    ],
)
def test_a_start_with_a_schedule_that_cannot_be_followed_is_refused(
    world: CoreWorld, fields: dict[str, Any], words: str
) -> None:
    start = StartWorkflow(workflow_id="wf", workflow_type="Order", **fields)

    verdict = world.decide(start)

    assert isinstance(verdict, Rejection)
    assert verdict.code == "invalid"
    assert words in verdict.message
    assert world.now_ms == NOW_MS
