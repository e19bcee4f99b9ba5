"""How a client makes schedules, and what it does with one."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import Any, Protocol

from perdure.common import (
    QueryRejectCondition,
    SearchAttributes,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
)
from perdure.exceptions import PerdureError, WorkflowAlreadyStartedError
from perdure.handles import WorkflowHandle
from perdure.message_errors import WorkflowQueryRejectedError
from perdure.schedules import action as actions
from perdure.schedules.records import (
    WORKFLOW_ID_PREFIX,
    BackfillRecord,
    Described,
    ScheduleRecord,
    SchedulerState,
    decode_described,
    encode,
)
from perdure.schedules.schedule import (
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionResult,
    ScheduleBackfill,
    ScheduleInfo,
    ScheduleOverlapPolicy,
    ScheduleUpdate,
)
from perdure.schedules.spec import check_spec
from perdure.service import RPCError, RPCStatusCode
from perdure.workflow.information import SCHEDULER_TYPE
from perdure_schemas.converters import PayloadConverter

NO_METADATA: Mapping[str, str | bytes] = {}


class ScheduleAlreadyRunningError(PerdureError):
    """A schedule of that id exists."""

    def __init__(self) -> None:
        super().__init__("Schedule already running")


@dataclass
class ScheduleDescription:
    """A schedule, and what it has done and will do."""

    id: str
    schedule: Schedule
    info: ScheduleInfo


@dataclass
class ScheduleUpdateInput:
    """What an updater is given."""

    description: ScheduleDescription


@dataclass
class ScheduleListDescription:
    """A schedule as a list shows it."""

    id: str
    schedule: Schedule
    info: ScheduleInfo


class SchedulesClient(Protocol):
    """What schedules need of a client."""

    @property
    def values(self) -> PayloadConverter:
        """What turns values into payloads."""

    @property
    def start_workflow(self) -> Any:
        """Starts a workflow."""

    @property
    def get_workflow_handle(self) -> Any:
        """Makes a handle of a workflow."""

    @property
    def list_workflows(self) -> Any:
        """Lists runs."""


Updater = Callable[[ScheduleUpdateInput], ScheduleUpdate | Awaitable[ScheduleUpdate | None] | None]


class ScheduleHandle:
    """A schedule by its id."""

    def __init__(self, client: SchedulesClient, id: str) -> None:
        self._client = client
        self._id = id
        self._handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(WORKFLOW_ID_PREFIX + id)

    @property
    def id(self) -> str:
        """The schedule's id."""
        return self._id

    async def describe(
        self,
        *,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> ScheduleDescription:
        """How the schedule stands. Raises RPCError, NOT_FOUND, when there is none of this id."""
        del rpc_metadata
        return _description(self._id, await self._described(rpc_timeout), self._client.values)

    async def _described(self, rpc_timeout: timedelta | None) -> Described:
        try:
            data = await self._handle.query(
                "describe",
                result_type=bytes,
                reject_condition=QueryRejectCondition.NOT_OPEN,
                rpc_timeout=rpc_timeout,
            )
        except (WorkflowQueryRejectedError, RPCError) as error:
            raise self._missing(error) from error
        return decode_described(data)

    def _missing(self, error: Exception) -> Exception:
        """There is no such schedule, or it was deleted; any other error is itself."""
        gone = isinstance(error, WorkflowQueryRejectedError)
        if gone or (isinstance(error, RPCError) and error.status == RPCStatusCode.NOT_FOUND):
            return RPCError(f"no schedule {self._id!r}", RPCStatusCode.NOT_FOUND, b"")
        return error

    async def _tell(self, update: str, arg: Any, rpc_timeout: timedelta | None) -> None:
        try:
            await self._handle.execute_update(update, arg, rpc_timeout=rpc_timeout)
        except RPCError as error:
            raise self._missing(error) from error

    async def pause(
        self,
        *,
        note: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Take no actions until it is told to go on."""
        del rpc_metadata
        await self._tell("pause", note or "Paused via Python SDK", rpc_timeout)

    async def unpause(
        self,
        *,
        note: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Take actions again, from now on."""
        del rpc_metadata
        await self._tell("unpause", note or "Unpaused via Python SDK", rpc_timeout)

    async def trigger(
        self,
        *,
        overlap: ScheduleOverlapPolicy | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Take an action now."""
        del rpc_metadata
        await self._tell("trigger", int(overlap or 0), rpc_timeout)

    async def backfill(
        self,
        *backfill: ScheduleBackfill,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Take the actions of spans of time now. Raises ValueError when none is given."""
        del rpc_metadata
        if not backfill:
            raise ValueError("backfill needs at least one ScheduleBackfill")
        await self._tell("backfill", encode(_backfills(backfill)), rpc_timeout)

    async def update(
        self,
        updater: Updater,
        *,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Let a function make another schedule of this one; None leaves it as it is."""
        del rpc_metadata
        description = await self.describe(rpc_timeout=rpc_timeout)
        made = updater(ScheduleUpdateInput(description))
        if inspect.isawaitable(made):
            made = await made
        if made is not None:
            record = schedule_record(made.schedule, self._client.values)
            await self._tell("update", encode(record), rpc_timeout)

    async def delete(
        self,
        *,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """End the schedule; what it has started goes on."""
        del rpc_metadata
        try:
            await self._handle.terminate(reason="the schedule was deleted", rpc_timeout=rpc_timeout)
        except RPCError as error:
            raise self._missing(error) from error


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


def _description(id: str, found: Described, converter: PayloadConverter) -> ScheduleDescription:
    record, standing = found.schedule, found.standing
    schedule = Schedule(
        action=actions.action_of(record.action, converter),
        spec=record.spec,
        policy=record.policy,
        state=record.state,
    )
    info = ScheduleInfo(
        num_actions=standing.num_actions,
        num_actions_missed_catchup_window=standing.num_missed,
        num_actions_skipped_overlap=standing.num_skipped,
        running_actions=[ScheduleActionExecutionStartWorkflow(*one) for one in found.running],
        recent_actions=[
            ScheduleActionResult(
                one.at,
                one.taken_at,
                ScheduleActionExecutionStartWorkflow(one.workflow_id, one.run_id)
                if one.run_id
                else None,
                one.reason,
            )
            for one in standing.recent
        ],
        next_action_times=found.next_times,
        created_at=standing.created_at,
        last_updated_at=standing.updated_at,
    )
    return ScheduleDescription(id, schedule, info)


class MakesSchedules:
    """The part of a client that makes and finds schedules."""

    def _for_schedules(self) -> SchedulesClient:
        """The client, as schedules need it."""
        raise NotImplementedError

    async def create_schedule(
        self,
        id: str,
        schedule: Schedule,
        *,
        trigger_immediately: bool = False,
        backfill: Sequence[ScheduleBackfill] = (),
        memo: Mapping[str, Any] | None = None,
        search_attributes: TypedSearchAttributes | SearchAttributes | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> ScheduleHandle:
        """Make a schedule; it lives on the task queue of its action.

        Raises ScheduleAlreadyRunningError when there is one of this id, ValueError for one that
        cannot be followed.
        """
        del rpc_metadata
        client = self._for_schedules()
        record = schedule_record(schedule, client.values)
        state = SchedulerState(
            schedule_id=id,
            schedule=replace(record),
            triggers=trigger_immediately,
            backfills=_backfills(backfill),
        )
        try:
            await client.start_workflow(
                SCHEDULER_TYPE,
                encode(state),
                id=WORKFLOW_ID_PREFIX + id,
                task_queue=record.action.task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                memo=memo,
                search_attributes=search_attributes,
                rpc_timeout=rpc_timeout,
            )
        except WorkflowAlreadyStartedError as error:
            raise ScheduleAlreadyRunningError from error
        return ScheduleHandle(self._for_schedules(), id)

    def get_schedule_handle(self, id: str) -> ScheduleHandle:
        """A handle of a schedule; whether there is one is not looked at."""
        return ScheduleHandle(self._for_schedules(), id)

    async def list_schedules(
        self,
        query: str | None = None,
        *,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> AsyncIterator[ScheduleListDescription]:
        """The schedules there are. It is awaited, and then gone through with `async for`."""
        del rpc_metadata
        return _listed(
            self._for_schedules(),
            query,
            page_size=page_size,
            next_page_token=next_page_token,
            rpc_timeout=rpc_timeout,
        )


async def _listed(
    client: SchedulesClient, query: str | None, **options: Any
) -> AsyncIterator[ScheduleListDescription]:
    seen: set[str] = set()
    async for run in client.list_workflows(query, **options):
        if run.workflow_type != SCHEDULER_TYPE or run.close_time is not None or run.id in seen:
            continue
        seen.add(run.id)
        handle = ScheduleHandle(client, run.id.removeprefix(WORKFLOW_ID_PREFIX))
        try:
            found = await handle.describe()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                continue
            raise
        yield ScheduleListDescription(found.id, found.schedule, found.info)
