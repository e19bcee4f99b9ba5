"""How a client makes and finds schedules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from perdure._schedules.schedule import Schedule, ScheduleBackfill
from perdure.client._schedule_descriptions import ScheduleAsyncIterator
from perdure.client._schedule_handle import NO_METADATA, ScheduleHandle, SchedulesClient
from perdure.client._schedule_inputs import CreateScheduleInput, ListSchedulesInput
from perdure.common import SearchAttributes, TypedSearchAttributes


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

        Example:
            await client.create_schedule(
                "nightly",
                Schedule(
                    action=ScheduleActionStartWorkflow(
                        Report.run, id="report", task_queue="reports"
                    ),
                    spec=ScheduleSpec(cron_expressions=["0 2 * * *"], time_zone_name="Europe/Rome"),
                ),
            )
        """
        return await self._for_schedules().outbound.create_schedule(
            CreateScheduleInput(
                id=id,
                schedule=schedule,
                trigger_immediately=trigger_immediately,
                backfill=backfill,
                memo=memo,
                search_attributes=search_attributes,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
            )
        )

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
    ) -> ScheduleAsyncIterator:
        """The schedules there are. It is awaited, and then gone through with `async for`.

        query is a filter as that of lists of workflows; `ScheduleId`, `TemporalSchedulePaused` and
        the search attributes given to schedules find them. A page of so many is one question to
        each partition.

        Raises RPCError for a filter that cannot be understood.

        Example:
            async for one in await client.list_schedules("TemporalSchedulePaused = true"):
                print(one.id, one.info and one.info.next_action_times)
        """
        return self._for_schedules().outbound.list_schedules(
            ListSchedulesInput(
                page_size=page_size,
                next_page_token=next_page_token,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                query=query,
            )
        )
