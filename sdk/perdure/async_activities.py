"""Activities that are completed from elsewhere: by the token of an attempt, or by their id."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from perdure.connection import seconds
from perdure.outcomes import refusal, surprise
from perdure.task_tokens import TaskToken, read_token
from perdure_actors.activity_context import ActivityCancellationDetails, cancellation_details
from perdure_actors.replay.exceptions import PerdureError
from perdure_actors.replay.failures import failure_of
from perdure_schemas.commands import (
    CompleteActivity,
    ConfirmActivityCanceled,
    FailActivity,
    HeartbeatActivity,
)
from perdure_schemas.payloads import Failure, Payload, Record, ReplyTo
from perdure_schemas.replies import Accepted, Refused, WorkerOrders

if TYPE_CHECKING:
    from perdure.connection import Connection
    from perdure_schemas.converters import PayloadConverter

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


class AsyncActivityHandle:
    """An activity that somebody else than its worker reports."""

    def __init__(
        self,
        connection: Connection,
        values: PayloadConverter,
        id_or_token: AsyncActivityIDReference | bytes,
        *,
        task_queue: str | None = None,
    ) -> None:
        """A handle, made by `Client.get_async_activity_handle`.

        Raises ValueError for bytes that are no token.
        """
        self._connection = connection
        self._values = values
        if isinstance(id_or_token, bytes):
            self._token = read_token(id_or_token)
        else:
            self._token = TaskToken(
                task_queue or "",
                id_or_token.workflow_id or "",
                id_or_token.run_id or "",
                id_or_token.activity_id,
                0,
                b"",
            )

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
        payloads = self._details(details)

        def make(fields: dict[str, Any]) -> Record:
            return HeartbeatActivity(details=payloads, **fields)

        answer = await self._ask("heartbeat", make, rpc_timeout)
        if isinstance(answer, WorkerOrders) and answer.canceled:
            raise AsyncActivityCancelledError(cancellation_details(answer.canceled[0].reason))

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
        payload = None
        if result is not UNSET and result is not None:
            payload = self._values.to_payloads([result], names=["the result"])[0]

        def make(fields: dict[str, Any]) -> Record:
            return CompleteActivity(result=payload, started_ms=_now_ms(), **fields)

        await self._ask("completion", make, rpc_timeout)

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
        failure = failure_of(error, self._values)
        details = self._details(last_heartbeat_details)
        if details and failure.chain:
            outer = replace(failure.chain[0], last_heartbeat_details=details)
            failure = Failure(chain=[outer, *failure.chain[1:]])

        def make(fields: dict[str, Any]) -> Record:
            return FailActivity(failure=failure, started_ms=_now_ms(), **fields)

        await self._ask("failure", make, rpc_timeout)

    async def report_cancellation(
        self,
        *details: Any,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Say that the activity has stopped because it was asked to.

        Raises RPCError of status NOT_FOUND when nobody waits for it any more.
        """
        payloads = self._details(details)

        def make(fields: dict[str, Any]) -> Record:
            return ConfirmActivityCanceled(details=payloads, started_ms=_now_ms(), **fields)

        await self._ask("cancellation", make, rpc_timeout)

    def _details(self, details: Sequence[Any]) -> list[Payload]:
        names = [f"detail {number}" for number in range(1, len(details) + 1)]
        return self._values.to_payloads(details, names=names) if details else []

    async def _ask(
        self,
        what: str,
        make: Callable[[dict[str, Any]], Record],
        rpc_timeout: timedelta | None,
    ) -> Record:
        token, connection = self._token, self._connection
        what = f"{what} of activity {token.activity_id!r} of workflow {token.workflow_id!r}"
        timeout_s = seconds(rpc_timeout)
        run_id, queue = token.run_id, token.task_queue
        queue = queue or await connection.locate(token.workflow_id, run_id, timeout_s)

        def command(reply: ReplyTo) -> Record:
            return make(
                {
                    "workflow_id": token.workflow_id,
                    "run_id": run_id,
                    "activity_id": token.activity_id,
                    "attempt": token.attempt,
                    "token": token.token,
                    "identity": connection.identity,
                    "reply": reply,
                }
            )

        answer = await connection.ask_workflow(
            what, command, workflow_id=token.workflow_id, task_queue=queue, timeout_s=timeout_s
        )
        if isinstance(answer, Refused):
            raise refusal(what, answer, workflow_id=token.workflow_id)
        if not isinstance(answer, Accepted | WorkerOrders):
            raise surprise(what, answer)
        return answer


def _now_ms() -> int:
    return int(time.time() * 1000)
