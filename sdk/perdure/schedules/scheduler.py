"""The actor of a schedule: a built-in workflow that waits for its times and starts workflows."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from perdure import workflow
from perdure.common import RawValue
from perdure.exceptions import ChildWorkflowError, WorkflowAlreadyStartedError
from perdure.schedules.records import (
    BUFFER_MAX,
    RECENT_MAX,
    Described,
    Done,
    Due,
    Standing,
    decode_backfills,
    decode_schedule,
    decode_state,
    encode,
)
from perdure.schedules.schedule import CATCHUP_WINDOW_DEFAULT
from perdure.schedules.schedule import ScheduleOverlapPolicy as Overlap
from perdure.schedules.times import Times
from perdure.workflow.information import SCHEDULER_TYPE
from perdure_actors.replay.children import PendingChild
from perdure_actors.replay.runtime import current
from perdure_schemas.child_events import ChildWorkflowInitiated

NEXT_SHOWN = 10
TIMES_A_TURN = 500
"""How many times are looked at before the actor lets others have a turn."""
HISTORY_MAX = 20_000
"""At such a length it goes on as a new run even while it waits for what it has started."""
_INSTANT = timedelta(microseconds=1)


@workflow.defn(name=SCHEDULER_TYPE)
class Scheduler:
    """One schedule."""

    @workflow.init
    def __init__(self, data: bytes) -> None:
        # Updates may be handled before the run method begins.
        self._changed = False
        self._running: dict[str, PendingChild] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._state = decode_state(data)
        self._standing = self._state.standing or Standing(workflow.now(), workflow.now())
        self._state.standing = self._standing
        self._times = self._made_times()

    @workflow.run
    async def run(self, data: bytes) -> None:
        """Act for ever: at each time, and whenever somebody asks for it."""
        del data
        state = self._state
        for backfill in state.backfills:
            self._backfill(backfill.start_at, backfill.end_at, backfill.overlap)
        if state.triggers:
            self._trigger(None)
        state.backfills, state.triggers = [], False
        while True:
            if self._error is not None:
                raise self._error
            self._changed = False
            is_through = self._look(workflow.now())
            self._act()
            if self._may_go_on():
                workflow.continue_as_new(encode(self._state))
            await self._wait(is_through=is_through)

    def _made_times(self) -> Times:
        return Times(self._state.schedule.spec, seed=self._state.schedule_id)

    async def _wait(self, *, is_through: bool) -> None:
        wake = self._wakes_at() if is_through else workflow.now()
        timeout = None if wake is None else max(wake - workflow.now(), timedelta(milliseconds=1))
        try:
            await workflow.wait_condition(lambda: self._changed, timeout=timeout)
        except TimeoutError:
            return

    def _wakes_at(self) -> datetime | None:
        nominal = self._times.next(self._standing.upto)
        state = self._state.schedule.state
        is_over = state.limited_actions and state.remaining_actions <= 0
        return None if nominal is None or is_over else self._times.act_at(nominal)

    def _may_go_on(self) -> bool:
        length = workflow.info().get_current_history_length()
        is_idle = not self._running and workflow.info().is_continue_as_new_suggested()
        return workflow.all_handlers_finished() and (is_idle or length >= HISTORY_MAX)

    # -- which actions are due --

    def _look(self, now: datetime) -> bool:
        """Queue what has become due; whether all of it was looked at."""
        standing, schedule = self._standing, self._state.schedule
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

    def _queue(self, due: Due) -> None:
        state = self._state.schedule.state
        if state.limited_actions and not due.is_manual:
            if state.remaining_actions <= 0:
                return
            state.remaining_actions -= 1
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
        if buffered and not self._running:
            self._start(buffered.pop(0))

    def _start(self, due: Due) -> None:
        action, standing = self._state.schedule.action, self._standing
        children = current().children
        initiated = ChildWorkflowInitiated(
            child_id=children.next_id(),
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
            search_attributes=action.search_attributes,
            static_summary=action.static_summary,
            static_details=action.static_details,
            priority=action.priority,
            last_result=standing.last_result,
            last_failure=standing.last_failure,
        )
        child = children.ask(initiated, RawValue)
        self._running[initiated.child_id] = child
        standing.num_actions += 1
        pauses = self._state.schedule.policy.pause_on_failure
        task = asyncio.create_task(self._watch(child, due, pauses=pauses))
        self._tasks.add(task)
        task.add_done_callback(self._watched)

    def _watched(self, task: asyncio.Task[None]) -> None:
        """An error of ours must block the run, where people see it."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._error = task.exception()
            self._changed = True

    async def _watch(self, child: PendingChild, due: Due, *, pauses: bool) -> None:
        """See an action to its end."""
        standing, workflow_id = self._standing, child.initiated.workflow_id
        children = current().children
        try:
            await children.began(child)
            self._note(Done(due.at, workflow.now(), workflow_id, child.run_id))
            result = await children.outcome(child)
            standing.last_result = result.payload if result is not None else standing.last_result
            standing.last_failure = None
        except WorkflowAlreadyStartedError:
            reason = f"not started: workflow {workflow_id!r} is there already"
            self._note(Done(due.at, workflow.now(), reason=reason))
        except ChildWorkflowError as error:
            if not child.run_id:
                self._note(Done(due.at, workflow.now(), reason=f"not started: {error.cause}"))
            standing.last_failure = error.failure
            if pauses:
                self._pause(f"paused: workflow {workflow_id!r} failed: {error.cause}")
        finally:
            self._running.pop(child.initiated.child_id, None)
            self._changed = True

    # -- what people ask of it --

    @workflow.query(name="describe")
    def describe(self) -> bytes:
        """How the schedule stands."""
        times: list[datetime] = []
        at = self._standing.upto
        while len(times) < NEXT_SHOWN and (found := self._times.next(at)) is not None:
            times.append(self._times.act_at(found))
            at = found
        running = [(one.initiated.workflow_id, one.run_id) for one in self._running.values()]
        return encode(Described(self._state.schedule, self._standing, running, times))

    @workflow.update(name="pause")
    async def pause(self, note: str) -> None:
        """Take no actions until it is told to."""
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
            self._backfill(one.start_at, one.end_at, one.overlap)

    def _backfill(self, start: datetime, end: datetime, overlap: Overlap | None) -> None:
        policy = overlap or self._state.schedule.policy.overlap
        for number, nominal in enumerate(self._times.between(start - _INSTANT, end)):
            if number >= BUFFER_MAX:
                reason = f"not started: a backfill takes {BUFFER_MAX} actions at most"
                self._note(Done(nominal, workflow.now(), reason=reason))
                break
            self._queue(Due(nominal, policy, is_manual=True))
        self._changed = True

    @workflow.update(name="update")
    async def update(self, data: bytes) -> None:
        """Go on as another schedule."""
        self._look(workflow.now())
        self._state.schedule = decode_schedule(data)
        self._standing.updated_at = workflow.now()
        self._times = self._made_times()
        self._changed = True
