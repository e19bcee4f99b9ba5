"""The actor of a schedule, played by hand: what it starts, skips, misses and goes on with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perdure._schedules.schedule import ScheduleOverlapPolicy as Overlap
from perdure._schedules.schedule import SchedulePolicy, ScheduleState
from perdure._schedules.schedule_records import (
    LISTED_KEY,
    ActionRecord,
    Described,
    Listed,
    ScheduleRecord,
    SchedulerState,
    decode_described,
    decode_listed,
    decode_state,
    encode,
)
from perdure._schedules.scheduler import Scheduler
from perdure._schedules.spec import ScheduleIntervalSpec, ScheduleSpec
from perdure.workflow._info import HISTORY_LENGTH_SUGGESTED_MAX as LONG
from perdure_actors.core.timers import TIMER_MS_MAX
from perdure_schemas import child_events as ce
from perdure_schemas.events import TimerStarted, WorkflowContinuedAsNew
from perdure_schemas.fact_events import MemoUpserted, SearchAttributesUpserted
from perdure_schemas.payloads import CarriedChild, Failure, FailureCause, Payload
from tests.unit.player import CONVERTER, Play, Player

HOURLY = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(hours=1))])
YEARLY = ScheduleSpec(cron_expressions=["0 0 1 1 *"])
# The player begins on 2023-11-14 at 22:13:20.
ELEVEN = datetime(2023, 11, 14, 23, tzinfo=UTC)
HOUR_S = 3600


@pytest.fixture
def made(play: Play) -> Callable[..., Player]:
    """A schedule that has begun; what it holds is checked by a replay when the test ends."""

    def make(spec: ScheduleSpec = HOURLY, **facts: Any) -> Player:
        record = ScheduleRecord(ActionRecord("Report", "report", "q"), spec, **facts)
        return play(Scheduler, encode(SchedulerState("s", record)))

    return make


def asked(player: Player) -> list[str]:
    """The ids of the workflows that it asked for just now."""
    found = [one for one in player.outputs if isinstance(one, ce.ChildWorkflowInitiated)]
    return [one.workflow_id for one in found]


def children(player: Player) -> list[ce.ChildWorkflowInitiated]:
    return [one for one in player.all_outputs if isinstance(one, ce.ChildWorkflowInitiated)]


def wake(player: Player, *, after_s: float = 0.0) -> None:
    """The timer that it asked for last is due, or later than that."""
    timers = [one for one in player.all_outputs if isinstance(one, TimerStarted)]
    timer = timers[-1]
    player.fire(timer.timer_id, after_s=max(after_s, timer.duration_ms / 1000))


def begun(player: Player, child_id: str) -> None:
    player.give(ce.ChildWorkflowStarted(child_id=child_id, run_id=f"run-{child_id}"))


def completed(player: Player, child_id: str, result: Any = None) -> None:
    payload = CONVERTER.to_payload(result)
    player.give(
        ce.ChildWorkflowCompleted(child_id=child_id, run_id=f"run-{child_id}", result=payload)
    )


def described(player: Player) -> Described:
    return decode_described(player.query("describe"))


def listed(player: Player) -> Listed:
    memos = [one for one in player.all_outputs if isinstance(one, MemoUpserted)]
    data: bytes = CONVERTER.from_payload(memos[-1].memo[LISTED_KEY], bytes)
    return decode_listed(data)


def test_it_starts_a_workflow_at_its_time_that_is_found_by_its_schedule(
    made: Callable[..., Player],
) -> None:
    player = made()

    wake(player)

    (child,) = children(player)
    assert child.workflow_id == "report-2023-11-14T23:00:00Z"
    assert child.parent_close_policy == "abandon"
    found = {key: CONVERTER.from_payload(one) for key, one in child.search_attributes.items()}
    assert found == {
        "TemporalScheduledById": "s",
        "TemporalScheduledStartTime": "2023-11-14T23:00:00Z",
    }
    shown = listed(player)
    assert (shown.workflow, shown.num_actions, shown.num_running) == ("Report", 1, 1)
    assert shown.next_times[0] == ELEVEN + timedelta(hours=1)
    (upserted,) = [one for one in player.all_outputs if isinstance(one, SearchAttributesUpserted)][
        :1
    ]
    assert CONVERTER.from_payload(upserted.search_attributes["ScheduleId"]) == "s"


def test_it_waits_in_parts_for_what_is_further_than_a_timer_reaches(
    made: Callable[..., Player],
) -> None:
    late = datetime(2180, 1, 1, tzinfo=UTC)
    player = made(spec=ScheduleSpec(intervals=HOURLY.intervals, start_at=late))

    longest_ms = 0
    while not asked(player):
        (timer,) = [one for one in player.outputs if isinstance(one, TimerStarted)]
        longest_ms = max(longest_ms, timer.duration_ms)
        wake(player)

    assert longest_ms <= TIMER_MS_MAX
    assert asked(player) == ["report-2180-01-01T00:00:00Z"]


def test_what_was_due_while_it_was_away_is_caught_up_with_within_its_window(
    made: Callable[..., Player],
) -> None:
    policy = SchedulePolicy(Overlap.ALLOW_ALL, catchup_window=timedelta(hours=2, minutes=30))
    player = made(policy=policy)

    # It is 04:13:20 when somebody hears of it again.
    wake(player, after_s=6 * HOUR_S)

    assert [one[-9:] for one in asked(player)] == ["02:00:00Z", "03:00:00Z", "04:00:00Z"]
    found = described(player)
    assert found.standing.num_missed == 3
    assert [one.reason for one in found.standing.recent] == [
        "missed: it was due before the catch-up window"
    ] * 3
    wake(player)
    assert [one[-9:] for one in asked(player)] == ["05:00:00Z"]


def test_a_changed_schedule_does_not_catch_up_with_times_that_it_did_not_have(
    made: Callable[..., Player],
) -> None:
    player = made(YEARLY)
    player.time_ms += 5 * HOUR_S * 1000
    other = ScheduleRecord(ActionRecord("Report", "report", "q"), HOURLY)

    player.update("update", encode(other))

    assert asked(player) == []
    wake(player)
    assert asked(player) == ["report-2023-11-15T04:00:00Z"]


def test_a_paused_schedule_sleeps_and_goes_on_from_when_it_is_told(
    made: Callable[..., Player],
) -> None:
    player = made()
    player.update("pause", "so")
    timers = len([one for one in player.all_outputs if isinstance(one, TimerStarted)])
    assert listed(player).state.paused

    player.time_ms += 2000 * HOUR_S * 1000
    player.update("unpause", "go", update_id="u2")

    assert asked(player) == []
    assert described(player).standing.num_missed == 0
    assert len([one for one in player.all_outputs if isinstance(one, TimerStarted)]) == timers + 1
    wake(player)
    assert len(asked(player)) == 1
    player.update("trigger", 0, update_id="u3")


def test_what_waits_when_the_last_action_is_taken_is_dropped_and_said(
    made: Callable[..., Player],
) -> None:
    player = made(
        policy=SchedulePolicy(overlap=Overlap.BUFFER_ALL),
        state=ScheduleState(limited_actions=True, remaining_actions=2),
    )
    wake(player)
    begun(player, "1")
    wake(player)
    wake(player)

    completed(player, "1")
    begun(player, "2")
    completed(player, "2")

    assert len(children(player)) == 2
    standing = described(player).standing
    assert standing.num_skipped == 1
    assert standing.recent[-1].reason == (
        "dropped: the schedule had taken all its actions meanwhile"
    )


def test_one_that_is_skipped_is_none_of_those_it_is_limited_to(
    made: Callable[..., Player],
) -> None:
    player = made(state=ScheduleState(limited_actions=True, remaining_actions=2))
    wake(player)
    begun(player, "1")

    wake(player)
    wake(player)

    assert described(player).standing.num_skipped == 2
    assert described(player).schedule.state.remaining_actions == 1
    completed(player, "1")
    wake(player)
    assert len(children(player)) == 2
    found = described(player)
    assert found.schedule.state.remaining_actions == 0
    assert found.next_times == []
    begun(player, "2")
    completed(player, "2")
    assert not isinstance(player.outputs[-1], TimerStarted), "it waits for no time any more"


def test_what_waits_when_it_is_paused_is_dropped_and_what_was_asked_for_is_not(
    made: Callable[..., Player],
) -> None:
    player = made(policy=SchedulePolicy(Overlap.BUFFER_ALL))
    wake(player)
    begun(player, "1")
    wake(player)
    player.update("trigger", int(Overlap.BUFFER_ALL))
    player.update("pause", "so", update_id="u2")

    completed(player, "1")

    assert len(asked(player)) == 1
    assert described(player).standing.recent[-1].reason == (
        "dropped: the schedule was paused while it waited"
    )


@pytest.mark.parametrize(
    ("policy", "stops", "after"),
    [
        (Overlap.SKIP, None, 0),
        (Overlap.BUFFER_ONE, None, 1),
        (Overlap.BUFFER_ALL, None, 2),
        (Overlap.CANCEL_OTHER, False, 1),
        (Overlap.TERMINATE_OTHER, True, 1),
    ],
)
def test_what_runs_is_still_in_the_way_after_it_went_on_as_a_new_run(
    made: Callable[..., Player],
    play: Play,
    policy: Overlap,
    stops: bool | None,
    after: int,
) -> None:
    player = made(policy=SchedulePolicy(policy, pause_on_failure=True))
    wake(player)
    begun(player, "1")
    player.seq = LONG
    wake(player)
    ended = player.outputs[-1]
    assert isinstance(ended, WorkflowContinuedAsNew)
    assert ended.keeps_children
    carried = CarriedChild(
        child_id="1",
        workflow_id="report-2023-11-14T23:00:00Z",
        run_id="run-1",
        parent_run_id="run-1",
        cancel_requested=stops is not None,
    )
    state: bytes = CONVERTER.from_payload(ended.input[0], bytes)
    assert [one.child_id for one in decode_state(state).watched] == ["1"]

    second = play(Scheduler, state, children=[carried])
    assert described(second).running == [("report-2023-11-14T23:00:00Z", "run-1")]
    wake(second)
    assert asked(second) == []
    waiting = described(second).standing.buffered
    assert len(waiting) == (2 if policy == Overlap.BUFFER_ALL else min(after, 1))
    completed(second, "1", "figures")
    started = children(second)
    assert len(started) == min(after, 1)
    if started:
        assert started[0].child_id == "2", "no number is used twice in the chain"
        assert started[0].last_result == CONVERTER.to_payload("figures")


def test_an_action_that_fails_after_that_pauses_what_says_so(
    made: Callable[..., Player], play: Play
) -> None:
    player = made(policy=SchedulePolicy(pause_on_failure=True))
    wake(player)
    player.seq = LONG
    wake(player)
    ended = player.outputs[-1]
    assert isinstance(ended, WorkflowContinuedAsNew)
    carried = CarriedChild(child_id="1", workflow_id="report-x", parent_run_id="run-1")
    second = play(Scheduler, CONVERTER.from_payload(ended.input[0], bytes), children=[carried])

    begun(second, "1")
    failure = Failure(chain=[FailureCause(message="no figures", type="X")])
    second.give(ce.ChildWorkflowFailed(child_id="1", run_id="run-1", failure=failure))

    found = described(second)
    assert [one.workflow_id for one in found.standing.recent if one.run_id] == ["report-x"]
    assert found.schedule.state.paused
    assert "no figures" in (found.schedule.state.note or "")


@pytest.mark.parametrize("event", [ce.ChildWorkflowCanceled, ce.ChildWorkflowTerminated])
def test_an_action_that_somebody_ends_is_no_failure_that_pauses(
    made: Callable[..., Player], event: type[ce.ChildWorkflowCanceled]
) -> None:
    player = made(policy=SchedulePolicy(Overlap.CANCEL_OTHER, pause_on_failure=True))
    wake(player)
    begun(player, "1")
    wake(player)

    player.give(event(child_id="1", run_id="run-1"))

    found = described(player)
    assert not found.schedule.state.paused
    assert found.standing.last_failure is None
    assert len(children(player)) == 2, "the action that ended the one before is taken"


def test_search_attributes_of_a_schedule_are_replaced_as_a_whole(
    made: Callable[..., Player],
) -> None:
    player = made()
    record = ScheduleRecord(ActionRecord("Report", "report", "q"), HOURLY)
    first = {"Team": Payload(data=b'"a"'), "Old": Payload(data=b"1")}
    player.update("update", encode(record), encode(first))

    player.update("update", encode(record), encode({"Team": Payload(data=b'"b"')}), update_id="u2")

    assert described(player).search_attributes == {"Team": Payload(data=b'"b"')}
