"""A client's calls as the records that are written: conversion only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, timedelta
from typing import Any, Final, Protocol

from msgspec.structs import replace

from perdure._records.policies import (
    arguments_for,
    milliseconds,
    payloads_for,
    priority_record,
    retry_record,
)
from perdure._records.task_tokens import TaskToken, read_token
from perdure._schedules import action as actions
from perdure._schedules.schedule import Schedule, ScheduleBackfill
from perdure._schedules.schedule_records import (
    WORKFLOW_ID_PREFIX,
    BackfillRecord,
    ScheduleRecord,
    SchedulerState,
    encode,
)
from perdure._schedules.spec import check_spec
from perdure._search_attribute_payloads import AttributeTypes, attribute_payloads
from perdure.client._inputs import (
    AsyncActivityIDReference,
    CancelWorkflowInput,
    CompleteAsyncActivityInput,
    CreateScheduleInput,
    DeleteWorkflowInput,
    FailAsyncActivityInput,
    HeartbeatAsyncActivityInput,
    QueryWorkflowInput,
    ReportCancellationAsyncActivityInput,
    ResetWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    TerminateWorkflowInput,
    UpdateWithStartUpdateWorkflowInput,
    WorkflowUpdateStage,
)
from perdure.common import (
    Priority,
    QueryRejectCondition,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from perdure.converter._payload_codecs import header_records, payload_record
from perdure_actors.core.cron import problem_of
from perdure_actors.core.state import SCHEDULER_TYPE
from perdure_actors.replay.failures import failure_of
from perdure_schemas.commands import (
    CancelWorkflow,
    CompleteActivity,
    ConfirmActivityCanceled,
    DeleteWorkflow,
    FailActivity,
    HeartbeatActivity,
    ResetWorkflow,
    StartWorkflow,
    TerminateWorkflow,
)
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.message_commands import QueryWorkflow, SignalWorkflow, UpdateWorkflow
from perdure_schemas.payloads import Failure, Payload, Record, ReplyTo, SignalInput, UpdateInput

_STAGES: Final = {
    WorkflowUpdateStage.ACCEPTED: "accepted",
    WorkflowUpdateStage.COMPLETED: "completed",
}


def start_command(
    input: StartWorkflowInput,
    converter: PayloadConverter,
    identity: str,
    types: AttributeTypes | None = None,
) -> Callable[[ReplyTo], StartWorkflow]:
    """What makes the command once it is known where its answer goes.

    Raises TypeError or ValueError, naming the argument, for a value that cannot be written.
    """
    what = f"start of workflow {input.workflow!r}"
    values = arguments_for(what, input.args, converter, input.signature)
    memo = _mapping(input.memo, converter, "memo")
    attributes = attribute_payloads(input.search_attributes, converter)
    if types is not None:
        types.check(input.search_attributes, attributes)
    summary = _text(input.static_summary, converter)
    details = _text(input.static_details, converter)
    signals = []
    if input.start_signal is not None:
        what = f"signal {input.start_signal!r} of a start"
        signal_values = payloads_for(what, input.start_signal_args, converter)
        signals = [SignalInput(signal_name=input.start_signal, input=signal_values)]
    if input.cron_schedule and (problem := problem_of(input.cron_schedule)):
        raise ValueError(problem)
    conflict = input.id_conflict_policy
    if conflict == WorkflowIDConflictPolicy.UNSPECIFIED:
        conflict = WorkflowIDConflictPolicy.FAIL

    def make(reply: ReplyTo) -> StartWorkflow:
        return StartWorkflow(
            workflow_id=input.id,
            workflow_type=input.workflow,
            input=values,
            request_id=reply.correlation_id,
            first_sent_ms=now_ms(),
            reply=reply,
            identity=identity,
            id_reuse_policy=input.id_reuse_policy.name.lower(),
            id_conflict_policy=conflict.name.lower(),
            execution_timeout_ms=milliseconds(input.execution_timeout, "execution_timeout"),
            run_timeout_ms=milliseconds(input.run_timeout, "run_timeout"),
            task_timeout_ms=milliseconds(input.task_timeout, "task_timeout"),
            retry_policy=retry_record(input.retry_policy),
            cron_schedule=input.cron_schedule,
            start_delay_ms=milliseconds(input.start_delay, "start_delay"),
            memo=memo,
            search_attributes=attributes,
            header={key: payload_record(one) for key, one in input.headers.items()},
            static_summary=summary,
            static_details=details,
            priority=priority_record(input.priority),
            signals=signals,
        )

    return make


def _mapping(
    values: Mapping[str, Any] | None, converter: PayloadConverter, what: str
) -> dict[str, Payload]:
    if not values:
        return {}
    names = [f"the {what} {key!r}" for key in values]
    return dict(zip(values, converter.to_payloads(list(values.values()), names=names), strict=True))


def _text(text: str | None, converter: PayloadConverter) -> Payload | None:
    return None if text is None else converter.to_payloads([text])[0]


def cancel_command(
    input: CancelWorkflowInput, identity: str
) -> Callable[[ReplyTo], CancelWorkflow]:
    """What makes a request to cancel."""
    return lambda reply: CancelWorkflow(
        workflow_id=input.id,
        run_id=input.run_id or "",
        first_run_id=input.first_execution_run_id or "",
        reason=input.reason,
        request_id=reply.correlation_id,
        first_sent_ms=now_ms(),
        identity=identity,
        reply=reply,
    )


def terminate_command(
    input: TerminateWorkflowInput, converter: PayloadConverter, identity: str
) -> Callable[[ReplyTo], TerminateWorkflow]:
    """What makes a termination."""
    details = converter.to_payloads(input.args) if input.args else []
    return lambda reply: TerminateWorkflow(
        workflow_id=input.id,
        run_id=input.run_id or "",
        first_run_id=input.first_execution_run_id or "",
        reason=input.reason or "",
        details=details,
        request_id=reply.correlation_id,
        first_sent_ms=now_ms(),
        identity=identity,
        reply=reply,
    )


def delete_command(
    input: DeleteWorkflowInput, identity: str
) -> Callable[[ReplyTo], DeleteWorkflow]:
    """What makes a wish to forget a closed run."""
    return lambda reply: DeleteWorkflow(
        workflow_id=input.id,
        run_id=input.run_id or "",
        reason=input.reason,
        request_id=reply.correlation_id,
        first_sent_ms=now_ms(),
        identity=identity,
        reply=reply,
    )


def reset_command(
    input: ResetWorkflowInput, run_id: str, seq: int, identity: str
) -> Callable[[ReplyTo], ResetWorkflow]:
    """What makes a reset of a run to one of its events."""
    return lambda reply: ResetWorkflow(
        workflow_id=input.id,
        run_id=run_id,
        seq=seq,
        reason=input.reason,
        exclude=list(input.exclude),
        again=input.again,
        request_id=input.request_id or reply.correlation_id,
        first_sent_ms=now_ms(),
        identity=identity,
        reply=reply,
    )


def signal_command(
    what: str, input: SignalWorkflowInput, converter: PayloadConverter, identity: str
) -> Callable[[ReplyTo], SignalWorkflow]:
    """What makes a signal. Raises TypeError or ValueError, naming the argument."""
    values = payloads_for(what, input.args, converter, input.parameter_names)
    buffer_ms = buffer_ms_of(input.buffer_for)
    return lambda reply: SignalWorkflow(
        workflow_id=input.id,
        run_id=input.run_id or "",
        signal_name=input.signal,
        input=values,
        header=header_records(input.headers),
        request_id=reply.correlation_id,
        first_sent_ms=now_ms(),
        reply=reply,
        identity=identity,
        buffer_ms=buffer_ms,
    )


def query_command(
    what: str, input: QueryWorkflowInput, converter: PayloadConverter, identity: str
) -> Callable[[ReplyTo], QueryWorkflow]:
    """What makes a query. Raises TypeError or ValueError, naming the argument."""
    values = payloads_for(what, input.args, converter, input.parameter_names)
    condition = input.reject_condition
    return lambda reply: QueryWorkflow(
        workflow_id=input.id,
        run_id=input.run_id or "",
        query_name=input.query,
        input=values,
        header=header_records(input.headers),
        reject_condition=condition.name.lower() if condition is not None else "none",
        identity=identity,
        reply=reply,
    )


def update_command(
    what: str,
    input: StartWorkflowUpdateInput,
    update_id: str,
    converter: PayloadConverter,
    identity: str,
) -> Callable[[ReplyTo], UpdateWorkflow]:
    """What makes an update. Raises TypeError or ValueError, naming the argument."""
    values = payloads_for(what, input.args, converter, input.parameter_names)
    stage = _STAGES[input.wait_for_stage]
    return lambda reply: UpdateWorkflow(
        workflow_id=input.id,
        run_id=input.run_id or "",
        first_run_id=input.first_execution_run_id or "",
        update_name=input.update,
        update_id=update_id,
        input=values,
        header=header_records(input.headers),
        request_id=reply.correlation_id,
        first_sent_ms=now_ms(),
        reply=replace(reply, wait=stage),
        identity=identity,
    )


def update_input(
    what: str,
    input: UpdateWithStartUpdateWorkflowInput,
    update_id: str,
    converter: PayloadConverter,
) -> UpdateInput:
    """The update that a start brings. Raises TypeError or ValueError, naming the argument."""
    return UpdateInput(
        update_name=input.update,
        update_id=update_id,
        input=payloads_for(what, input.args, converter, input.parameter_names),
        header=header_records(input.headers),
        wait_stage=_STAGES[input.wait_for_stage],
    )


def buffer_ms_of(buffer_for: timedelta | None) -> int:
    """How long a signal may wait for a start. Raises ValueError for no length of time."""
    if buffer_for is None:
        return 0
    buffer_ms = math.ceil(buffer_for / timedelta(milliseconds=1))
    if buffer_ms <= 0:
        raise ValueError(f"buffer_for is {buffer_for}: give a length of time above 0")
    return buffer_ms


def now_ms() -> int:
    """The wall clock."""
    return int(time.time() * 1000)


def token_of(id_or_token: AsyncActivityIDReference | bytes) -> TaskToken:
    """What is known of the attempt of an activity; by ids, whichever is the current one."""
    if isinstance(id_or_token, bytes):
        return read_token(id_or_token)
    return TaskToken(
        id_or_token.task_queue or "",
        id_or_token.workflow_id or "",
        id_or_token.run_id or "",
        id_or_token.activity_id,
        0,
        b"",
    )


def detail_payloads(converter: PayloadConverter, details: Sequence[Any]) -> list[Payload]:
    """The details of a report of an activity."""
    names = [f"detail {number}" for number in range(1, len(details) + 1)]
    return converter.to_payloads(details, names=names) if details else []


ActivityReport = (
    HeartbeatAsyncActivityInput
    | CompleteAsyncActivityInput
    | FailAsyncActivityInput
    | ReportCancellationAsyncActivityInput
)


def report_command(
    input: ActivityReport, token: TaskToken, converter: PayloadConverter, identity: str
) -> Callable[[ReplyTo], Record]:
    """What makes a report of an activity. Raises TypeError or ValueError for its values."""
    kind, own = _report_fields(input, converter)
    return lambda reply: kind(
        workflow_id=token.workflow_id,
        run_id=token.run_id,
        activity_id=token.activity_id,
        attempt=token.attempt,
        token=token.token,
        identity=identity,
        reply=reply,
        **own,
    )


def _report_fields(
    input: ActivityReport, converter: PayloadConverter
) -> tuple[Callable[..., Record], dict[str, Any]]:
    """The record of a report, and what it holds beside the attempt it is of."""
    if isinstance(input, HeartbeatAsyncActivityInput):
        return HeartbeatActivity, {"details": detail_payloads(converter, input.details)}
    if isinstance(input, CompleteAsyncActivityInput):
        values = [] if input.result is None else [input.result]
        payloads = converter.to_payloads(values, names=["the result"]) if values else [None]
        return CompleteActivity, {"result": payloads[0], "started_ms": now_ms()}
    if isinstance(input, ReportCancellationAsyncActivityInput):
        details = detail_payloads(converter, input.details)
        return ConfirmActivityCanceled, {"details": details, "started_ms": now_ms()}
    failure = failure_of(input.error, converter)
    details = detail_payloads(converter, input.last_heartbeat_details)
    if details and failure.chain:
        outer = replace(failure.chain[0], last_heartbeat_details=details)
        failure = Failure(chain=[outer, *failure.chain[1:]])
    return FailActivity, {"failure": failure, "started_ms": now_ms()}


class ScheduleMessage(Protocol):
    """What a call about a schedule says beside what it asks for."""

    id: str
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None


def scheduler_query(input: ScheduleMessage) -> QueryWorkflowInput:
    """The query that a schedule's workflow describes it for."""
    return QueryWorkflowInput(
        id=WORKFLOW_ID_PREFIX + input.id,
        run_id=None,
        query="describe",
        args=(),
        reject_condition=QueryRejectCondition.NOT_OPEN,
        headers={},
        ret_type=bytes,
        rpc_metadata=input.rpc_metadata,
        rpc_timeout=input.rpc_timeout,
    )


