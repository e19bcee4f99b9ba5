"""Requests that only read: answered from the table, or by the code of a run.

The table holds nothing but what is accepted. Of open runs the code is asked in the query's place
among the inputs, of closed ones it is replayed from their history. Nothing of a query is written,
and its answer waits, like any other, for a record that covers it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from perdure_actors import table_layout
from perdure_actors.core.decision import Rejection
from perdure_actors.core.messages import blocked
from perdure_actors.core.start import starting_now
from perdure_actors.core.state import (
    COMPLETED,
    CONTINUED_AS_NEW,
    ActivityState,
    ChildState,
    RunState,
)
from perdure_actors.core.targets import named_run
from perdure_actors.partition.executor import history_from
from perdure_actors.partition.transition import closing_of
from perdure_actors.replay.blocked import BlockedError
from perdure_actors.retention.policy import RetentionPolicy
from perdure_actors.retention.retention import retention_info
from perdure_actors.visibility.blocks import block_of
from perdure_actors.visibility.counting import kept_count, open_and_blocked
from perdure_actors.visibility.listing import list_runs
from perdure_actors.visibility.row_cache import Listed
from perdure_actors.visibility.run_row import RunRow
from perdure_schemas import commands, message_commands
from perdure_schemas.payloads import RunRef
from perdure_schemas.replies import (
    HistoryBatch,
    HistoryPage,
    Notice,
    PendingActivity,
    PendingChild,
    PendingTimer,
    QueryAnswer,
    Refused,
    RunDescription,
    TaskQueueInfo,
    WorkerInfo,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from perdure_actors.core.decision import Step
    from perdure_actors.core.liveness import Liveness
    from perdure_actors.core.state import ActivityState, ChildState
    from perdure_actors.core.world import RunStateView
    from perdure_actors.partition.context import PartitionContext
    from perdure_actors.partition.run_cache import CachedRun
    from perdure_schemas.message_commands import QueryWorkflow
    from perdure_schemas.payloads import Record, ReplyTo
    from perdure_topics.fold import Cursor
    from perdure_topics.ports import Table


def pending_record(liveness: Liveness, run_id: str, activity: ActivityState) -> PendingActivity:
    """An activity without an outcome, as describe shows it."""
    scheduled = activity.scheduled
    policy = scheduled.retry_policy
    return PendingActivity(
        activity_id=scheduled.activity_id,
        activity_type=scheduled.activity_type,
        state=_shown_state(activity),
        attempt=activity.attempt,
        maximum_attempts=policy.maximum_attempts if policy else 0,
        scheduled_ms=activity.scheduled_ms,
        started_ms=activity.started_ms,
        next_attempt_ms=activity.retry_ms,
        last_failure=activity.last_failure,
        heartbeat_ms=liveness.heartbeat_ms(run_id, scheduled.activity_id),
        heartbeat_details=activity.heartbeat_details,
        worker_id=activity.worker_id,
        identity=activity.identity,
        task_queue=scheduled.task_queue,
        local=scheduled.local,
        paused_ms=activity.paused_ms,
        pause_reason=activity.pause_reason,
        pause_identity=activity.pause_identity,
    )


def _shown_state(activity: ActivityState) -> str:
    if activity.cancel_requested:
        return "cancel_requested"
    if activity.exhausted:
        return "exhausted"
    if activity.paused:
        return "paused" if activity.state == "paused" else "pause_requested"
    return activity.state


def pending_child_record(child: ChildState) -> PendingChild:
    """A child that has not ended, as describe shows it."""
    return PendingChild(
        child_id=child.child_id,
        workflow_id=child.workflow_id,
        run_id=child.run_id,
        workflow_type=child.workflow_type,
        task_queue=child.task_queue,
        parent_close_policy=child.parent_close_policy,
    )


PATIENCE_MS = 10_000
"""How long a query waits for the first step of the run that it asks."""


class Answers(Protocol):
    """Whoever asks the code of runs."""

    def query(self, resident: CachedRun, ask: QueryWorkflow) -> QueryAnswer:
        """What a query of the code returns. Raises BlockedError when it cannot be asked."""


class FindsRuns(Protocol):
    """Whoever holds the runs of a partition."""

    def find(self, run_id: str) -> CachedRun | None:
        """A run by its id, loaded when it must be."""


class Proposes(Protocol):
    """Whoever makes transitions of decided steps."""

    def propose(self, step: Step | None, workflow_id: str = "", *, covers: bool) -> object:
        """Append a transition."""


class CodeQueries:
    """The queries of the code of one partition's runs."""

    def __init__(
        self, world: PartitionContext, runs: FindsRuns, code: Answers, proposes: Proposes
    ) -> None:
        self._world = world
        self._runs = runs
        self._code = code
        self._proposes = proposes

    def begins_soon(self, ask: QueryWorkflow) -> bool:
        """Whether the run that is asked has its first step yet to come, and soon."""
        newest = self._world.current(ask.workflow_id)
        if newest is None:
            return False
        state, actor = newest.state, newest.actor
        if not state.is_open and actor.next_start is not None:
            run_id, at_ms = actor.next_run_id, actor.alarm_ms
        elif state.is_open and not state.begun and state.block is None:
            run_id, at_ms = state.run_id, state.begin_ms
        else:
            return False
        patience_ms = PATIENCE_MS
        if ask.reply.deadline_ms:
            left_ms = ask.reply.deadline_ms - self._world.now_ms()
            patience_ms = min(PATIENCE_MS, left_ms)
        is_meant = ask.run_id in ("", run_id)
        return is_meant and self._world.time_ms < at_ms <= self._world.now_ms() + patience_ms

    def ask_run(self, ask: QueryWorkflow) -> Record | None:
        """What an open run answers now; None for a closed one, whose history must be read."""
        self._start_what_is_due(ask)
        newest = self._world.current(ask.workflow_id)
        if newest is not None and ask.run_id and ask.run_id == newest.actor.next_run_id:
            return _not_ready(ask, ask.run_id)
        run = named_run(self._world, ask.workflow_id, ask.run_id)
        if isinstance(run, Rejection):
            return _refused(run)
        if not run.state.is_open:
            return None
        if run.state.block is not None:
            return _refused(blocked(run))
        if not run.state.begun:
            return _not_ready(ask, run.state.run_id)
        resident = self._runs.find(run.state.run_id)
        assert resident is not None, "a run that was found is resident"
        return self._answer(resident, ask)

    def _start_what_is_due(self, ask: QueryWorkflow) -> None:
        """A run that follows at once is the one that is asked, not the one that ended."""
        newest = self._world.current(ask.workflow_id)
        if newest is None or ask.run_id not in ("", newest.actor.next_run_id):
            return
        now_ms = self._world.time_ms
        if newest.actor.next_start is not None and newest.actor.alarm_ms <= now_ms:
            self._proposes.propose(starting_now(newest, now_ms), ask.workflow_id, covers=False)

    def named(self, ask: QueryWorkflow) -> QueryWorkflow:
        """A query about the newest run as one about that very run."""
        run = self._world.current(ask.workflow_id) if not ask.run_id else None
        return replace(ask, run_id=run.state.run_id) if run is not None else ask

    def ask_closed(self, ask: QueryWorkflow) -> Record:
        """What a closed run answers, by the history in the table."""
        run = named_run(self._world, ask.workflow_id, ask.run_id)
        if isinstance(run, Rejection):
            return _refused(run)
        if _is_rejected(run.state, ask.reject_condition):
            return QueryAnswer(run_id=run.state.run_id, rejected_status=run.state.status)
        resident = self._runs.find(run.state.run_id)
        assert resident is not None, "a run that was found is resident"
        return self._answer(resident, ask)

    def _answer(self, resident: CachedRun, ask: QueryWorkflow) -> Record:
        run_id = resident.run.state.run_id
        try:
            answer = self._code.query(resident, ask)
        except BlockedError as error:
            return Refused(code="query_failed", message=error.message, run_id=run_id)
        most = self._world.limits.query_bytes_max
        size = len(answer.result.data) if answer.result is not None else 0
        if size > most:
            text = (
                f"query {ask.query_name!r} returned {size} bytes; {most} is the most:"
                " return a reference to where the data is"
            )
            return Refused(code="too_large", message=text, run_id=run_id)
        return answer


