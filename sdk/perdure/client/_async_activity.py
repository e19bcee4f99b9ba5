"""Activities that are completed from elsewhere: by the token of an attempt, or by their id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol, Self

from perdure._records.task_tokens import read_token
from perdure.converter import DataConverter
from perdure_actors.replay.exceptions import PerdureError
from perdure_actors.worker.activity_context import ActivityCancellationDetails
from perdure_schemas.contexts import SerializationContext

UNSET: Final[Any] = object()
NO_METADATA: Final[Mapping[str, str | bytes]] = {}


class AsyncActivityCancelledError(PerdureError):
    """The activity should stop: confirm it with `report_cancellation`."""

    def __init__(self, details: ActivityCancellationDetails | None = None) -> None:
        super().__init__("Activity cancelled")
        self.details = details


@dataclass(frozen=True)
class AsyncActivityIDReference:
    """An activity by its ids; which attempt of it does not matter."""

    workflow_id: str | None
    run_id: str | None
    activity_id: str
    task_queue: str | None = None
    """Where its workflow is; without it every queue is asked."""


@dataclass
class HeartbeatAsyncActivityInput:
    """A sign of life, as a client's interceptors see it."""

    id_or_token: AsyncActivityIDReference | bytes
    details: Sequence[Any]
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


@dataclass
class CompleteAsyncActivityInput:
    """A completion, as a client's interceptors see it."""

    id_or_token: AsyncActivityIDReference | bytes
    result: Any | None
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


@dataclass
class FailAsyncActivityInput:
    """A failure, as a client's interceptors see it."""

    id_or_token: AsyncActivityIDReference | bytes
    error: Exception
    last_heartbeat_details: Sequence[Any]
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


@dataclass
class ReportCancellationAsyncActivityInput:
    """The word that an activity has stopped, as a client's interceptors see it."""

    id_or_token: AsyncActivityIDReference | bytes
    details: Sequence[Any]
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


class AsyncActivitiesOutbound:
    """The part of a link that reports of activities from elsewhere go through."""

    next: Any
    """The link after this one."""

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:
        """Say that an activity is alive."""
        await self.next.heartbeat_async_activity(input)

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        """Complete an activity."""
        await self.next.complete_async_activity(input)

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        """Fail an attempt of an activity."""
        await self.next.fail_async_activity(input)

    async def report_cancellation_async_activity(
        self, input: ReportCancellationAsyncActivityInput
    ) -> None:
        """Say that an activity has stopped."""
        await self.next.report_cancellation_async_activity(input)


class AsyncActivitiesClient(Protocol):
    """What a handle needs of its client."""

    @property
    def data_converter(self) -> DataConverter:
        """What reads and writes values."""

    @property
    def outbound(self) -> AsyncActivitiesOutbound:
        """The first link of the client's chain."""


class AsyncActivityHandle:
    """An activity that somebody else than its worker reports."""

    def __init__(
        self,
        client: AsyncActivitiesClient,
        id_or_token: AsyncActivityIDReference | bytes,
        data_converter_override: DataConverter | None = None,
    ) -> None:
        """A handle, made by `Client.get_async_activity_handle`.

        Raises ValueError for bytes that are no token.
        """
        self._client = client
        self._id_or_token = id_or_token
        self._data_converter_override = data_converter_override
        if isinstance(id_or_token, bytes):
            read_token(id_or_token)

    def with_context(self, context: SerializationContext) -> Self:
        """The handle with the client's data converter in a context, for converters that ask.

        Without it they know no more of the activity than its ids.

        Example:
            handle = handle.with_context(ActivitySerializationContext(...))
        """
        converter = self._data_converter_override or self._client.data_converter
        return type(self)(self._client, self._id_or_token, converter.with_context(context))

    async def heartbeat(
        self,
        *details: Any,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Say that the activity is alive, and leave details for its next attempt.

        Raises AsyncActivityCancelledError when it should stop, RPCError of status NOT_FOUND when
        nobody waits for it any more.
        """
        await self._client.outbound.heartbeat_async_activity(
            HeartbeatAsyncActivityInput(
                self._id_or_token,
                details,
                rpc_metadata,
                rpc_timeout,
                self._data_converter_override,
            )
        )

    async def complete(
        self,
        result: Any = UNSET,
        *,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Complete the activity.

        Raises RPCError of status NOT_FOUND when nobody waits for it any more.
        """
        given = None if result is UNSET else result
        await self._client.outbound.complete_async_activity(
            CompleteAsyncActivityInput(
                self._id_or_token, given, rpc_metadata, rpc_timeout, self._data_converter_override
            )
        )

    async def fail(
        self,
        error: Exception,
        *,
        last_heartbeat_details: Sequence[Any] = (),
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Fail the attempt; another one may follow, by the retry policy.

        Raises RPCError of status NOT_FOUND when nobody waits for it any more.
        """
        await self._client.outbound.fail_async_activity(
            FailAsyncActivityInput(
                self._id_or_token,
                error,
                last_heartbeat_details,
                rpc_metadata,
                rpc_timeout,
                self._data_converter_override,
            )
        )

    async def report_cancellation(
        self,
        *details: Any,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Say that the activity has stopped because it was asked to.

        Raises RPCError of status NOT_FOUND when nobody waits for it any more.
        """
        await self._client.outbound.report_cancellation_async_activity(
            ReportCancellationAsyncActivityInput(
                self._id_or_token,
                details,
                rpc_metadata,
                rpc_timeout,
                self._data_converter_override,
            )
        )
