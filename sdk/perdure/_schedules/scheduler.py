"""The workflow of a schedule: waits for its times and starts workflows."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from perdure import workflow
from perdure._schedules import schedule_memo
from perdure._schedules.schedule import CATCHUP_WINDOW_DEFAULT
from perdure._schedules.schedule import ScheduleOverlapPolicy as Overlap
from perdure._schedules.schedule_records import (
    BUFFER_MAX,
    RECENT_MAX,
    RUNNING_MAX,
    BackfillRecord,
    Done,
    Due,
    Standing,
    Watched,
    decode_attributes,
    decode_backfills,
    decode_schedule,
    decode_state,
    encode,
)
from perdure._schedules.times import Times
from perdure._search_attribute_payloads import attribute_payloads
from perdure.common import (
    RawValue,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from perdure.converter._payload_codecs import payload_record
from perdure.exceptions import (
    CancelledError,
    ChildWorkflowError,
    TerminatedError,
    WorkflowAlreadyStartedError,
)
from perdure_actors.core.state import SCHEDULER_TYPE
from perdure_actors.replay.child_calls import PendingChild
from perdure_actors.replay.run_outcomes import ContinueAsNewError
from perdure_actors.replay.runtime import current
from perdure_schemas.child_events import ChildWorkflowInitiated
from perdure_schemas.events import WorkflowContinuedAsNew

TIMES_A_TURN = 500
"""How many times are looked at before the actor lets others have a turn."""
WAIT_MAX = timedelta(days=10_000)
"""The longest wait for a time that comes later still: timers have their limit."""
_INSTANT = timedelta(microseconds=1)
_START_TIME = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
_STARTED_BY = SearchAttributeKey.for_keyword("TemporalScheduledById")


@workflow.defn(name=SCHEDULER_TYPE)
class Scheduler:
    """One schedule."""

    @workflow.init
    def __init__(self, data: bytes) -> None:
        # Updates may be handled before the run method begins.
        self._changed = False
        self._running: dict[str, PendingChild] = {}
        self._watched: dict[str, Watched] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._state = decode_state(data)
        self._standing = self._state.standing or Standing(workflow.now(), workflow.now())
        self._state.standing = self._standing
        self._times = self._made_times()
        left = {child.initiated.child_id: child for child in current().children.pending}
        for watched in self._state.watched:
            # The run before has left it to this one.
            self._see(left[watched.child_id], watched)

    @workflow.run
    async def run(self, data: bytes) -> None:
        """Act for ever: at each time, and whenever somebody asks for it."""
        del data
        state = self._state
        for backfill in state.backfills:
            self._backfill(backfill)
        if state.triggers:
            self._trigger(None)
        state.backfills, state.triggers = [], False
        while True:
            if self._error is not None:
                raise self._error
            self._changed = False
            is_through = self._look(workflow.now())
            self._act()
            schedule_memo.show(state, self._times, self._runs())
            if self._may_go_on():
                self._go_on()
            await self._wait(is_through=is_through)

    def _made_times(self) -> Times:
        return Times(self._state.schedule.spec, seed=self._state.schedule_id)

    async def _wait(self, *, is_through: bool) -> None:
        wake = self._wakes_at() if is_through else workflow.now()
        timeout = None
        if wake is not None:
            timeout = min(max(wake - workflow.now(), timedelta(milliseconds=1)), WAIT_MAX)
        try:
            await workflow.wait_condition(lambda: self._changed, timeout=timeout)
        except TimeoutError:
            return

    def _wakes_at(self) -> datetime | None:
        if self._state.schedule.state.paused or schedule_memo.is_over(self._state):
            return None
        nominal = self._times.next(self._standing.upto)
        return None if nominal is None else self._times.act_at(nominal)

    def _may_go_on(self) -> bool:
        is_long = workflow.info().is_continue_as_new_suggested()
        return is_long and workflow.all_handlers_finished()

    def _go_on(self) -> None:
        """Go on as a new run, which hears of the actions that run what this one would have."""
        self._state.watched = list(self._watched.values())
        run = current()
        raise ContinueAsNewError(
            WorkflowContinuedAsNew(
                workflow_type=SCHEDULER_TYPE,
                input=run.converter.to_payloads([encode(self._state)]),
                keeps_children=True,
                call_site=run.call_site(),
            )
        )

    # -- which actions are due --

    def _look(self, now: datetime) -> bool:
        """Queue what has become due; whether all of it was looked at."""
        standing, schedule = self._standing, self._state.schedule
        if schedule.state.paused or schedule_memo.is_over(self._state):
            self._pass_over(now)
        for _ in range(TIMES_A_TURN):
            nominal = self._times.next(standing.upto)
            if nominal is None or self._times.act_at(nominal) > now:
                return True
            standing.upto = nominal
            if schedule.state.paused:
                continue
            window = schedule.policy.catchup_window or CATCHUP_WINDOW_DEFAULT
            if now - self._times.act_at(nominal) > window:
                standing.num_missed += 1
                reason = "missed: it was due before the catch-up window"
                self._note(Done(nominal, now, reason=reason))
                continue
            self._queue(Due(nominal, schedule.policy.overlap))
        return False

    def _look_once(self, why: str) -> None:
        """Queue what has become due; what is too much for one turn is left out, and said."""
        now = workflow.now()
        if not self._look(now):
            reason = f"left out with those up to {now:%Y-%m-%dT%H:%M:%SZ}: {why}"
            self._note(Done(self._standing.upto, now, reason=reason))
            self._pass_over(now)

    def _pass_over(self, now: datetime) -> None:
        """The times before now are nobody's; one whose jitter is not over is still to come."""
        jitter = self._state.schedule.spec.jitter or timedelta(0)
        self._standing.upto = max(self._standing.upto, now - jitter - _INSTANT)

    def _queue(self, due: Due) -> None:
        if not due.is_manual and schedule_memo.is_over(self._state):
            return
        if due.overlap == Overlap.ALLOW_ALL or not (self._running or self._standing.buffered):
            self._start(due)
        else:
            self._overlap(due)

    def _overlap(self, due: Due) -> None:
        """Another action is running, or waits."""
        buffered = self._standing.buffered
        if due.overlap == Overlap.SKIP:
            self._skip(due, "skipped: the one before still ran")
        elif due.overlap == Overlap.BUFFER_ONE and buffered:
            self._skip(due, "skipped: another one waited already")
        elif len(buffered) >= BUFFER_MAX:
            self._skip(due, f"skipped: {BUFFER_MAX} waited already")
        elif due.overlap in (Overlap.BUFFER_ONE, Overlap.BUFFER_ALL):
            buffered.append(due)
        else:
            for waiting in buffered:
                self._skip(waiting, "skipped: a later one took its place")
            buffered[:] = [due]
            for child in self._running.values():
                current().children.stop(
                    child,
                    reason="the next action of its schedule is due",
                    terminate=due.overlap == Overlap.TERMINATE_OTHER,
                )

    def _skip(self, due: Due, reason: str) -> None:
        self._standing.num_skipped += 1
        self._note(Done(due.at, workflow.now(), reason=reason))

    def _note(self, done: Done) -> None:
        recent = self._standing.recent
        recent.append(done)
        del recent[:-RECENT_MAX]

    # -- taking them --

    def _act(self) -> None:
        """Take the first of those that wait, once nothing runs."""
        buffered = self._standing.buffered
        while buffered and not self._running:
            due = buffered.pop(0)
            if due.is_manual:
                self._start(due)
            elif self._state.schedule.state.paused:
                self._skip(due, "dropped: the schedule was paused while it waited")
            elif schedule_memo.is_over(self._state):
                self._skip(due, "dropped: the schedule had taken all its actions meanwhile")
            else:
                self._start(due)

    def _start(self, due: Due) -> None:
        if len(self._running) >= RUNNING_MAX:
            self._skip(due, f"skipped: {RUNNING_MAX} ran already")
            return
        schedule, standing = self._state.schedule, self._standing
        if schedule.state.limited_actions and not due.is_manual:
            schedule.state.remaining_actions -= 1
        standing.num_actions += 1
        child = current().children.ask(self._initiated(due), RawValue)
        watched = Watched(child.initiated.child_id, due, schedule.policy.pause_on_failure)
        self._see(child, watched)

    def _initiated(self, due: Due) -> ChildWorkflowInitiated:
        """The start of an action's workflow."""
        action, standing, run = self._state.schedule.action, self._standing, current()
        found_by = TypedSearchAttributes(
            [
                SearchAttributePair(_START_TIME, due.at),
                SearchAttributePair(_STARTED_BY, self._state.schedule_id),
            ]
        )
        return ChildWorkflowInitiated(
            child_id=run.children.next_id(),
            workflow_id=f"{action.id}-{due.at:%Y-%m-%dT%H:%M:%SZ}",
            workflow_type=action.workflow,
            task_queue=action.task_queue,
            input=action.input,
            header=action.headers,
            execution_timeout_ms=action.execution_timeout_ms,
            run_timeout_ms=action.run_timeout_ms,
            task_timeout_ms=action.task_timeout_ms,
            parent_close_policy="abandon",
            retry_policy=action.retry_policy,
            memo=action.memo,
            search_attributes={
                **action.search_attributes,
                **attribute_payloads(found_by, run.converter),
            },
            static_summary=action.static_summary,
            static_details=action.static_details,
            priority=action.priority,
            last_result=standing.last_result,
            last_failure=standing.last_failure,
        )

    def _see(self, child: PendingChild, watched: Watched) -> None:
        """See an action to its end."""
        child.result_type = RawValue
        self._running[watched.child_id] = child
        self._watched[watched.child_id] = watched
        task = asyncio.create_task(self._watch(child, watched))
        self._tasks.add(task)
        task.add_done_callback(self._seen)

    def _seen(self, task: asyncio.Task[None]) -> None:
        """An error of ours must block the run, where people see it."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._error = task.exception()
            self._changed = True

    async def _watch(self, child: PendingChild, watched: Watched) -> None:
        standing, workflow_id = self._standing, child.initiated.workflow_id
        children, due = current().children, watched.due
        try:
            if not child.run_id:
                await children.began(child)
                self._note(Done(due.at, workflow.now(), workflow_id, child.run_id))
                self._changed = True
            result = await children.outcome(child)
            if result is not None:
                standing.last_result = payload_record(result.payload)
            standing.last_failure = None
        except WorkflowAlreadyStartedError:
            reason = f"not started: workflow {workflow_id!r} is there already"
            self._note(Done(due.at, workflow.now(), reason=reason))
        except ChildWorkflowError as error:
            if not child.run_id:
                self._note(Done(due.at, workflow.now(), reason=f"not started: {error.cause}"))
            if isinstance(error.cause, CancelledError | TerminatedError):
                # Somebody ended it, perhaps the next action: that is no failure of its own.
                return
            standing.last_failure = error.failure
            if watched.pauses:
                self._pause(f"paused: workflow {workflow_id!r} failed: {error.cause}")
        finally:
            self._running.pop(watched.child_id, None)
            self._watched.pop(watched.child_id, None)
            self._changed = True

    # -- what people ask of it --

    @workflow.query(name="describe")
    def describe(self) -> bytes:
        """How the schedule stands."""
        return encode(schedule_memo.described(self._state, self._times, self._runs()))

    def _runs(self) -> list[tuple[str, str]]:
        return [(one.initiated.workflow_id, one.run_id) for one in self._running.values()]

    @workflow.update(name="pause")
    async def pause(self, note: str) -> None:
        """Take no actions until it is told to."""
        self._look_once("the schedule was paused")
        self._pause(note)

    def _pause(self, note: str) -> None:
        self._state.schedule.state.paused = True
        self._state.schedule.state.note = note
        self._changed = True

    @workflow.update(name="unpause")
    async def unpause(self, note: str) -> None:
        """Take actions again; those of the pause are gone."""
        self._look(workflow.now())
        self._state.schedule.state.paused = False
        self._state.schedule.state.note = note
        self._changed = True

    @workflow.update(name="trigger")
    async def trigger(self, overlap: int) -> None:
        """Take an action now."""
        self._trigger(Overlap(overlap) if overlap else None)

    def _trigger(self, overlap: Overlap | None) -> None:
        now = workflow.now().replace(microsecond=0)
        self._queue(Due(now, overlap or self._state.schedule.policy.overlap, is_manual=True))
        self._changed = True

    @workflow.update(name="backfill")
    async def backfill(self, data: bytes) -> None:
        """Take the actions of spans of time now."""
        for one in decode_backfills(data):
            self._backfill(one)

    def _backfill(self, one: BackfillRecord) -> None:
        policy = one.overlap or self._state.schedule.policy.overlap
        for number, nominal in enumerate(self._times.between(one.start_at - _INSTANT, one.end_at)):
            if number >= BUFFER_MAX:
                reason = f"not started: a backfill takes {BUFFER_MAX} actions at most"
                self._note(Done(nominal, workflow.now(), reason=reason))
                break
            self._queue(Due(nominal, policy, is_manual=True))
        self._changed = True

    @workflow.update(name="update")
    async def update(self, data: bytes, attributes: bytes | None = None) -> None:
        """Go on as another schedule from now on, with other search attributes if given."""
        self._look_once("the schedule was changed")
        self._state.schedule = decode_schedule(data)
        self._standing.updated_at = workflow.now()
        self._times = self._made_times()
        self._pass_over(workflow.now())
        if attributes is not None:
            schedule_memo.change_attributes(decode_attributes(attributes))
        self._changed = True