def _not_ready(ask: QueryWorkflow, run_id: str) -> Refused:
    text = f"workflow {ask.workflow_id!r} has not begun, so it cannot answer a query yet"
    return Refused(code="not_ready", message=text, run_id=run_id)


def _is_rejected(state: RunStateView, condition: str) -> bool:
    if condition == "not_open":
        return not state.is_open
    clean = state.is_open or state.status in (COMPLETED, CONTINUED_AS_NEW)
    return condition == "not_completed_cleanly" and not clean


def _refused(rejection: Rejection) -> Refused:
    return Refused(
        code=rejection.code,
        message=rejection.message,
        run_id=rejection.run_id,
        status=rejection.status,
    )


PAGE_BYTES_MAX = 4 * 1024 * 1024
DESCRIBED_BYTES = 3 * 1024 * 1024
"""A page of pending activities; one more may be over it."""
NOT_STARTED_MS = 300
TASKS_READ_MAX = 1_000
"""So many pending activities of a partition are told apart by type."""
"""An activity nobody took for so long is worth a word."""


class Waits(Protocol):
    """Whoever keeps those who wait."""

    def wait(self, reply: ReplyTo, run_id: str, update_id: str = "", stage: str = "") -> None:
        """Answer an asker once a run has closed, or an update of it is so far."""

    def watch(self, run_id: str, ask: commands.ReadHistory) -> None:
        """Answer a history ask once there are events for it."""


