"""The last link of a client's chain for activities that are reported from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from perdure._records.task_tokens import TaskToken, read_token
from perdure.client._async_activity import (
    AsyncActivityCancelledError,
    AsyncActivityIDReference,
    CompleteAsyncActivityInput,
    FailAsyncActivityInput,
    HeartbeatAsyncActivityInput,
    ReportCancellationAsyncActivityInput,
)
from perdure.client._connection import seconds
from perdure.client._message_outbound import now_ms
from perdure.client._outcomes import refusal, surprise
from perdure.converter import edge_of, records_converter
from perdure_actors.replay.contexts import from_elsewhere
from perdure_actors.replay.failures import failure_of
from perdure_actors.worker.activity_context import cancellation_details
from perdure_schemas.commands import (
    CompleteActivity,
    ConfirmActivityCanceled,
    FailActivity,
    HeartbeatActivity,
)
from perdure_schemas.payloads import Failure, Payload, Record, ReplyTo
from perdure_schemas.replies import Accepted, Refused, WorkerOrders

if TYPE_CHECKING:
    from perdure.client._connection import Connection
    from perdure.client._handle import HandlesClient
    from perdure_schemas.converters import PayloadConverter


Report = (
    HeartbeatAsyncActivityInput
    | CompleteAsyncActivityInput
    | FailAsyncActivityInput
    | ReportCancellationAsyncActivityInput
)


class AsyncActivitiesOnLog:
    """Sends each report to the partition of its workflow."""

    _client: HandlesClient
    _connection: Connection

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:
        """Say that an activity is alive. Raises AsyncActivityCancelledError when it should stop."""
        payloads = _details(self._values_of(input), input.details)

        def make(fields: dict[str, Any]) -> Record:
            return HeartbeatActivity(details=payloads, **fields)

        answer = await self._report("heartbeat", make, input)
        if isinstance(answer, WorkerOrders) and answer.canceled:
            raise AsyncActivityCancelledError(cancellation_details(answer.canceled[0].reason))

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        """Complete an activity."""
        payload = None
        if input.result is not None:
            values = self._values_of(input)
            payload = values.to_payloads([input.result], names=["the result"])[0]

        def make(fields: dict[str, Any]) -> Record:
            return CompleteActivity(result=payload, started_ms=now_ms(), **fields)

        await self._report("completion", make, input)

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        """Fail an attempt of an activity."""
        values = self._values_of(input)
        failure = failure_of(input.error, values)
        details = _details(values, input.last_heartbeat_details)
        if details and failure.chain:
            outer = replace(failure.chain[0], last_heartbeat_details=details)
            failure = Failure(chain=[outer, *failure.chain[1:]])

        def make(fields: dict[str, Any]) -> Record:
            return FailActivity(failure=failure, started_ms=now_ms(), **fields)

        await self._report("failure", make, input)

    async def report_cancellation_async_activity(
        self, input: ReportCancellationAsyncActivityInput
    ) -> None:
        """Say that an activity has stopped."""
        payloads = _details(self._values_of(input), input.details)

        def make(fields: dict[str, Any]) -> Record:
            return ConfirmActivityCanceled(details=payloads, started_ms=now_ms(), **fields)

        await self._report("cancellation", make, input)

    def _values_of(self, input: Report) -> PayloadConverter:
        """What writes the values of a report: in the context that its handle was given, or ours."""
        given = input.data_converter_override
        if given is not None:
            return records_converter(given)
        values = self._client.values
        if not values.is_contextual:
            return values
        token = _token_of(input.id_or_token)
        namespace = self._connection.namespace
        return values.with_context(from_elsewhere(namespace, token.workflow_id, token.activity_id))

    async def _report(
        self,
        what: str,
        make: Callable[[dict[str, Any]], Record],
        input: Report,
    ) -> Record:
        token, connection = _token_of(input.id_or_token), self._connection
        if input.data_converter_override is not None:
            edge = edge_of(input.data_converter_override, is_settled=True)
            connection = connection.through(edge)
        what = f"{what} of activity {token.activity_id!r} of workflow {token.workflow_id!r}"
        timeout_s = seconds(input.rpc_timeout)
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


def _token_of(id_or_token: AsyncActivityIDReference | bytes) -> TaskToken:
    """What is known of the attempt; by ids, whichever is the current one."""
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


def _details(values: PayloadConverter, details: Sequence[Any]) -> list[Payload]:
    names = [f"detail {number}" for number in range(1, len(details) + 1)]
    return values.to_payloads(details, names=names) if details else []