def scheduler_update(
    input: ScheduleMessage, update: str, args: Sequence[Any]
) -> StartWorkflowUpdateInput:
    """An update of a schedule's workflow, waited for until it is done."""
    return StartWorkflowUpdateInput(
        id=WORKFLOW_ID_PREFIX + input.id,
        run_id=None,
        first_execution_run_id=None,
        update_id=None,
        update=update,
        args=args,
        wait_for_stage=WorkflowUpdateStage.COMPLETED,
        headers={},
        ret_type=None,
        rpc_metadata=input.rpc_metadata,
        rpc_timeout=input.rpc_timeout,
    )


def scheduler_end(input: ScheduleMessage) -> TerminateWorkflowInput:
    """The termination of a schedule's workflow."""
    return TerminateWorkflowInput(
        id=WORKFLOW_ID_PREFIX + input.id,
        run_id=None,
        first_execution_run_id=None,
        args=(),
        reason="the schedule was deleted",
        rpc_metadata=input.rpc_metadata,
        rpc_timeout=input.rpc_timeout,
    )


def scheduler_start(input: CreateScheduleInput, converter: PayloadConverter) -> StartWorkflowInput:
    """The start of a schedule's workflow. Raises ValueError or TypeError for a bad schedule."""
    record = schedule_record(input.schedule, converter)
    state = SchedulerState(
        schedule_id=input.id,
        schedule=record,
        triggers=input.trigger_immediately,
        backfills=backfill_records(input.backfill),
    )
    return StartWorkflowInput(
        workflow=SCHEDULER_TYPE,
        args=[encode(state)],
        id=WORKFLOW_ID_PREFIX + input.id,
        task_queue=record.action.task_queue,
        execution_timeout=None,
        run_timeout=None,
        task_timeout=None,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        retry_policy=None,
        cron_schedule="",
        memo=input.memo,
        search_attributes=input.search_attributes,
        start_delay=None,
        headers={},
        static_summary=None,
        static_details=None,
        ret_type=None,
        rpc_metadata=input.rpc_metadata,
        rpc_timeout=input.rpc_timeout,
        priority=Priority.default,
    )


def schedule_record(schedule: Schedule, converter: PayloadConverter) -> ScheduleRecord:
    """A schedule as its actor holds it. Raises ValueError or TypeError for a bad one."""
    check_spec(schedule.spec)
    schedule.state._check()
    return ScheduleRecord(
        action=actions.action_record(schedule.action, converter),
        spec=schedule.spec,
        policy=schedule.policy,
        state=schedule.state,
    )


def backfill_records(given: Sequence[ScheduleBackfill]) -> list[BackfillRecord]:
    """Spans of time to act in, as the workflow of a schedule holds them. Raises ValueError."""
    for one in given:
        if one.start_at.tzinfo is None or one.end_at.tzinfo is None:
            raise ValueError("a backfill's times need a time zone: give datetime(..., tzinfo=UTC)")
        if one.end_at < one.start_at:
            raise ValueError(f"a backfill ends at {one.end_at}, before it starts")
    return [
        BackfillRecord(one.start_at.astimezone(UTC), one.end_at.astimezone(UTC), one.overlap)
        for one in given
    ]
