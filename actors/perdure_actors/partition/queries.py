"""Asks that only read: answered from the table, which holds nothing but what is accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perdure_actors import table_layout
from perdure_actors.core.state import ActivityState, ChildState, RunState
from perdure_actors.partition.descriptions import pending_child_record, pending_record
from perdure_actors.partition.executor import history_from
from perdure_actors.partition.run_queries import ask_closed
from perdure_actors.visibility.blocks import block_of
from perdure_actors.visibility.counting import open_and_blocked
from perdure_actors.visibility.listing import list_runs
from perdure_actors.visibility.run_row import RunRow
from perdure_schemas import commands, message_commands
from perdure_schemas.payloads import RunRef
from perdure_schemas.replies import (
    HistoryBatch,
    HistoryPage,
    Notice,
    PendingActivity,
    PendingTimer,
    Refused,
    RunClosed,
    RunDescription,
    TaskQueueInfo,
    WorkerInfo,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_actors.partition.capabilities import Owned
    from perdure_schemas.payloads import Record

    Read = Callable[[Owned, Any], Record | None]
    Wait = Callable[[Owned, Any], str]

PAGE_BYTES_MAX = 4 * 1024 * 1024
DESCRIBED_BYTES = 3 * 1024 * 1024
"""A page of pending activities; one more may be over it."""
NOT_STARTED_MS = 300
"""An activity nobody took for so long is worth a word."""


def _state(shard: Owned, workflow_id: str, run_id: str) -> RunState | Refused:
    """A run as the table has it: the named one, or the newest."""
    if not run_id:
        actor = shard.table.get(table_layout.actor_key(workflow_id))
        run_id = table_layout.decode_actor(actor).current_run_id if actor else ""
    data = shard.table.get(table_layout.run_key(run_id)) if run_id else None
    state = table_layout.decode_run(data) if data else None
    if state is None or state.workflow_id != workflow_id:
        which = f" run {run_id}" if run_id else ""
        message = f"no workflow {workflow_id!r}{which} on task queue {shard.task_queue!r}"
        return Refused(code="not_found", message=message)
    return state


def await_result(shard: Owned, ask: commands.AwaitResult) -> Record | None:
    """How a run ended; an open one is waited for."""
    state = _state(shard, ask.workflow_id, ask.run_id)
    if isinstance(state, Refused):
        if _is_to_follow(shard, ask.workflow_id, ask.run_id):
            shard.wait(ask.reply, ask.run_id)
            return None
        return state
    closing = state.closing
    if closing is None:
        shard.wait(ask.reply, state.run_id)
        return None
    return RunClosed(
        workflow_id=state.workflow_id,
        run_id=state.run_id,
        status=closing.status,
        result=closing.result,
        failure=closing.failure,
        next_run_id=closing.next_run_id,
        close_ms=closing.time_ms,
    )


def await_update(shard: Owned, ask: message_commands.AwaitUpdate) -> Record | None:
    """How far an update is; one that is not so far is waited for."""
    state = _state(shard, ask.workflow_id, ask.run_id)
    if isinstance(state, Refused):
        return state
    shard.wait(ask.reply, state.run_id, ask.update_id, ask.stage)
    return None


def _is_to_follow(shard: Owned, workflow_id: str, run_id: str) -> bool:
    """Whether a run will follow the current one, and only its time has not come."""
    data = shard.table.get(table_layout.actor_key(workflow_id))
    return (
        data is not None and bool(run_id) and table_layout.decode_actor(data).next_run_id == run_id
    )


def waits_for_result(shard: Owned, ask: commands.AwaitResult) -> str:
    """The open run that an ask will wait for; empty when it must be read.

    Only a named run is waited for without a record that covers the ask: how it ended is final,
    whoever says so. Which run is the newest, only an owner can say.
    """
    run = shard.world.run(ask.run_id) if ask.run_id else None
    if run is None or run.state.workflow_id != ask.workflow_id or not run.state.is_open:
        return ""
    return run.state.run_id


def describe(shard: Owned, ask: commands.DescribeWorkflow) -> Record:
    """How a run stands; with very much pending, page by page."""
    state = _state(shard, ask.workflow_id, ask.run_id)
    if isinstance(state, Refused):
        return state
    run_id = state.run_id
    row = RunRow(shard, state)
    started = row.started
    activities = [
        table_layout.decode_activity(value)
        for _, value in shard.table.scan(*table_layout.activities_range(run_id))
    ]
    pending, token = _pending_page(shard, run_id, activities, ask.page_token)
    if ask.page_token:
        return RunDescription(
            summary=row.summary(), pending_activities=pending, next_page_token=token
        )
    timers = [
        table_layout.decode_timer(value)
        for _, value in shard.table.scan(*table_layout.timers_range(run_id))
    ]
    children = [
        table_layout.decode_child(value)
        for _, value in shard.table.scan(*table_layout.children_range(run_id))
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
        notices=notices_of(shard, state, activities, children),
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
    shard: Owned, run_id: str, activities: list[ActivityState], token: bytes
) -> tuple[list[PendingActivity], bytes]:
    """A run's pending activities behind a page token, in the order of their rows; where to go on.

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
        found.append(pending_record(shard, run_id, activity))
        room -= _said_bytes(activity)
    return found, b""