class Position(Protocol):
    """Whoever knows how much of the log is in the table."""

    cursor: Cursor


class Owner(Protocol):
    """Who answers, and what it knows of workers."""

    @property
    def owner(self) -> str:
        """Who this process is."""

    def workers_of(self, task_queue: str, /) -> int | None:
        """How many workers listen on a task queue; None when that is not known."""


class AsksClosed(Protocol):
    """Whoever asks the code of runs that have closed."""

    def ask_closed(self, ask: message_commands.QueryWorkflow) -> Record:
        """What a closed run answers, by its history."""


class Queries:
    """Reads one partition's table, for those who ask."""

    def __init__(
        self,
        table: Table,
        partition: int,
        world: PartitionContext,
        *,
        host: Owner,
        position: Position,
        waits: Waits,
        code: AsksClosed,
        missing: AbstractSet[str],
    ) -> None:
        """`missing` has the task queues that have no topics."""
        self.table = table
        self.partition = partition
        self.world = world
        self.task_queue = world.task_queue
        self.listed = Listed()
        self._host = host
        self._position = position
        self._waits = waits
        self._code = code
        self._missing = missing

    def waits_for_result(self, ask: commands.AwaitResult) -> str:
        """The open run that an ask will wait for; empty when it must be read.

        Only a named run is waited for without a record that covers the ask: how it ended is final,
        whoever says so. Which run is the newest, only an owner can say.
        """
        run = self.world.run(ask.run_id) if ask.run_id else None
        if run is None or run.state.workflow_id != ask.workflow_id or not run.state.is_open:
            return ""
        return run.state.run_id

    def await_result(self, ask: commands.AwaitResult) -> Record | None:
        """How a run ended; an open one is waited for."""
        state = self._state(ask.workflow_id, ask.run_id)
        if isinstance(state, Refused):
            if self._is_to_follow(ask.workflow_id, ask.run_id):
                self._waits.wait(ask.reply, ask.run_id)
                return None
            return state
        closed = closing_of(state)
        if closed is None:
            self._waits.wait(ask.reply, state.run_id)
        return closed

    def await_update(self, ask: message_commands.AwaitUpdate) -> Record | None:
        """How far an update is; one that is not so far is waited for."""
        state = self._state(ask.workflow_id, ask.run_id)
        if isinstance(state, Refused):
            return state
        self._waits.wait(ask.reply, state.run_id, ask.update_id, ask.stage)
        return None

    def describe(self, ask: commands.DescribeWorkflow) -> Record:
        """How a run stands; with very much pending, page by page."""
        state = self._state(ask.workflow_id, ask.run_id)
        if isinstance(state, Refused):
            return state
        run_id = state.run_id
        row = RunRow(self, state)
        started = row.started
        activities = [
            table_layout.decode_activity(value)
            for _, value in self.table.scan(*table_layout.activities_range(run_id))
        ]
        pending, token = self._pending_page(run_id, activities, ask.page_token)
        if ask.page_token:
            return RunDescription(
                summary=row.summary(), pending_activities=pending, next_page_token=token
            )
        timers = [
            table_layout.decode_timer(value)
            for _, value in self.table.scan(*table_layout.timers_range(run_id))
        ]
        children = [
            table_layout.decode_child(value)
            for _, value in self.table.scan(*table_layout.children_range(run_id))
        ]
        return RunDescription(
            summary=row.summary(),
            history_size=state.history_bytes,
            execution_ms=state.begin_ms or state.start_ms,
            input=started.input,
            pending_activities=pending,
            next_page_token=token,
            pending_timers=[
                PendingTimer(timer_id=timer.timer_id, due_ms=timer.alarm_ms) for timer in timers
            ],
            cancel_requested=state.cancel_requested,
            notices=self.notices_of(state, activities, children),
            pending_children=[pending_child_record(child) for child in children],
            run_timeout_ms=started.run_timeout_ms,
            execution_timeout_ms=started.execution_timeout_ms,
            task_timeout_ms=started.task_timeout_ms,
            retry_policy=started.retry_policy,
            cron_schedule=started.cron_schedule,
            static_summary=started.static_summary,
            static_details=started.static_details,
            root=started.root or RunRef(workflow_id=state.workflow_id, run_id=run_id),
            identity=started.identity,
        )

    def _pending_page(
        self, run_id: str, activities: list[ActivityState], token: bytes
    ) -> tuple[list[PendingActivity], bytes]:
        """Pending activities behind a page token, in the order of their rows; where to go on.

        What an activity said last may have as much as a command.
        """
        found: list[PendingActivity] = []
        room = DESCRIBED_BYTES
        for activity in activities:
            place = activity.scheduled.activity_id.encode()
            if token and place <= token:
                continue
            if room <= 0:
                return found, found[-1].activity_id.encode()
            found.append(pending_record(self.world.liveness, run_id, activity))
            room -= _said_bytes(activity)
        return found, b""

    def notices_of(
        self, state: RunState, activities: list[ActivityState], children: list[ChildState]
    ) -> list[Notice]:
        """What somebody who waits for a run should know."""
        notices = []
        block = block_of(self.table, state) if state.is_open else None
        if block is not None:
            text = f"workflow {state.workflow_id!r} is blocked ({block.cause}): {block.message}"
            notices.append(Notice(code="blocked", message=text))
        now_ms = self.world.now_ms()
        queues = {
            activity.scheduled.task_queue: activity
            for activity in activities
            if activity.state == "scheduled"
            and not activity.scheduled.local
            and now_ms - activity.attempt_ms >= NOT_STARTED_MS
        }
        wanted = [*queues, *(child.task_queue for child in children if not child.run_id)]
        for queue in dict.fromkeys(wanted):
            if queue in self._missing:
                text = (
                    f"task queue {queue!r} has no topics:"
                    f" perdure topics create --task-queue {queue}"
                )
                notices.append(Notice(code="no_queue", message=text))
        for queue, activity in queues.items():
            if queue not in self._missing and self._host.workers_of(queue) == 0:
                text = (
                    f"no worker listens on task queue {queue!r}: activity"
                    f" {activity.scheduled.activity_type} waits for one"
                )
                notices.append(Notice(code="no_worker", message=text))
        return notices

    def read_history(self, ask: commands.ReadHistory) -> Record | None:
        """Events of a run from a seq on; with wait_new, once there are any."""
        state = self._state(ask.workflow_id, ask.run_id)
        if isinstance(state, Refused):
            return state
        if ask.wait_new and ask.from_seq > state.seq and state.is_open:
            self._waits.watch(state.run_id, ask)
            return None
        batches: list[HistoryBatch] = []
        size, next_seq, more = 0, ask.from_seq, False
        bytes_max = min(max(ask.max_bytes, 1), PAGE_BYTES_MAX)
        for offset, pseq, time_ms, body in history_from(self.table, state.run_id, ask.from_seq):
            if batches and size >= bytes_max:
                more = True
                break
            events = _first_events(body.events, bytes_max - size)
            batches.append(
                HistoryBatch(
                    offset=offset,
                    pseq=pseq,
                    time_ms=time_ms,
                    seq=body.seq,
                    code_version=body.code_version,
                    events=events,
                )
            )
            size += sum(len(event) for event in events)
            next_seq = body.seq + len(events)
            if len(events) < len(body.events):
                more = True
                break
        return HistoryPage(
            run_id=state.run_id,
            status=state.shown_status,
            batches=batches,
            next_seq=next_seq,
            more=more,
        )

    def unserved(self, task_queue: str) -> str:
        """Why nobody takes tasks there: no_worker, no_queue, or empty where somebody does."""
        if task_queue in self._missing:
            return "no_queue"
        return "no_worker" if self._host.workers_of(task_queue) == 0 else ""

    def _tasks(self) -> dict[str, Any]:
        """Pending activities by type, and since when the oldest waits, as far as they are read."""
        by_type: dict[str, int] = {}
        oldest_ms = 0
        rows = self.table.scan(
            *table_layout.prefix_range(table_layout.ACTIVITIES), limit=TASKS_READ_MAX
        )
        for _, value in rows:
            activity = table_layout.decode_activity(value)
            name = activity.scheduled.activity_type
            by_type[name] = by_type.get(name, 0) + 1
            if activity.state == "scheduled" and not activity.scheduled.local:
                since_ms = activity.waits_ms or activity.attempt_ms
                oldest_ms = min(oldest_ms or since_ms, since_ms)
        return {"pending_by_type": by_type, "oldest_task_ms": oldest_ms}

    def describe_queue(self, _ask: commands.DescribeTaskQueue) -> Record:
        """How a partition of the task queue stands."""
        table = self.table
        open_runs, blocked_runs = open_and_blocked(table)
        return TaskQueueInfo(
            partition=self.partition,
            epoch=self._position.cursor.epoch,
            pseq=self._position.cursor.pseq,
            upto=self._position.cursor.upto,
            owner=self._host.owner,
            workers=[
                WorkerInfo(
                    worker_id=lease.worker_id,
                    identity=lease.identity,
                    task_queue=lease.task_queue,
                    slots=lease.slots,
                    slots_used=lease.slots_used,
                    last_seen_ms=lease.seen_ms,
                    version=lease.version,
                )
                for lease in self.world.liveness.leases.values()
            ],
            open_runs=open_runs,
            blocked_runs=blocked_runs,
            pending_activities=kept_count(table, table_layout.PENDING_ACTIVITIES),
            retrying_runs=kept_count(table, table_layout.RETRYING),
            exhausted_runs=kept_count(table, table_layout.EXHAUSTED),
            **self._tasks(),
        )

    def read_retention(self, _ask: commands.ReadRetention) -> Record:
        """How long closed runs are kept here, and which would be forgotten now."""
        unsaid = RetentionPolicy(self.world.limits.closed_keep_ms)
        return retention_info(self.table, self.partition, self.world.now_ms(), unsaid)

    def _is_to_follow(self, workflow_id: str, run_id: str) -> bool:
        """Whether a run will follow the current one, and only its time has not come."""
        data = self.table.get(table_layout.actor_key(workflow_id))
        return (
            data is not None
            and bool(run_id)
            and table_layout.decode_actor(data).next_run_id == run_id
        )

    def _state(self, workflow_id: str, run_id: str) -> RunState | Refused:
        """A run as the table has it: the named one, or the newest."""
        if not run_id:
            actor = self.table.get(table_layout.actor_key(workflow_id))
            run_id = table_layout.decode_actor(actor).current_run_id if actor else ""
        data = self.table.get(table_layout.run_key(run_id)) if run_id else None
        state = table_layout.decode_run(data) if data else None
        if state is None or state.workflow_id != workflow_id:
            which = f" run {run_id}" if run_id else ""
            message = f"no workflow {workflow_id!r}{which} on task queue {self.task_queue!r}"
            return Refused(code="not_found", message=message)
        return state

    def ask_code(self, ask: message_commands.QueryWorkflow) -> Record:
        """What a closed run answers, by its history."""
        return self._code.ask_closed(ask)


