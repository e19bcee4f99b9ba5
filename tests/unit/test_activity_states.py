"""The table of an activity's states: every cell of it is taken, and nothing happens beside it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from perdure_actors.core import activities
from perdure_actors.core.activity_states import (
    BACKING_OFF,
    FREE,
    GONE,
    PAUSED,
    ROWS,
    SCHEDULED,
    STARTED,
    TASK,
    Row,
    cells,
    name_of,
    row_of,
)
from perdure_actors.core.deadlines import (
    decide_activity_alarm,
    decide_local_lost,
    decide_worker_lost,
)
from perdure_actors.core.decision import Due
from perdure_actors.core.state import Run
from perdure_schemas import commands as cmd
from perdure_schemas import events as ev
from perdure_schemas import operator_commands as op
from perdure_schemas.payloads import Failure, FailureCause, Payload, ReplyTo, RetryPolicy
from tests.unit.core_world import CoreWorld
from tests.unit.operating_world import pending

Cell = tuple[str, str, str]
Act = Callable[[CoreWorld, Run, random.Random], Any]

BOOM = Failure(chain=[FailureCause(message="boom", type="Boom")])
REPLY = ReplyTo(partition=3, correlation_id="c-1")
SEEDS = 2_500
STEPS = 15


def _report(kind: Any, **fields: Any) -> Act:
    return lambda world, run, rng: world.do(
        world.report(kind, run, worker_id=rng.choice(["w1", "w1", "w2"]), **fields)
    )


def _asked(kind: Any, **fields: Any) -> Act:
    return lambda world, _run, _rng: world.do(kind(workflow_id="wf", activity_id="1", **fields))


def _both(*acts: Act) -> Act:
    def act(world: CoreWorld, run: Run, rng: random.Random) -> None:
        for one in acts:
            one(world, run, rng)

    return act


def _cancel(world: CoreWorld, run: Run, _rng: random.Random) -> None:
    world.record(run.state.run_id, ev.ActivityCancelRequested(activity_id="1"))


def _deadline(world: CoreWorld, run: Run, rng: random.Random) -> None:
    world.pass_ms(rng.choice([1, 200, 1_000, 1_000, 4_000, 30_000]))
    _happens(world, run, decide_activity_alarm(world, run, "1", world.now_ms))


def _lost(world: CoreWorld, run: Run, _rng: random.Random) -> None:
    worker_id = run.activities["1"].worker_id
    if worker_id:
        _happens(world, run, decide_worker_lost(run, "1", worker_id, world.now_ms))
    _happens(world, run, decide_local_lost(run, "1", world.now_ms))


def _happens(world: CoreWorld, run: Run, due: Any) -> None:
    if isinstance(due, Due):
        world.record(run.state.run_id, *due.events)


ACTS: tuple[Act, ...] = (
    _report(cmd.ClaimActivity, reply=REPLY),
    _report(cmd.ClaimActivity, reply=REPLY, wants_grant=True),
    _report(cmd.HandBackActivity),
    _report(cmd.HandBackActivity, reason="worker_shutdown"),
    _report(cmd.HeartbeatActivity, details=[Payload(data=b"1")]),
    _report(cmd.DetachActivity),
    _report(cmd.FailActivity, failure=BOOM),
    _report(cmd.ConfirmActivityCanceled),
    _asked(op.PauseActivity),
    _both(_asked(op.PauseActivity), _asked(op.UnpauseActivity)),
    _both(_asked(op.PauseActivity), _asked(op.ResetActivity, keep_paused=True)),
    _asked(op.UnpauseActivity),
    _asked(op.UnpauseActivity, reset_attempts=True),
    _asked(op.ResetActivity),
    _asked(op.ResetActivity, keep_paused=True),
    _asked(op.RetryActivityNow),
    _asked(op.UpdateActivityOptions, start_to_close_ms=5_000),
    _deadline,
    _deadline,
    _lost,
)
ENDS: tuple[Act, ...] = (
    _report(cmd.CompleteActivity, result=Payload()),
    _asked(op.FailActivityNow, failure=BOOM),
    _cancel,
)


def walk(seed: int) -> None:
    """One activity with which people, workers and time do as they like."""
    rng, world = random.Random(seed), CoreWorld()
    run = world.start()
    world.schedule(
        run,
        local=rng.random() < 0.2,
        on_exhausted=rng.choice(["fail", "pause", "pause"]),
        retry_policy=RetryPolicy(maximum_attempts=rng.choice([0, 1, 2])),
        schedule_to_close_ms=rng.choice([0, 0, 3_000]),
        schedule_to_start_ms=rng.choice([0, 0, 2_000]),
        heartbeat_ms=rng.choice([0, 500]),
    )
    for _ in range(STEPS):
        rng.choice(ENDS if rng.random() < 0.12 else ACTS)(world, run, rng)
        if "1" not in run.activities:
            break
    world.check()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> set[Cell]:
    """The cells that something has taken."""
    found: set[Cell] = set()

    def noted(activity: Any, event: Any) -> Row:
        found.add((activity.state, activity.hold, name_of(activity, event)))
        return row_of(activity, event)

    monkeypatch.setattr(activities, "row_of", noted)
    return found


def untaken(rows: tuple[Row, ...], found: set[Cell]) -> list[Cell]:
    """The cells of a table that nothing has taken."""
    return sorted({cell for cell, _ in cells(rows)} - found)


def test_every_cell_is_taken_and_there_is_no_other_way(taken: set[Cell]) -> None:
    for seed in range(SEEDS):
        walk(seed)

    assert taken <= {cell for cell, _ in cells(ROWS)}
    assert untaken(ROWS, taken) == []
    dead = Row("started", (BACKING_OFF,), (FREE,), STARTED)
    assert untaken((*ROWS, dead), taken) == [(BACKING_OFF, FREE, "started")], "a dead row is found"


def test_no_cell_stands_twice() -> None:
    found = [cell for cell, _ in cells(ROWS)]

    assert len(found) == len(set(found))


def test_what_the_table_does_not_know_is_read_all_the_same() -> None:
    world, run, activity = pending()

    world.record(run.state.run_id, ev.ActivityAttemptScheduled(activity_id="1", attempt=2))

    assert (activity.state, activity.hold, activity.attempt) == (SCHEDULED, FREE, 2)


def test_only_a_next_attempt_is_a_task_and_only_an_attempt_under_way_is_stopped() -> None:
    for (phase, _, event), row in cells(ROWS):
        assert (row.effect == TASK) == (event == "next attempt")
        assert phase in (SCHEDULED, STARTED) or row.effect in ("", TASK)


def test_an_activity_ends_by_its_outcomes_alone() -> None:
    ends = {row.event for row in ROWS if row.phase == GONE}

    assert ends == {"completed", "failed", "failed by a person", "timed out", "canceled"}
    assert {row.hold for row in ROWS if row.phase == PAUSED} == {
        "held",
        "exhausted",
        "exhausted_held",
    }
