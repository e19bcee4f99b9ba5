"""The handle of a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

from perdure._schedules.schedule import ScheduleBackfill, ScheduleOverlapPolicy
from perdure.client._inputs import (
    NO_METADATA,
    BackfillScheduleInput,
    DeleteScheduleInput,
    DescribeScheduleInput,
    PauseScheduleInput,
    TriggerScheduleInput,
    UnpauseScheduleInput,
    Updater,
    UpdateScheduleInput,
)
from perdure.client._schedule_descriptions import ScheduleDescription


class ScheduleCalls(Protocol):
    """The calls of a client's interceptor chain that the handle of a schedule makes."""

    async def backfill_schedule(self, input: BackfillScheduleInput) -> None: ...
    async def delete_schedule(self, input: DeleteScheduleInput) -> None: ...
    async def describe_schedule(self, input: DescribeScheduleInput) -> ScheduleDescription: ...
    async def pause_schedule(self, input: PauseScheduleInput) -> None: ...
    async def trigger_schedule(self, input: TriggerScheduleInput) -> None: ...
    async def unpause_schedule(self, input: UnpauseScheduleInput) -> None: ...
    async def update_schedule(self, input: UpdateScheduleInput) -> None: ...


class ScheduleClient(Protocol):
    """What the handle of a schedule needs of its client."""

    @property
    def outbound(self) -> ScheduleCalls:
        """The first link of the client's interceptor chain."""


class ScheduleHandle:
    """A schedule by its id, whether there is one or not.

    Every call raises RPCError, with NOT_FOUND when there is no schedule of this id.

    Example:
        handle = client.get_schedule_handle("nightly")
        await handle.pause(note="the warehouse moves")
    """

    def __init__(self, client: ScheduleClient, id: str) -> None:
        self._client = client
        self._id = id

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
        """How the schedule stands."""
        return await self._client.outbound.describe_schedule(
            DescribeScheduleInput(self._id, rpc_metadata, rpc_timeout)
        )

    async def pause(
        self,
        *,
        note: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Take no actions until it is told to go on."""
        await self._client.outbound.pause_schedule(
            PauseScheduleInput(self._id, note, rpc_metadata, rpc_timeout)
        )

    async def unpause(
        self,
        *,
        note: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Take actions again, from now on."""
        await self._client.outbound.unpause_schedule(
            UnpauseScheduleInput(self._id, note, rpc_metadata, rpc_timeout)
        )

    async def trigger(
        self,
        *,
        overlap: ScheduleOverlapPolicy | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Take an action now."""
        await self._client.outbound.trigger_schedule(
            TriggerScheduleInput(self._id, overlap, rpc_metadata, rpc_timeout)
        )

    async def backfill(
        self,
        *backfill: ScheduleBackfill,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Take the actions of spans of time now. Raises ValueError when none is given."""
        if not backfill:
            raise ValueError("backfill needs at least one ScheduleBackfill")
        await self._client.outbound.backfill_schedule(
            BackfillScheduleInput(self._id, backfill, rpc_metadata, rpc_timeout)
        )

    async def update(
        self,
        updater: Updater,
        *,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Let a function make another schedule of this one; None leaves it as it is."""
        await self._client.outbound.update_schedule(
            UpdateScheduleInput(self._id, updater, rpc_metadata, rpc_timeout)
        )

    async def delete(
        self,
        *,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """End the schedule; what it has started goes on."""
        await self._client.outbound.delete_schedule(
            DeleteScheduleInput(self._id, rpc_metadata, rpc_timeout)
        )
