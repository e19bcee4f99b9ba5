"""The index of the actor core: which function decides what, applies what, and sends what.

A new command, event or deadline is a row here; the shard's loop looks rows up and never learns
a feature's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perdure_actors.core import (
    activities,
    activity_operations,
    attempts,
    child_reports,
    children,
    deadlines,
    deletion,
    execution,
    external_workflows,
    markers,
    messages,
    next_run,
    reset,
    search_attribute_types,
    timers,
    with_start,
)
from perdure_schemas import (
    child_commands,
    child_events,
    commands,
    events,
    fact_events,
    message_commands,
    message_events,
    operator_commands,
    operator_events,
)
from perdure_schemas.avro import encode
from perdure_schemas.payloads import Errand

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perdure_actors.core.decision import (
        Decision,
        Due,
        Effect,
        Later,
        Rejection,
        SendCommand,
        Verdict,
    )
    from perdure_actors.core.state import RecordId, Run
    from perdure_actors.core.world import RunView, World
    from perdure_schemas.command_headers import Command
    from perdure_schemas.payloads import Record

    Decide = Callable[[World, Any, int], Verdict]
    DecideOutput = Callable[[World, RunView, Any, int], Record]
    Errands = Callable[[World, Any, Decision | Rejection], Sequence[SendCommand]]
    Check = Callable[[World, RunView, list[Record]], str]
    DecideAlarm = Callable[[World, RunView, str, int], Due | Later]
    Apply = Callable[[Run, Any, RecordId, int], None]
    Effects = Callable[[RunView, Any, RecordId, int], list[Effect]]

COMMANDS: dict[type[Command], Decide] = {
    commands.StartWorkflow: with_start.decide_start,
    commands.CancelWorkflow: execution.decide_cancel,
    commands.TerminateWorkflow: execution.decide_terminate,
    commands.ResetWorkflow: reset.decide_reset,
    commands.DeleteWorkflow: deletion.decide_delete,
    message_commands.SignalWorkflow: messages.decide_signal,
    message_commands.UpdateWorkflow: messages.decide_update,
    commands.ClaimActivity: attempts.decide_claim,
    commands.CompleteActivity: attempts.decide_complete,
    commands.FailActivity: attempts.decide_fail,
    commands.ConfirmActivityCanceled: attempts.decide_confirm_canceled,
    commands.HeartbeatActivity: attempts.decide_heartbeat,
    commands.HandBackActivity: attempts.decide_hand_back,
    commands.WorkerLease: attempts.decide_lease,
    commands.DetachActivity: attempts.decide_detach,
    operator_commands.PauseActivity: activity_operations.decide_pause,
    operator_commands.UnpauseActivity: activity_operations.decide_unpause,
    operator_commands.ResetActivity: activity_operations.decide_reset,
    operator_commands.RetryActivityNow: activity_operations.decide_retry_now,
    operator_commands.FailActivityNow: activity_operations.decide_fail_now,
    operator_commands.UpdateActivityOptions: activity_operations.decide_update_options,
    child_commands.ReportChildStarted: child_reports.decide_report_started,
    child_commands.ReportChildRefused: child_reports.decide_report_refused,
    child_commands.ReportChildClosed: child_reports.decide_report_closed,
    child_commands.ReportCall: external_workflows.decide_report,
}
"""Command -> decide(world, command, now) -> Decision, Rejection or Ignored."""

OUTPUTS: dict[type[Record], DecideOutput] = {
    events.ActivityScheduled: activities.decide_activity_scheduled,
    message_events.WorkflowUpdateCompleted: messages.decide_update_completed,
    events.WorkflowCompleted: next_run.decide_completed,
    events.WorkflowFailed: next_run.decide_failed,
    events.WorkflowContinuedAsNew: execution.decide_continued,
    child_events.ChildWorkflowInitiated: children.decide_initiated,
    child_events.ExternalCancelInitiated: external_workflows.decide_initiated,
    child_events.ExternalSignalInitiated: external_workflows.decide_initiated,
    child_events.ExternalStartInitiated: external_workflows.decide_start_initiated,
}
"""What the code asked for -> the event it becomes; what has no row becomes itself."""

ERRANDS: dict[type[Command], tuple[Errands, ...]] = {
    commands.StartWorkflow: (child_reports.errands_of_start, external_workflows.errands_of_call),
    commands.CancelWorkflow: (external_workflows.errands_of_call,),
    message_commands.SignalWorkflow: (external_workflows.errands_of_call,),
}
"""Command -> what its sender, another actor, is told of the outcome."""

CHECKS: tuple[Check, ...] = (
    activities.check_activities,
    timers.check_timers,
    children.check_children,
    external_workflows.check_calls,
    execution.check_continued,
    markers.check_facts,
)
"""What an activation asked for, as a whole -> why it is too much; empty when it is not."""

FITS: tuple[Check, ...] = (search_attribute_types.check_attributes,)
"""What an activation asked for, as a whole -> why it does not fit; empty when it does."""

ALARMS: dict[str, DecideAlarm] = {
    "run": execution.decide_run_alarm,
    "activity": deadlines.decide_activity_alarm,
    "timer": timers.decide_timer_alarm,
}
"""Entity -> decide(world, run, id, now) -> Due or Later."""

APPLY: dict[type[Record], Apply] = {
    events.WorkflowStarted: execution.apply_started,
    events.WorkflowCancelRequested: execution.apply_cancel_requested,
    message_events.WorkflowSignaled: messages.apply_signaled,
    message_events.WorkflowUpdateAccepted: messages.apply_update_accepted,
    message_events.WorkflowUpdateCompleted: messages.apply_update_completed,
    events.WorkflowBlocked: execution.apply_blocked,
    events.WorkflowResumed: execution.apply_resumed,
    events.WorkflowCompleted: execution.apply_completed,
    events.WorkflowFailed: execution.apply_failed,
    events.WorkflowCanceled: execution.apply_canceled,
    events.WorkflowTerminated: execution.apply_terminated,
    events.WorkflowTimedOut: execution.apply_timed_out,
    events.WorkflowContinuedAsNew: execution.apply_continued_as_new,
    events.ActivityScheduled: activities.apply_activity_scheduled,
    events.ActivityStarted: activities.apply_activity_started,
    events.ActivityHeartbeat: activities.apply_activity_heartbeat,
    events.ActivityRetryScheduled: activities.apply_activity_retry_scheduled,
    events.ActivityAttemptScheduled: activities.apply_activity_attempt_scheduled,
    events.ActivityCancelRequested: activities.apply_activity_cancel_requested,
    events.ActivityCompleted: activities.apply_activity_outcome,
    events.ActivityFailed: activities.apply_activity_outcome,
    events.ActivityTimedOut: activities.apply_activity_outcome,
    events.ActivityCanceled: activities.apply_activity_outcome,
    events.TimerStarted: timers.apply_timer_started,
    events.TimerFired: timers.apply_timer_fired,
    events.TimerCanceled: timers.apply_timer_canceled,
    operator_events.ActivityPaused: activities.apply_paused,
    operator_events.ActivityUnpaused: activities.apply_unpaused,
    operator_events.ActivityReset: activities.apply_reset,
    operator_events.ActivityOptionsUpdated: activities.apply_options_updated,
    operator_events.ActivityDetached: activities.apply_activity_detached,
    fact_events.MarkerRecorded: markers.apply_marker,
    fact_events.MemoUpserted: markers.apply_memo,
    fact_events.SearchAttributesUpserted: markers.apply_attributes,
    fact_events.RecordEmitted: markers.apply_emitted,
    child_events.ChildWorkflowInitiated: children.apply_initiated,
    child_events.ChildWorkflowStarted: children.apply_started,
    child_events.ChildWorkflowStartFailed: children.apply_outcome,
    child_events.ChildWorkflowCompleted: children.apply_outcome,
    child_events.ChildWorkflowFailed: children.apply_outcome,
    child_events.ChildWorkflowCanceled: children.apply_outcome,
    child_events.ChildWorkflowTimedOut: children.apply_outcome,
    child_events.ChildWorkflowTerminated: children.apply_outcome,
    child_events.ChildCancelRequested: children.apply_cancel_requested,
    child_events.ExternalCancelInitiated: external_workflows.apply_cancel_initiated,
    child_events.ExternalCancelRequested: external_workflows.apply_answered,
    child_events.ExternalCancelFailed: external_workflows.apply_answered,
    child_events.ExternalSignalInitiated: external_workflows.apply_signal_initiated,
    child_events.ExternalSignaled: external_workflows.apply_answered,
    child_events.ExternalSignalFailed: external_workflows.apply_answered,
    child_events.ExternalStartInitiated: external_workflows.apply_start_initiated,
    child_events.ExternalStarted: external_workflows.apply_answered,
    child_events.ExternalStartFailed: external_workflows.apply_answered,
}
"""Event -> apply(run, event, at, now): the only place where a run's state changes."""


