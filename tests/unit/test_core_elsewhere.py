"""Attempts that somebody else than their worker reports."""

from __future__ import annotations

from typing import Any

from perdure_actors.core.decision import Decision, Due, Ignored, Rejection
from perdure_actors.core.liveness import Heard
from perdure_schemas import commands as cmd
from perdure_schemas import events as ev
from perdure_schemas.payloads import Payload
from perdure_schemas.replies import Accepted, CanceledAttempt, WorkerOrders
from tests.unit.core_world import NOW_MS
from tests.unit.operating_world import (
    BOOM,
    REPLY,
    alarm,
    claim,
    fail,
    pending,
)

# From elsewhere.


def test_a_detached_attempt_is_nobodys_lease() -> None:
    world, run, activity = pending(heartbeat_ms=5_000)
    claim(world, run)

    world.do(world.report(cmd.DetachActivity, run, identity="w"))

    assert (activity.state, activity.worker_id, activity.reply_partition) == ("started", "", -1)
    assert activity.identity == "w"
    world.pass_ms(5_000)
    due = alarm(world, run)
    assert isinstance(due, Due), "its times go on"
    assert isinstance(due.events[0], ev.ActivityRetryScheduled)
    world.check()


def test_detaching_begins_what_nobody_had_reported() -> None:
    world, run, activity = pending()
    world.pass_ms(300)

    world.do(world.report(cmd.DetachActivity, run))

    assert (activity.state, activity.started_ms) == ("started", NOW_MS + 300)
    stale = world.report(cmd.DetachActivity, run, token=b"no")
    assert isinstance(world.decide(stale), Ignored)


def by_id(kind: Any, **fields: Any) -> Any:
    made = {"workflow_id": "wf", "run_id": "run-1", "activity_id": "1", "attempt": 0, "token": b""}
    return kind(**{**made, "reply": REPLY, **fields})


def test_it_is_reported_by_its_ids_and_the_sender_is_answered() -> None:
    world, run, _ = pending()
    result = Payload(data=b"1")

    verdict = world.do(by_id(cmd.CompleteActivity, result=result))

    assert verdict.steps[0].events == [
        ev.ActivityCompleted(activity_id="1", attempt=1, result=result)
    ]
    assert verdict.answer == Accepted(workflow_id="wf", run_id="run-1", first_run_id="run-1")
    again = world.decide(by_id(cmd.CompleteActivity))
    assert again == Rejection(
        "not_found", "activity '1' of workflow 'wf': no such activity is pending", "run-1"
    )
    assert run.activities == {}


def test_nobody_reports_an_attempt_that_is_not_under_way() -> None:
    world, run, _ = pending()
    fail(world, run)

    verdict = world.decide(by_id(cmd.FailActivity, failure=BOOM))

    assert verdict.message == "activity '1' of workflow 'wf': no attempt of it is under way"


def test_a_heartbeat_from_elsewhere_hears_whether_to_stop() -> None:
    world, run, activity = pending()
    beat = world.report(cmd.HeartbeatActivity, run, reply=REPLY)
    token = world.token(activity.issued)
    heard = (Heard("run-1", "1", NOW_MS),)
    orders = WorkerOrders(token=token, granted=True)
    assert world.decide(beat) == Ignored("", orders, liveness=heard)

    world.record("run-1", ev.ActivityCancelRequested(activity_id="1"))

    stop = CanceledAttempt(token=token, reason="cancel_requested")
    orders = WorkerOrders(token=token, granted=True, canceled=[stop])
    assert world.decide(beat) == Ignored("", orders, liveness=heard)
    told = world.decide(world.report(cmd.HeartbeatActivity, run, reply=REPLY, details=[Payload()]))
    assert isinstance(told, Decision)
    assert told.answer == WorkerOrders(token=token, granted=True, canceled=[stop])


def test_a_report_that_is_asked_again_is_the_same_request() -> None:
    command = by_id(cmd.CompleteActivity)

    assert (command.request_id, command.first_sent_ms) == ("c-1", 0)
    assert by_id(cmd.CompleteActivity, reply=None).request_id == ""