def _said_bytes(activity: ActivityState) -> int:
    """What a pending activity takes in a description, roughly."""
    chain = activity.last_failure.chain if activity.last_failure is not None else []
    payloads = [*activity.heartbeat_details, *(one for cause in chain for one in cause.details)]
    texts = sum(len(cause.message) + len(cause.stack_trace) for cause in chain)
    return 1_000 + texts + sum(len(payload.data) for payload in payloads)


def notices_of(
    shard: Owned, state: RunState, activities: list[ActivityState], children: list[ChildState]
) -> list[Notice]:
    """What somebody who waits for a run should know."""
    notices = []
    block = block_of(shard.table, state) if state.is_open else None
    if block is not None:
        text = f"workflow {state.workflow_id!r} is blocked ({block.cause}): {block.message}"
        notices.append(Notice(code="blocked", message=text))
    now_ms = shard.world.now_ms()
    queues = {
        activity.scheduled.task_queue: activity
        for activity in activities
        if activity.state == "scheduled"
        and not activity.scheduled.local
        and now_ms - activity.attempt_ms >= NOT_STARTED_MS
    }
    wanted = [*queues, *(child.task_queue for child in children if not child.run_id)]
    for queue in dict.fromkeys(wanted):
        if queue in shard.dispatch.missing:
            text = f"task queue {queue!r} has no topics: perdure topics create --task-queue {queue}"
            notices.append(Notice(code="no_queue", message=text))
    for queue, activity in queues.items():
        if queue not in shard.dispatch.missing and shard.services.workers_of(queue) == 0:
            text = (
                f"no worker listens on task queue {queue!r}: activity"
                f" {activity.scheduled.activity_type} waits for one"
            )
            notices.append(Notice(code="no_worker", message=text))
    return notices


def read_history(shard: Owned, ask: commands.ReadHistory) -> Record | None:
    """Events of a run from a seq on; with wait_new, once there are any."""
    state = _state(shard, ask.workflow_id, ask.run_id)
    if isinstance(state, Refused):
        return state
    if ask.wait_new and ask.from_seq > state.seq and state.is_open:
        shard.watch(state.run_id, ask)
        return None
    batches: list[HistoryBatch] = []
    size, next_seq, more = 0, ask.from_seq, False
    bytes_max = min(max(ask.max_bytes, 1), PAGE_BYTES_MAX)
    for offset, pseq, time_ms, body in history_from(shard.table, state.run_id, ask.from_seq):
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


def _first_events(events: list[bytes], room: int) -> list[bytes]:
    """The events of a transition that a page has room for; one at least, so that it goes on."""
    for count, event in enumerate(events):
        if count and room < len(event):
            return events[:count]
        room -= len(event)
    return events


def describe_queue(shard: Owned, _ask: commands.DescribeTaskQueue) -> Record:
    """How a partition of the task queue stands."""
    table = shard.table
    open_runs, blocked_runs = open_and_blocked(table)
    pending = table.get(table_layout.PENDING_ACTIVITIES)
    return TaskQueueInfo(
        partition=shard.partition,
        epoch=shard.cursor.epoch,
        pseq=shard.cursor.pseq,
        upto=shard.cursor.upto,
        owner=shard.services.owner,
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
            for lease in shard.world.soft.leases.values()
        ],
        open_runs=open_runs,
        blocked_runs=blocked_runs,
        pending_activities=table_layout.unpack_count(pending) if pending else 0,
    )


READS: dict[type[Record], Read] = {
    commands.AwaitResult: await_result,
    commands.DescribeWorkflow: describe,
    commands.ReadHistory: read_history,
    message_commands.AwaitUpdate: await_update,
    message_commands.QueryWorkflow: ask_closed,
    commands.ListWorkflows: list_runs,
    commands.DescribeTaskQueue: describe_queue,
}
"""Ask -> read(shard, ask) -> the answer, or None when it will come later."""

WAITS: dict[type[Record], Wait] = {
    commands.AwaitResult: waits_for_result,
}
"""Ask -> the open run it only waits for, so that no answer is owed now."""