def effects_of_closing(run: RunView, event: Any, at: RecordId, now_ms: int) -> list[Effect]:
    """What the end of a run means for those who work for it, below it and above it."""
    return [
        *activities.effects_of_closing(run, event, at, now_ms),
        *children.effects_of_closing(run, event, at, now_ms),
        *child_reports.effects_of_closing(run, event, at, now_ms),
    ]


EFFECTS: dict[type[Record], Effects] = {
    events.WorkflowStarted: child_reports.effects_of_run_started,
    events.ActivityScheduled: activities.effects_of_scheduled,
    events.ActivityAttemptScheduled: activities.effects_of_event,
    events.ActivityCancelRequested: activities.effects_of_event,
    events.ActivityTimedOut: activities.effects_of_event,
    events.ActivityRetryScheduled: activities.effects_of_event,
    events.ActivityFailed: activities.effects_of_event,
    operator_events.ActivityPaused: activities.effects_of_event,
    operator_events.ActivityReset: activities.effects_of_event,
    events.WorkflowCompleted: effects_of_closing,
    events.WorkflowFailed: effects_of_closing,
    events.WorkflowCanceled: effects_of_closing,
    events.WorkflowTerminated: effects_of_closing,
    events.WorkflowTimedOut: effects_of_closing,
    events.WorkflowContinuedAsNew: effects_of_closing,
    child_events.ChildWorkflowInitiated: children.effects_of_initiated,
    child_events.ChildCancelRequested: children.effects_of_cancel_requested,
    child_events.ExternalCancelInitiated: external_workflows.effects_of_cancel_initiated,
    child_events.ExternalSignalInitiated: external_workflows.effects_of_signal_initiated,
    child_events.ExternalStartInitiated: external_workflows.effects_of_start_initiated,
}
"""Event -> the errands it brings, from the state before it is applied."""


def errands_of(world: World, command: Command, verdict: Decision | Rejection) -> tuple[Errand, ...]:
    """What an actor that sent a command is told of its outcome, beside what events tell it."""
    return tuple(
        Errand(task_queue=one.task_queue, command=encode(one.command))
        for row in ERRANDS.get(type(command), ())
        for one in row(world, command, verdict)
    )


def apply(run: Run, event: Record, at: RecordId, now_ms: int) -> None:
    """Apply one event to its run; the same in life and in recovery."""
    state = run.state
    state.seq += 1
    APPLY[type(event)](run, event, at, now_ms)
    if state.block is not None and type(event) in events.INPUTS and state.seq not in state.waiting:
        # The code does not take it now; it waits until fixed code does.
        state.waiting = [*state.waiting, state.seq]


def effects_of(run: RunView, event: Record, at: RecordId, now_ms: int) -> list[Effect]:
    """The errands of one event; to be asked before it is applied."""
    row = EFFECTS.get(type(event))
    return row(run, event, at, now_ms) if row else []


def settle(world: World, run: RunView, output: Record, now_ms: int) -> Record:
    """The event that something the code asked for becomes."""
    row = OUTPUTS.get(type(output))
    return row(world, run, output, now_ms) if row else output
