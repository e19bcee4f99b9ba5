"""Bugs to plant of schedules, local activities and operators' acts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from perdure._schedules.scheduler import Scheduler
from perdure_actors import table_layout
from perdure_actors.core import activities, attempts, deadlines
from perdure_actors.core.activity_states import BACKING_OFF, EXHAUSTED, FREE, LIFTED, PAUSED
from perdure_actors.core.decision import Due, Ignored
from perdure_actors.core.rules import ALARMS
from perdure_actors.partition.dedup import Dedup
from perdure_actors.partition.local_activities import LocalActivities
from perdure_schemas import operator_commands as oc
from perdure_schemas.events import ActivityAttemptScheduled
from tests.simulation import bugs

# -- schedules --

_go_on = Scheduler._go_on
_begin_action = Scheduler._start
_queue = Scheduler._queue


def forgets_what_runs(self: Scheduler) -> None:
    """The next run does not see the actions of this one to their end."""
    self._watched = {}
    _go_on(self)


def forgets_what_waits(self: Scheduler) -> None:
    """The next run begins without the actions that wait."""
    self._standing.buffered = []
    _go_on(self)


def looks_again(self: Scheduler) -> None:
    """The next run looks at the last times once more."""
    self._standing.upto -= timedelta(seconds=10)
    _go_on(self)


def own_reports_only(_world: Any, _command: Any, _now_ms: int) -> Any:
    """A child reports to the run that asked for it, or to nobody."""
    return Ignored("a child of a closed run")


def no_limit_for_what_waited(self: Scheduler, due: Any) -> None:
    """An action that has waited does not count against the limit."""
    state = self._state.schedule.state
    left = state.remaining_actions
    _begin_action(self, due)
    if due.at < self._standing.upto:
        state.remaining_actions = left


def takes_while_paused(self: Scheduler) -> None:
    """What waits is taken whether the schedule is paused or not."""
    buffered = self._standing.buffered
    while buffered and not self._running:
        self._start(buffered.pop(0))


def skips_unsaid(self: Scheduler, due: Any, reason: str) -> None:
    """What is skipped is counted, and nobody is told of it."""
    del due, reason
    self._standing.num_skipped += 1


def overlaps(self: Scheduler, due: Any) -> None:
    """An action begins where none waits, whatever runs."""
    if self._standing.buffered:
        _queue(self, due)
    else:
        self._start(due)


# -- local activities --

_decide_local_lost = deadlines.decide_local_lost
_new_locals = LocalActivities.__init__
_act = LocalActivities.act
_attempt = attempts._attempt


def lost_uncounted(run: Any, activity_id: str, now_ms: int) -> Any:
    """An attempt whose host is gone is made again, as if it had never begun."""
    found = _decide_local_lost(run, activity_id, now_ms)
    if not isinstance(found, Due):
        return found
    attempt = run.activities[activity_id].attempt
    return Due(
        [ActivityAttemptScheduled(activity_id=activity_id, attempt=attempt, reason="handed_back")]
    )


@contextmanager
def the_dead_report() -> Iterator[None]:
    """A process has one mailbox a partition, and a report counts by the number of its attempt."""
    mail: dict[Any, deque[Any]] = {}

    def begin(
        self: LocalActivities, services: Any, partition: int, *parts: Any, **more: Any
    ) -> None:
        _new_locals(self, services, partition, *parts, **more)
        self._mail = mail.setdefault((id(services.local), partition), deque())

    def of_number(world: Any, command: Any) -> Any:
        found = _attempt(world, command)
        run = world.run(command.run_id)
        activity = run.activities.get(command.activity_id) if run else None
        if isinstance(found, str) and activity is not None and activity.scheduled.local:
            return (run, activity) if activity.attempt == command.attempt else found
        return found

    with (
        patch.object(LocalActivities, "__init__", begin),
        patch.object(LocalActivities, "close", lambda _self: None),
        patch.object(LocalActivities, "recover", lambda _self, _table: None),
        patch.object(attempts, "_attempt", of_number),
    ):
        yield


def never_lost(_self: LocalActivities, _table: Any) -> None:
    """A new owner does not ask what was under way."""


def starts_twice(self: LocalActivities, effects: Any) -> None:
    """An attempt is started again while it runs."""
    _act(self, effects)
    _act(self, effects)


# -- operators --

_decode_activity = table_layout.decode_activity
_answer_again = Dedup.answer_again
_decide_alarm = deadlines.decide_activity_alarm
_apply_paused = activities.apply_paused
_apply_unpaused = activities.apply_unpaused
_decide_claim = attempts.decide_claim
_apply_options = activities.apply_options_updated
_ACTS = (oc.PauseActivity, oc.UnpauseActivity, oc.ResetActivity, oc.RetryActivityNow)


def pause_not_kept(data: bytes) -> Any:
    """A row does not say that its activity is paused."""
    activity = _decode_activity(data)
    if activity.paused:
        activity.hold = FREE
        activity.state = BACKING_OFF if activity.state == PAUSED else activity.state
    return activity


def acts_again(self: Dedup, command: Any) -> bool:
    """An operator's request is not held against what was taken."""
    return not isinstance(command, _ACTS) and _answer_again(self, command)


@contextmanager
def parked_for_a_while() -> Iterator[None]:
    """What is out of attempts has another one after a while."""

    def apply(run: Any, event: Any, at: Any, now_ms: int) -> None:
        _apply_paused(run, event, at, now_ms)
        activity = run.activities[event.activity_id]
        if activity.exhausted:
            activity.alarm_ms = now_ms + 2_000

    def alarm(world: Any, run: Any, activity_id: str, now_ms: int) -> Any:
        activity = run.activities.get(activity_id)
        is_out = activity is not None and activity.hold == EXHAUSTED
        if is_out and not activity.cancel_requested:
            number = activity.attempt + 1
            return Due([ActivityAttemptScheduled(activity_id=activity_id, attempt=number)])
        return _decide_alarm(world, run, activity_id, now_ms)

    with bugs.apply_row("ActivityPaused", apply)(), patch.dict(ALARMS, {"activity": alarm}):
        yield


def grants_paused(world: Any, command: Any, now_ms: int) -> Any:
    """A worker that asks is given an attempt that somebody has paused."""
    return _decide_claim(world, replace(command, wants_grant=False), now_ms)


def under_way_too(run: Any, event: Any, at: Any, now_ms: int) -> None:
    """Other options count for the attempt under way."""
    _apply_options(run, event, at, now_ms)
    activity = run.activities[event.activity_id]
    activity.under_way = None
    deadlines.set_alarm(run, activity)


def stops_count(run: Any, event: Any, at: Any, now_ms: int) -> None:
    """Nobody remembers that a worker was told to stop, once the pause is over."""
    _apply_unpaused(run, event, at, now_ms)
    activity = run.activities[event.activity_id]
    if activity.hold == LIFTED:
        activity.hold = FREE
