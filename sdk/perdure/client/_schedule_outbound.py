"""The last link of a client's chain for schedules: calls as messages to the schedule's actor."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure._schedules import action as actions
from perdure._schedules.schedule import Schedule, ScheduleBackfill
from perdure._schedules.schedule_records import (
    WORKFLOW_ID_PREFIX,
    BackfillRecord,
    ScheduleRecord,
    SchedulerState,
    decode_described,
    encode,
)
from perdure._schedules.spec import check_spec
from perdure._search_attribute_payloads import attribute_payloads
from perdure.client._connection import Connection
from perdure.client._handle import HandlesClient, OutboundInterceptor, WorkflowHandle
from perdure.client._inputs import ListWorkflowsInput, StartWorkflowInput
from perdure.client._message_errors import WorkflowQueryRejectedError
from perdure.client._message_inputs import AwaitUpdateInput
from perdure.client._schedule_descriptions import (
    ScheduleAsyncIterator,
    ScheduleDescription,
    ScheduleUpdateInput,
    description_of,
)
from perdure.client._schedule_handle import ScheduleHandle
from perdure.client._schedule_inputs import (
    BackfillScheduleInput,
    CreateScheduleInput,
    DeleteScheduleInput,
    DescribeScheduleInput,
    ListSchedulesInput,
    PauseScheduleInput,
    TriggerScheduleInput,
    UnpauseScheduleInput,
    UpdateScheduleInput,
)
from perdure.common import (
    Priority,
    QueryRejectCondition,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from perdure.converter import DataConverter
from perdure.exceptions import PerdureError, WorkflowAlreadyStartedError
from perdure_actors.visibility.hidden_types import SCHEDULER_TYPE
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.replies import UpdateAnswer

LISTED = f"WorkflowType = '{SCHEDULER_TYPE}' AND ExecutionStatus IN ('Running', 'Blocked')"


class ScheduleAlreadyRunningError(PerdureError):
    """A schedule of that id exists."""

    def __init__(self) -> None:
        super().__init__("Schedule already running")


@dataclass(frozen=True)
class _Direct:
    """A client whose calls go to the log at once, past the links that calls of users go through."""

    client: HandlesClient
    outbound: OutboundInterceptor

    @property
    def values(self) -> PayloadConverter:
        """What reads and writes values."""
        return self.client.values

    @property
    def data_converter(self) -> DataConverter:
        """What the user gave for that."""
        return self.client.data_converter

    @property
    def query_reject_condition(self) -> QueryRejectCondition | None:
        """Schedules are asked in every state."""
        return None

    def values_for(self, workflow_id: str) -> PayloadConverter:
        """What reads and writes the values of a workflow."""
        return self.client.values_for(workflow_id)

    async def await_update(self, input: AwaitUpdateInput) -> UpdateAnswer:
        """Wait for the outcome of an update."""
        return await self.client.await_update(input)


class SchedulesOnLog(OutboundInterceptor):
    """The part of the last link that makes schedules, and asks and tells them."""

    _client: HandlesClient
    _connection: Connection

    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:
        """Make a schedule on the task queue of its action.

        Raises ScheduleAlreadyRunningError when there is one of this id, ValueError for one that
        cannot be followed.
        """
        record = schedule_record(input.schedule, self._values_for_action(input.schedule))
        state = SchedulerState(
            schedule_id=input.id,
            schedule=record,
            triggers=input.trigger_immediately,
            backfills=_backfills(input.backfill),
        )
        start = StartWorkflowInput(
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
        try:
            await self.start_workflow(start)
        except WorkflowAlreadyStartedError as error:
            raise ScheduleAlreadyRunningError from error
        return ScheduleHandle(self._client, input.id)

    def list_schedules(self, input: ListSchedulesInput) -> ScheduleAsyncIterator:
        """List schedules over all partitions, from what their actors keep in their memos."""
        query = f"{LISTED} AND ({input.query})" if input.query else LISTED
        runs = self.list_workflows(
            ListWorkflowsInput(
                query=query,
                page_size=input.page_size,
                next_page_token=input.next_page_token,
                rpc_metadata=input.rpc_metadata,
                rpc_timeout=input.rpc_timeout,
                limit=None,
            )
        )
        return ScheduleAsyncIterator(runs)

    async def describe_schedule(self, input: DescribeScheduleInput) -> ScheduleDescription:
        """Ask how a schedule stands."""
        try:
            data = await self._actor(input.id).query(
                "describe",
                result_type=bytes,
                reject_condition=QueryRejectCondition.NOT_OPEN,
                rpc_metadata=input.rpc_metadata,
                rpc_timeout=input.rpc_timeout,
            )
        except (WorkflowQueryRejectedError, RPCError) as error:
            raise _missing(input.id, error) from error
        return description_of(
            input.id,
            decode_described(data),
            self._client.data_converter,
            namespace=self._connection.namespace,
        )

    async def pause_schedule(self, input: PauseScheduleInput) -> None:
        """Pause a schedule."""
        note = input.note or "Paused via Python SDK"
        await self._tell(input.id, "pause", [note], input.rpc_metadata, input.rpc_timeout)

    async def unpause_schedule(self, input: UnpauseScheduleInput) -> None:
        """Let a schedule go on."""
        note = input.note or "Unpaused via Python SDK"
        await self._tell(input.id, "unpause", [note], input.rpc_metadata, input.rpc_timeout)

    async def trigger_schedule(self, input: TriggerScheduleInput) -> None:
        """Take an action now."""
        overlap = int(input.overlap or 0)
        await self._tell(input.id, "trigger", [overlap], input.rpc_metadata, input.rpc_timeout)

    async def backfill_schedule(self, input: BackfillScheduleInput) -> None:
        """Take the actions of spans of time."""
        spans = encode(_backfills(input.backfills))
        await self._tell(input.id, "backfill", [spans], input.rpc_metadata, input.rpc_timeout)

    async def update_schedule(self, input: UpdateScheduleInput) -> None:
        """Describe a schedule, ask the updater, and change it as that says."""
        found = await self.describe_schedule(
            DescribeScheduleInput(input.id, input.rpc_metadata, input.rpc_timeout)
        )
        made = input.updater(ScheduleUpdateInput(found))
        if inspect.isawaitable(made):
            made = await made
        if made is None:
            return
        args = [encode(schedule_record(made.schedule, self._values_for_action(made.schedule)))]
        if made.search_attributes is not None:
            wanted = attribute_payloads(made.search_attributes, self._client.values)
            args.append(encode(wanted))
        await self._tell(input.id, "update", args, input.rpc_metadata, input.rpc_timeout)

    async def delete_schedule(self, input: DeleteScheduleInput) -> None:
        """End a schedule; what it has started goes on."""
        try:
            await self._actor(input.id).terminate(
                reason="the schedule was deleted",
                rpc_metadata=input.rpc_metadata,
                rpc_timeout=input.rpc_timeout,
            )
        except RPCError as error:
            raise _missing(input.id, error) from error

    def _values_for_action(self, schedule: Schedule) -> PayloadConverter:
        """What writes its values: for the id in its action; what it starts has the time behind."""
        return self._client.values_for(getattr(schedule.action, "id", ""))

    def _actor(self, schedule_id: str) -> WorkflowHandle[Any, Any]:
        direct = _Direct(self._client, self)
        return WorkflowHandle(direct, WORKFLOW_ID_PREFIX + schedule_id)

    async def _tell(
        self,
        schedule_id: str,
        update: str,
        args: Sequence[Any],
        rpc_metadata: Mapping[str, str | bytes],
        rpc_timeout: timedelta | None,
    ) -> None:
        try:
            await self._actor(schedule_id).execute_update(
                update, args=args, rpc_metadata=rpc_metadata, rpc_timeout=rpc_timeout
            )
        except RPCError as error:
            raise _missing(schedule_id, error) from error


def _missing(schedule_id: str, error: Exception) -> Exception:
    """There is no such schedule, or it was deleted; any other error is itself."""
    gone = isinstance(error, WorkflowQueryRejectedError)
    if gone or (isinstance(error, RPCError) and error.status == RPCStatusCode.NOT_FOUND):
        return RPCError(f"no schedule {schedule_id!r}", RPCStatusCode.NOT_FOUND, b"")
    return error


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


def _backfills(given: Sequence[ScheduleBackfill]) -> list[BackfillRecord]:
    for one in given:
        if one.start_at.tzinfo is None or one.end_at.tzinfo is None:
            raise ValueError("a backfill's times need a time zone: give datetime(..., tzinfo=UTC)")
        if one.end_at < one.start_at:
            raise ValueError(f"a backfill ends at {one.end_at}, before it starts")
    return [
        BackfillRecord(one.start_at.astimezone(UTC), one.end_at.astimezone(UTC), one.overlap)
        for one in given
    ]
