"""Activities reached by a client: handles that complete them, and operations on pending ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Self

from perdure._records.policies import milliseconds, retry_record
from perdure._records.task_tokens import read_token
from perdure.client._connection import seconds
from perdure.client._exceptions import refusal, surprise
from perdure.client._inputs import (
    NO_METADATA,
    UNSET,
    AsyncActivityIDReference,
    CompleteAsyncActivityInput,
    FailAsyncActivityInput,
    HeartbeatAsyncActivityInput,
    ReportCancellationAsyncActivityInput,
)
from perdure.client._interceptors import HandleClient
from perdure.common import RetryPolicy
from perdure.converter import DataConverter
from perdure_actors.replay.contexts import from_elsewhere
from perdure_actors.replay.failures import failure_of
from perdure_schemas.contexts import SerializationContext
from perdure_schemas.operator_commands import (
    FailActivityNow,
    PauseActivity,
    ResetActivity,
    RetryActivityNow,
    UnpauseActivity,
    UpdateActivityOptions,
)
from perdure_schemas.payloads import Record, ReplyTo
from perdure_schemas.replies import Accepted, PendingActivity, Refused

if TYPE_CHECKING:
    from perdure.client._connection import Connection
    from perdure_schemas.converters import PayloadConverter


class AsyncActivityHandle:
    """An activity that somebody else than its worker reports."""

    def __init__(
        self,
        client: HandleClient,
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


def activity_reference(
    workflow_id: str | None,
    run_id: str | None,
    activity_id: str | None,
    task_token: bytes | None,
    task_queue: str | None,
) -> AsyncActivityIDReference | bytes:
    """What names an activity: its task token, or ids. Raises ValueError for neither, or both."""
    if task_token is not None:
        if workflow_id is not None or run_id is not None or activity_id is not None:
            raise ValueError("give the task token or ids, not both")
        return task_token
    if workflow_id is None or activity_id is None:
        raise ValueError("give task_token, or workflow_id and activity_id")
    return AsyncActivityIDReference(workflow_id, run_id, activity_id, task_queue)


class PendingActivityState(IntEnum):
    """How an activity without an outcome stands.

    Example:
        states = [PendingActivityState.of(one) for one in described.pending_activities]
    """

    UNSPECIFIED = 0
    SCHEDULED = 1
    STARTED = 2
    CANCEL_REQUESTED = 3
    PAUSED = 4
    PAUSE_REQUESTED = 5

    @classmethod
    def of(cls, activity: PendingActivity) -> PendingActivityState:
        """The state of one that a description shows; one that backs off is scheduled."""
        if activity.state == "started":
            return cls.PAUSE_REQUESTED if activity.paused_ms else cls.STARTED
        if activity.state == "paused":
            return cls.PAUSED
        is_known = activity.state in ("scheduled", "backing_off")
        return cls.SCHEDULED if is_known else cls.UNSPECIFIED


class PendingActivities:
    """The activities of a workflow that have no outcome yet.

    Each call names them by `activity_id`, or all of a type by `activity_type`. It raises RPCError
    of status NOT_FOUND when there is none, and of FAILED_PRECONDITION or INVALID_ARGUMENT when
    none of them can be treated so.
    """

    def __init__(
        self,
        connection: Connection,
        values: PayloadConverter,
        workflow_id: str,
        *,
        run_id: str | None = None,
        task_queue: str | None = None,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        self._connection = connection
        self._values = values
        self._workflow_id = workflow_id
        self._run_id = run_id or ""
        self._task_queue = task_queue
        self._timeout_s = seconds(rpc_timeout)

    async def pause(
        self,
        *,
        activity_id: str | None = None,
        activity_type: str | None = None,
        reason: str = "",
    ) -> None:
        """Let no further attempt start; the worker of one under way is told to stop."""
        await self._do("pause", PauseActivity, activity_id, activity_type, reason=reason)

    async def unpause(
        self,
        *,
        activity_id: str | None = None,
        activity_type: str | None = None,
        reset_attempts: bool = False,
        reset_heartbeat: bool = False,
        jitter: timedelta | None = None,
    ) -> None:
        """Let paused activities go on; with a jitter, not all at once."""
        await self._do(
            "unpause",
            UnpauseActivity,
            activity_id,
            activity_type,
            reset_attempts=reset_attempts,
            reset_heartbeat=reset_heartbeat,
            jitter_ms=milliseconds(jitter, "jitter"),
        )

    async def reset(
        self,
        *,
        activity_id: str | None = None,
        activity_type: str | None = None,
        keep_paused: bool = False,
        reset_heartbeat: bool = False,
        jitter: timedelta | None = None,
    ) -> None:
        """Start over from attempt 1; an attempt under way is the last of the old count."""
        await self._do(
            "reset",
            ResetActivity,
            activity_id,
            activity_type,
            keep_paused=keep_paused,
            reset_heartbeat=reset_heartbeat,
            jitter_ms=milliseconds(jitter, "jitter"),
        )

    async def retry(
        self, *, activity_id: str | None = None, activity_type: str | None = None
    ) -> None:
        """Start the next attempt now: of what backs off, or is out of attempts."""
        await self._do("retry", RetryActivityNow, activity_id, activity_type)

    async def fail(
        self,
        error: Exception,
        *,
        activity_id: str | None = None,
        activity_type: str | None = None,
    ) -> None:
        """Fail one activity for good, as if its code had raised the error."""
        values = self._values
        if values.is_contextual:
            namespace = self._connection.namespace
            context = from_elsewhere(namespace, self._workflow_id, activity_id or "")
            values = values.with_context(context)
        failure = failure_of(error, values)
        await self._do("failure", FailActivityNow, activity_id, activity_type, failure=failure)

    async def update_options(
        self,
        *,
        activity_id: str | None = None,
        activity_type: str | None = None,
        task_queue: str | None = None,
        schedule_to_close_timeout: timedelta | None = None,
        schedule_to_start_timeout: timedelta | None = None,
        start_to_close_timeout: timedelta | None = None,
        heartbeat_timeout: timedelta | None = None,
        retry_policy: RetryPolicy | None = None,
        restore_original: bool = False,
    ) -> None:
        """Give other times, another policy or queue, from the next attempt on.

        A timeout of zero takes the limit away. restore_original begins with what the code asked
        for.
        """
        await self._do(
            "new options",
            UpdateActivityOptions,
            activity_id,
            activity_type,
            task_queue=task_queue or "",
            schedule_to_close_ms=_given(schedule_to_close_timeout, "schedule_to_close_timeout"),
            schedule_to_start_ms=_given(schedule_to_start_timeout, "schedule_to_start_timeout"),
            start_to_close_ms=_given(start_to_close_timeout, "start_to_close_timeout"),
            heartbeat_ms=_given(heartbeat_timeout, "heartbeat_timeout"),
            retry_policy=retry_record(retry_policy),
            restore_original=restore_original,
        )

    async def _do(
        self,
        what: str,
        kind: Callable[..., Record],
        activity_id: str | None,
        activity_type: str | None,
        **fields: Any,
    ) -> None:
        if bool(activity_id) == bool(activity_type):
            raise ValueError("name activities by activity_id or by activity_type: one of the two")
        connection, workflow_id = self._connection, self._workflow_id
        which = activity_id or activity_type
        what = f"{what} of activity {which!r} of workflow {workflow_id!r}"
        queue = self._task_queue
        if queue is None:
            queue = await connection.locate(workflow_id, self._run_id, self._timeout_s)

        def make(reply: ReplyTo) -> Record:
            return kind(
                workflow_id=workflow_id,
                run_id=self._run_id,
                activity_id=activity_id or "",
                activity_type=activity_type or "",
                request_id=reply.correlation_id,
                first_sent_ms=int(time.time() * 1000),
                reply=reply,
                identity=connection.identity,
                **fields,
            )

        answer = await connection.ask_workflow(
            what, make, workflow_id=workflow_id, task_queue=queue, timeout_s=self._timeout_s
        )
        if isinstance(answer, Refused):
            raise refusal(what, answer, workflow_id=workflow_id)
        if not isinstance(answer, Accepted):
            raise surprise(what, answer)


def _given(timeout: timedelta | None, name: str) -> int:
    """A time that was given; -1 for one that stays as it is."""
    return -1 if timeout is None else milliseconds(timeout, name)
