"""The last link for messages: signals, queries and updates as asks, decided by the partitions."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol

from msgspec.structs import replace

from perdure._records.policies import payloads_for
from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure._search_attribute_payloads import AttributeTypes
from perdure.client._connection import Connection, seconds
from perdure.client._executions import status_of
from perdure.client._handle import HandlesClient
from perdure.client._inputs import StartWorkflowInput
from perdure.client._message_errors import (
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from perdure.client._message_inputs import (
    AwaitUpdateInput,
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    WorkflowUpdateStage,
)
from perdure.client._outcomes import expect, refusal, surprise
from perdure.client._start_record import start_command
from perdure.client._update_handle import LATE, WorkflowUpdateHandle
from perdure.converter._payload_codecs import header_records
from perdure.exceptions import ApplicationError
from perdure_actors.replay.failures import exception_of
from perdure_schemas.message_commands import (
    AwaitUpdate,
    QueryWorkflow,
    SignalWorkflow,
    UpdateWorkflow,
)
from perdure_schemas.payloads import Payload, Record, ReplyTo, UpdateInput
from perdure_schemas.replies import Accepted, QueryAnswer, Refused, UpdateAnswer

_STAGES = {WorkflowUpdateStage.ACCEPTED: "accepted", WorkflowUpdateStage.COMPLETED: "completed"}


class Addressed(Protocol):
    """What a call says of the workflow it is about."""

    id: str
    run_id: str | None
    rpc_timeout: timedelta | None
    task_queue: str | None


class SendsToLog:
    """The part of the last link that sends messages."""

    _client: HandlesClient
    _connection: Connection
    _types: AttributeTypes

    async def _reply(
        self,
        what: str,
        make: Callable[[ReplyTo], Record],
        input: Addressed,
        *,
        default_s: float | None = seconds(None),
        is_prompt: bool = True,
        is_kept: bool = False,
    ) -> Record:
        """Ask the partition of a workflow, wherever it is; a refusal is an answer."""
        raise NotImplementedError

    def _payloads(
        self, what: str, input: SignalWorkflowInput | QueryWorkflowInput | StartWorkflowUpdateInput
    ) -> list[Payload]:
        """The arguments of a message. Raises TypeError or ValueError, naming the argument."""
        values = self._client.values_for(input.id)
        return payloads_for(what, input.args, values, input.parameter_names)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        """Send a signal; the answer comes from the accepted transition."""
        what = f"signal {input.signal!r} to workflow {input.id!r}"
        values = payloads_for(
            what, input.args, self._client.values_for(input.id), input.parameter_names
        )
        buffer_ms = buffer_ms_of(input.buffer_for)
        try:
            answer = await self._reply(
                what,
                lambda reply: SignalWorkflow(
                    workflow_id=input.id,
                    run_id=input.run_id or "",
                    signal_name=input.signal,
                    input=values,
                    header=header_records(input.headers),
                    request_id=reply.correlation_id,
                    first_sent_ms=now_ms(),
                    reply=reply,
                    identity=self._connection.identity,
                    buffer_ms=buffer_ms,
                ),
                input,
                is_kept=True,
            )
        except RPCError as error:
            if buffer_ms and error.status is RPCStatusCode.NOT_FOUND:
                error.add_note("to wait for its start it must know where: give task_queue=")
            raise
        if isinstance(answer, Refused):
            raise refusal(what, answer, workflow_id=input.id)
        expect(Accepted, what, answer)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        """Ask a query."""
        what = f"query {input.query!r} of workflow {input.id!r}"
        values = payloads_for(
            what, input.args, self._client.values_for(input.id), input.parameter_names
        )
        condition = input.reject_condition
        answer = await self._reply(
            what,
            lambda reply: QueryWorkflow(
                workflow_id=input.id,
                run_id=input.run_id or "",
                query_name=input.query,
                input=values,
                header=header_records(input.headers),
                reject_condition=condition.name.lower() if condition is not None else "none",
                identity=self._connection.identity,
                reply=reply,
            ),
            input,
        )
        if isinstance(answer, Refused) and answer.code == "query_failed":
            raise WorkflowQueryFailedError(answer.message)
        if isinstance(answer, Refused):
            raise refusal(what, answer, workflow_id=input.id)
        found = expect(QueryAnswer, what, answer)
        if found.rejected_status:
            raise WorkflowQueryRejectedError(status_of(found.rejected_status))
        if found.failure is not None:
            cause = exception_of(found.failure, self._client.values_for(input.id))
            raise WorkflowQueryFailedError(str(cause)) from cause
        if found.result is None:
            return None
        return self._client.values_for(input.id).from_payload(
            found.result, input.ret_type, what=f"the result of query {input.query!r}"
        )

    async def start_workflow_update(
        self, input: StartWorkflowUpdateInput
    ) -> WorkflowUpdateHandle[Any]:
        """Send an update, and wait until it is as far as asked."""
        what = f"update {input.update!r} of workflow {input.id!r}"
        values = payloads_for(
            what, input.args, self._client.values_for(input.id), input.parameter_names
        )
        update_id = input.update_id or str(uuid.uuid4())
        stage = _STAGES[input.wait_for_stage]
        is_long = input.wait_for_stage is WorkflowUpdateStage.COMPLETED
        try:
            answer = await self._reply(
                what,
                lambda reply: UpdateWorkflow(
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
                    identity=self._connection.identity,
                ),
                input,
                default_s=None if is_long else seconds(None),
                is_prompt=not is_long,
            )
        except RPCError as error:
            if error.status in LATE:
                raise WorkflowUpdateRPCTimeoutOrCancelledError from error
            raise
        return self._handle(what, answer, input.id, update_id, input.ret_type, input.task_queue)

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        """Send an update with a start: two answers, of the start and of the update."""
        start, update = input.start_workflow_input, input.update_workflow_input
        what = f"update {update.update!r} with a start of workflow {start.id!r}"
        values = self._client.values_for(start.id)
        update_id = update.update_id or str(uuid.uuid4())
        brought = UpdateInput(
            update_name=update.update,
            update_id=update_id,
            input=payloads_for(what, update.args, values, update.parameter_names),
            header=header_records(update.headers),
            wait_stage=_STAGES[update.wait_for_stage],
        )
        fields = {name: getattr(start, name) for name in start.__dataclass_fields__}
        plain = StartWorkflowInput(
            **fields, rpc_metadata=input.rpc_metadata, rpc_timeout=input.rpc_timeout
        )
        make = start_command(plain, values, self._connection.identity, self._types)
        asker, ask = await self._connection.send_to_workflow(
            what,
            lambda reply: replace(make(reply), update=brought),
            workflow_id=start.id,
            task_queue=start.task_queue,
            timeout_s=seconds(input.rpc_timeout),
            waits=True,
            is_start=True,
            again=lambda accepted, reply: AwaitUpdate(
                workflow_id=start.id,
                run_id=accepted.run_id,
                update_id=update_id,
                stage=brought.wait_stage,
                reply=reply,
            ),
        )
        try:
            first = await ask.accepted
            if isinstance(first, Refused):
                raise refusal(what, first, workflow_id=start.id, workflow_type=start.workflow)
            if isinstance(first, Accepted):
                input._on_start(first)
            answer = await self._connection.opened(what, await ask.answer, workflow_id=start.id)
        except RPCError as error:
            input._on_start_error(error)
            if error.status in LATE:
                raise WorkflowUpdateRPCTimeoutOrCancelledError from error
            raise
        except BaseException as error:
            input._on_start_error(error)
            raise
        finally:
            asker.drop(ask)
        return self._handle(what, answer, start.id, update_id, update.ret_type, start.task_queue)

    def _handle(
        self,
        what: str,
        answer: Record,
        workflow_id: str,
        update_id: str,
        result_type: type | None,
        task_queue: str | None,
    ) -> WorkflowUpdateHandle[Any]:
        """The handle of an update that was answered. Raises WorkflowUpdateFailedError."""
        if isinstance(answer, Refused) and answer.code == "rejected":
            # Asked again: the first answer, which had the whole failure, was lost.
            raise WorkflowUpdateFailedError(ApplicationError(answer.message))
        if isinstance(answer, Refused):
            raise refusal(what, answer, workflow_id=workflow_id)
        if not isinstance(answer, UpdateAnswer):
            raise surprise(what, answer)
        if answer.stage == "rejected" and answer.failure is not None:
            values = self._client.values_for(workflow_id)
            raise WorkflowUpdateFailedError(exception_of(answer.failure, values))
        return WorkflowUpdateHandle(
            self._client,
            update_id,
            workflow_id,
            workflow_run_id=answer.run_id,
            result_type=result_type,
            known_outcome=answer if answer.stage == "completed" else None,
            task_queue=task_queue,
        )

    async def await_update(self, input: AwaitUpdateInput) -> UpdateAnswer:
        """Wait for the outcome of an update."""
        what = f"result of update {input.update_id!r} of workflow {input.id!r}"
        answer = await self._reply(
            what,
            lambda reply: AwaitUpdate(
                workflow_id=input.id,
                run_id=input.run_id or "",
                update_id=input.update_id,
                stage="completed",
                reply=reply,
            ),
            input,
            default_s=None,
            is_prompt=False,
        )
        if isinstance(answer, Refused):
            raise refusal(what, answer, workflow_id=input.id)
        return expect(UpdateAnswer, what, answer)


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