def _said_bytes(activity: ActivityState) -> int:
    """What a pending activity takes in a description, roughly."""
    chain = activity.last_failure.chain if activity.last_failure is not None else []
    payloads = [*activity.heartbeat_details, *(one for cause in chain for one in cause.details)]
    texts = sum(len(cause.message) + len(cause.stack_trace) for cause in chain)
    return 1_000 + texts + sum(len(payload.data) for payload in payloads)


def _first_events(events: list[bytes], room: int) -> list[bytes]:
    """The events of a transition that a page has room for; one at least, so that it goes on."""
    for count, event in enumerate(events):
        if count and room < len(event):
            return events[:count]
        room -= len(event)
    return events


READS: dict[type[Record], Callable[[Queries, Any], Record | None]] = {
    commands.AwaitResult: Queries.await_result,
    commands.DescribeWorkflow: Queries.describe,
    commands.ReadHistory: Queries.read_history,
    message_commands.AwaitUpdate: Queries.await_update,
    message_commands.QueryWorkflow: Queries.ask_code,
    commands.ListWorkflows: list_runs,
    commands.DescribeTaskQueue: Queries.describe_queue,
    commands.ReadRetention: Queries.read_retention,
}
"""Ask -> read(queries, ask) -> the answer, or None when it will come later."""

WAITS: dict[type[Record], Callable[[Queries, Any], str]] = {
    commands.AwaitResult: Queries.waits_for_result,
}
"""Ask -> the open run it only waits for, so that no answer is owed now."""
