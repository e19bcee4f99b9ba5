"""The end of a client's interceptor chain: each call as a request to the partition that decides."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure._schedules.schedule import Schedule
from perdure._schedules.schedule_records import decode_described, encode
from perdure._search_attribute_payloads import AttributeTypes, attribute_payloads
from perdure.client._commands import (
    ActivityReport,
    ScheduleMessage,
    backfill_records,
    cancel_command,
    query_command,
    report_command,
    schedule_record,
    scheduler_end,
    scheduler_query,
    scheduler_start,
    scheduler_update,
    signal_command,
    start_command,
    terminate_command,
    token_of,
    update_command,
    update_input,
)
from perdure.client._connection import Connection, finish, seconds
from perdure.client._exceptions import (
    TIMED_OUT,
    AsyncActivityCancelledError,
    ScheduleAlreadyRunningError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    expect,
    refusal,
    surprise,
)
from perdure.client._executions import (
    WorkflowExecutionAsyncIterator,
    WorkflowExecutionCount,
    WorkflowExecutionDescription,
    description_of,
    status_of,
)
from perdure.client._history import WorkflowHistoryEventAsyncIterator
from perdure.client._inputs import (
    AwaitWorkflowResultInput,
    AwaitWorkflowUpdateInput,
    BackfillScheduleInput,
    CancelWorkflowInput,
    CompleteAsyncActivityInput,
    CountWorkflowsInput,
    CreateScheduleInput,
    DeleteScheduleInput,
    DeleteWorkflowInput,
    DescribeScheduleInput,
    DescribeWorkflowInput,
    FailAsyncActivityInput,
    FetchWorkflowHistoryEventsInput,
    HeartbeatAsyncActivityInput,
    ListSchedulesInput,
    ListWorkflowsInput,
    PauseScheduleInput,
    QueryWorkflowInput,
    ReportCancellationAsyncActivityInput,
    ResetWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    TerminateWorkflowInput,
    TriggerScheduleInput,
    UnpauseScheduleInput,
    UpdateScheduleInput,
    WorkflowAddress,
    WorkflowHistoryEventFilterType,
    WorkflowUpdateStage,
)
from perdure.client._interceptors import HandleClient, OutboundInterceptor
from perdure.client._resets import delete, reset
from perdure.client._rpc import PendingRequest, RpcClient
from perdure.client._schedule_descriptions import (
    ScheduleAsyncIterator,
    ScheduleDescription,
    ScheduleUpdateInput,
)
from perdure.client._schedule_descriptions import (
    description_of as schedule_description_of,
)
from perdure.client._schedule_handle import ScheduleHandle
from perdure.client._update_handle import WorkflowUpdateHandle
from perdure.client._visibility import count_runs, list_runs
from perdure.client._workflow_handle import WorkflowHandle
from perdure.converter import codecs_of, records_converter
from perdure.exceptions import ApplicationError, WorkflowAlreadyStartedError
from perdure_actors.core.state import SCHEDULER_TYPE
from perdure_actors.replay.contexts import from_elsewhere
from perdure_actors.replay.failures import exception_of
from perdure_actors.worker.activity_context import cancellation_details
from perdure_schemas.answers.run_pages import joined
from perdure_schemas.commands import (
    AwaitResult,
    DescribeWorkflow,
    ReadHistory,
)
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.message_commands import AwaitUpdate
from perdure_schemas.payloads import Record, ReplyTo
from perdure_schemas.replies import (
    Accepted,
    HistoryPage,
    QueryAnswer,
    Refused,
    RunClosed,
    RunDescription,
    UpdateAnswer,
    WorkerOrders,
)

HISTORY_PAGE_BYTES: Final = 1_000_000
LISTED: Final = f"WorkflowType = '{SCHEDULER_TYPE}' AND ExecutionStatus IN ('Running', 'Blocked')"


class LogOutbound(OutboundInterceptor):
    """Sends each call to the partition that decides it."""

    def __init__(self, client: HandleClient, connection: Connection) -> None:
        self._client = client
        self._connection = connection
        self._types = AttributeTypes()
        # A handle without a task queue asks every queue once.
        self._located: dict[str, str] = {}

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        """Start a workflow; the answer comes from the accepted transition."""
        what = f"start of workflow {input.id!r}"
        values = self._client.values_for(input.id)
        make = start_command(input, values, self._connection.identity, self._types)
        rpc, pending = await self._connection.send_to_workflow(
            what,
            make,
            workflow_id=input.id,
            task_queue=input.task_queue,
            timeout_s=seconds(input.rpc_timeout),
            waits=input.waits,
            is_start=True,
        )
        try:
            answer = await pending.accepted
        except BaseException:
            rpc.drop(pending)
            raise
        if isinstance(answer, Refused):
            raise refusal(what, answer, workflow_id=input.id, workflow_type=input.workflow)
        if not isinstance(answer, Accepted | RunClosed):
            raise surprise(what, answer)
        first = answer.first_run_id if isinstance(answer, Accepted) else ""
        return WorkflowHandle(
            self._client,
            input.id,
            result_run_id=answer.run_id,
            first_execution_run_id=first or answer.run_id,
            result_type=input.ret_type,
            task_queue=input.task_queue,
            closing=pending if input.waits else None,
        )

    async def await_workflow_result(self, input: AwaitWorkflowResultInput) -> RunClosed:
        """Wait for the end of a run."""
        what = f"result of workflow {input.id!r}"
        if input.closing is not None and input.rpc_timeout is None:
            rpc = await self._connection.rpc()
            if rpc.loop is input.closing.answer.get_loop():
                answer = await self._closing(rpc, input.closing)
                answer = await self._connection.opened(what, answer, workflow_id=input.id)
                return expect(RunClosed, what, answer)
        answer = await self._ask(
            what,
            lambda reply: AwaitResult(
                workflow_id=input.id,
                run_id=input.run_id or "",
                follow_runs=input.follow_runs,
                reply=reply,
            ),
            input,
            default_s=None,
            is_prompt=False,
        )
        return expect(RunClosed, what, answer)

    async def _closing(self, rpc: RpcClient, pending: PendingRequest) -> Record:
        """The second answer of a start that was sent to wait for the end."""
        if pending.answer.done():
            return await finish(rpc, pending)
        with self._connection.overrides.awaiting():
            return await finish(rpc, pending)

    async def cancel_workflow(self, input: CancelWorkflowInput) -> None:
        """Ask a run to cancel itself."""
        what = f"cancel of workflow {input.id!r}"
        command = cancel_command(input, self._connection.identity)
        answer = await self._reply(what, command, input, is_kept=True)
        if isinstance(answer, Refused) and answer.code == "closed":
            # As in Temporal: who wanted it to stop need not know that it has stopped already.
            return
        if isinstance(answer, Refused):
            raise refusal(what, answer, workflow_id=input.id)
        expect(Accepted, what, answer)

    async def terminate_workflow(self, input: TerminateWorkflowInput) -> None:
        """End a run."""
        what = f"terminate of workflow {input.id!r}"
        values = self._client.values_for(input.id)
        command = terminate_command(input, values, self._connection.identity)
        expect(Accepted, what, await self._ask(what, command, input, is_kept=True))

    async def delete_workflow(self, input: DeleteWorkflowInput) -> None:
        """Forget a closed run."""
        await delete(self._reply, input, self._connection.identity)

    async def reset_workflow(self, input: ResetWorkflowInput) -> WorkflowHandle[Any, Any]:
        """End a run and begin a new one from an event of its history."""
        answer = await reset(self._ask, input, self._connection.identity)
        return WorkflowHandle(
            self._client,
            input.id,
            run_id=answer.run_id,
            result_run_id=answer.run_id,
            first_execution_run_id=answer.first_run_id or None,
            task_queue=input.task_queue,
        )

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
        """Ask how a run stands."""
        what = f"describe of workflow {input.id!r}"

        async def page(run_id: str, token: bytes) -> RunDescription:
            answer = await self._ask(
                what,
                lambda reply: DescribeWorkflow(
                    workflow_id=input.id, run_id=run_id, page_token=token, reply=reply
                ),
                input,
            )
            return expect(RunDescription, what, answer)

        described = await page(input.run_id or "", b"")
        while described.next_page_token:
            more = await page(described.summary.run_id, described.next_page_token)
            described = joined(described, more)
        return description_of(
            described,
            namespace=self._connection.namespace,
            converter=self._client.data_converter,
        )

    def fetch_workflow_history_events(
        self, input: FetchWorkflowHistoryEventsInput
    ) -> WorkflowHistoryEventAsyncIterator:
        """Read the events of a run, page by page; all pages are of the run of the first."""
        run_id = input.run_id or ""

        async def fetch(from_seq: int, bytes_max: int | None) -> HistoryPage:
            nonlocal run_id
            what = f"history of workflow {input.id!r}"
            answer = await self._ask(
                what,
                lambda reply: ReadHistory(
                    workflow_id=input.id,
                    run_id=run_id,
                    from_seq=from_seq,
                    max_bytes=bytes_max or HISTORY_PAGE_BYTES,
                    wait_new=input.wait_new_event,
                    reply=reply,
                ),
                input,
                default_s=None if input.wait_new_event else seconds(None),
                is_prompt=not input.wait_new_event,
            )
            page = expect(HistoryPage, what, answer)
            run_id = page.run_id
            return page

        close_only = input.event_filter_type == WorkflowHistoryEventFilterType.CLOSE_EVENT
        return WorkflowHistoryEventAsyncIterator(
            fetch,
            wait_new_event=input.wait_new_event,
            only_closing=close_only,
            page_size=input.page_size,
            from_seq=int(input.next_page_token or b"1"),
        )

    def list_workflows(self, input: ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        """List runs over all partitions."""
        return list_runs(self._client, self._connection, input)

    async def count_workflows(self, input: CountWorkflowsInput) -> WorkflowExecutionCount:
        """Count runs over all partitions."""
        return await count_runs(self._connection, input)

    # Messages.

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        """Send a signal; the answer comes from the accepted transition."""
        what = f"signal {input.signal!r} to workflow {input.id!r}"
        values = self._client.values_for(input.id)
        command = signal_command(what, input, values, self._connection.identity)
        try:
            answer = await self._reply(what, command, input, is_kept=True)
        except RPCError as error:
            if input.buffer_for is not None and error.status is RPCStatusCode.NOT_FOUND:
                error.add_note("to wait for its start it must know where: give task_queue=")
            raise
        if isinstance(answer, Refused):
            raise refusal(what, answer, workflow_id=input.id)
        expect(Accepted, what, answer)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        """Ask a query."""
        what = f"query {input.query!r} of workflow {input.id!r}"
        values = self._client.values_for(input.id)
        command = query_command(what, input, values, self._connection.identity)
        answer = await self._reply(what, command, input)
        if isinstance(answer, Refused) and answer.code == "query_failed":
            raise WorkflowQueryFailedError(answer.message)
        if isinstance(answer, Refused):
            raise refusal(what, answer, workflow_id=input.id)
        found = expect(QueryAnswer, what, answer)
        if found.rejected_status:
            raise WorkflowQueryRejectedError(status_of(found.rejected_status))
        if found.failure is not None:
            cause = exception_of(found.failure, values)
            raise WorkflowQueryFailedError(str(cause)) from cause
        if found.result is None:
            return None
        what = f"the result of query {input.query!r}"
        return values.from_payload(found.result, input.ret_type, what=what)

    async def start_workflow_update(
        self, input: StartWorkflowUpdateInput
    ) -> WorkflowUpdateHandle[Any]:
        """Send an update, and wait until it is as far as asked."""
        what = f"update {input.update!r} of workflow {input.id!r}"
        update_id = input.update_id or str(uuid.uuid4())
        values = self._client.values_for(input.id)
        command = update_command(what, input, update_id, values, self._connection.identity)
        is_long = input.wait_for_stage is WorkflowUpdateStage.COMPLETED
        try:
            answer = await self._reply(
                what,
                command,
                input,
                default_s=None if is_long else seconds(None),
                is_prompt=not is_long,
            )
        except RPCError as error:
            if error.status in TIMED_OUT:
                raise WorkflowUpdateRPCTimeoutOrCancelledError from error
            raise
        return self._update_handle(
            what, answer, input.id, update_id, input.ret_type, input.task_queue
        )

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        """Send an update with a start: two answers, of the start and of the update."""
        start, update = input.start_workflow_input, input.update_workflow_input
        what = f"update {update.update!r} with a start of workflow {start.id!r}"
        values = self._client.values_for(start.id)
        update_id = update.update_id or str(uuid.uuid4())
        brought = update_input(what, update, update_id, values)
        fields = {name: getattr(start, name) for name in start.__dataclass_fields__}
        plain = StartWorkflowInput(
            **fields, rpc_metadata=input.rpc_metadata, rpc_timeout=input.rpc_timeout
        )
        make = start_command(plain, values, self._connection.identity, self._types)
        rpc, pending = await self._connection.send_to_workflow(
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
            first = await pending.accepted
            if isinstance(first, Refused):
                raise refusal(what, first, workflow_id=start.id, workflow_type=start.workflow)
            if isinstance(first, Accepted):
                input._on_start(first)
            answer = await self._connection.opened(what, await pending.answer, workflow_id=start.id)
        except RPCError as error:
            input._on_start_error(error)
            if error.status in TIMED_OUT:
                raise WorkflowUpdateRPCTimeoutOrCancelledError from error
            raise
        except BaseException as error:
            input._on_start_error(error)
            raise
        finally:
            rpc.drop(pending)
        return self._update_handle(
            what, answer, start.id, update_id, update.ret_type, start.task_queue
        )

    def _update_handle(
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

    async def await_workflow_update(self, input: AwaitWorkflowUpdateInput) -> UpdateAnswer:
        """Wait for the outcome of an update."""
        what = f"result of update {input.update_id!r} of workflow {input.id!r}"
        answer = await self._ask(
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
        return expect(UpdateAnswer, what, answer)

    # Schedules.

    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:
        """Make a schedule on the task queue of its action.

        Raises ScheduleAlreadyRunningError when there is one of this id, ValueError for one that
        cannot be followed.
        """
        start = scheduler_start(input, self._values_for_action(input.schedule))
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
            data = await self.query_workflow(scheduler_query(input))
        except (WorkflowQueryRejectedError, RPCError) as error:
            raise _schedule_error(input.id, error) from error
        return schedule_description_of(
            input.id,
            decode_described(data),
            self._client.data_converter,
            namespace=self._connection.namespace,
        )

    async def pause_schedule(self, input: PauseScheduleInput) -> None:
        """Pause a schedule."""
        note = input.note or "Paused via Python SDK"
        await self._tell(input, "pause", [note])

    async def unpause_schedule(self, input: UnpauseScheduleInput) -> None:
        """Let a schedule go on."""
        note = input.note or "Unpaused via Python SDK"
        await self._tell(input, "unpause", [note])

    async def trigger_schedule(self, input: TriggerScheduleInput) -> None:
        """Take an action now."""
        overlap = int(input.overlap or 0)
        await self._tell(input, "trigger", [overlap])

    async def backfill_schedule(self, input: BackfillScheduleInput) -> None:
        """Take the actions of spans of time."""
        spans = encode(backfill_records(input.backfills))
        await self._tell(input, "backfill", [spans])

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
        await self._tell(input, "update", args)

    async def delete_schedule(self, input: DeleteScheduleInput) -> None:
        """End a schedule; what it has started goes on."""
        try:
            await self.terminate_workflow(scheduler_end(input))
        except RPCError as error:
            raise _schedule_error(input.id, error) from error

    def _values_for_action(self, schedule: Schedule) -> PayloadConverter:
        """What writes its values: for the id in its action; what it starts has the time behind."""
        return self._client.values_for(getattr(schedule.action, "id", ""))

    async def _tell(self, input: ScheduleMessage, update: str, args: Sequence[Any]) -> None:
        """Send a schedule's workflow an update of its own."""
        try:
            handle = await self.start_workflow_update(scheduler_update(input, update, args))
            await handle.result(rpc_metadata=input.rpc_metadata, rpc_timeout=input.rpc_timeout)
        except RPCError as error:
            raise _schedule_error(input.id, error) from error

    # Activities that are reported from elsewhere.

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:
        """Say that an activity is alive. Raises AsyncActivityCancelledError when it should stop."""
        answer = await self._report("heartbeat", input)
        if isinstance(answer, WorkerOrders) and answer.canceled:
            raise AsyncActivityCancelledError(cancellation_details(answer.canceled[0].reason))

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        """Complete an activity."""
        await self._report("completion", input)

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        """Fail an attempt of an activity."""
        await self._report("failure", input)

    async def report_cancellation_async_activity(
        self, input: ReportCancellationAsyncActivityInput
    ) -> None:
        """Say that an activity has stopped."""
        await self._report("cancellation", input)

    def _values_of(self, input: ActivityReport) -> PayloadConverter:
        """What writes the values of a report: in the context that its handle was given, or ours."""
        given = input.data_converter_override
        if given is not None:
            return records_converter(given)
        values = self._client.values
        if not values.is_contextual:
            return values
        token = token_of(input.id_or_token)
        namespace = self._connection.namespace
        return values.with_context(from_elsewhere(namespace, token.workflow_id, token.activity_id))

    async def _report(self, what: str, input: ActivityReport) -> Record:
        token, connection = token_of(input.id_or_token), self._connection
        if input.data_converter_override is not None:
            codecs = codecs_of(input.data_converter_override, is_settled=True)
            connection = connection.through(codecs)
        what = f"{what} of activity {token.activity_id!r} of workflow {token.workflow_id!r}"
        timeout_s = seconds(input.rpc_timeout)
        command = report_command(input, token, self._values_of(input), connection.identity)
        queue = token.task_queue
        queue = queue or await connection.locate(token.workflow_id, token.run_id, timeout_s)
        answer = await connection.ask_workflow(
            what, command, workflow_id=token.workflow_id, task_queue=queue, timeout_s=timeout_s
        )
        if isinstance(answer, Refused):
            raise refusal(what, answer, workflow_id=token.workflow_id)
        if not isinstance(answer, Accepted | WorkerOrders):
            raise surprise(what, answer)
        return answer

    # Requests to the partition of a workflow.

    async def _ask(
        self,
        what: str,
        make: Callable[[ReplyTo], Record],
        input: WorkflowAddress,
        *,
        default_s: float | None = seconds(None),
        is_prompt: bool = True,
        is_kept: bool = False,
    ) -> Record:
        answer = await self._reply(
            what, make, input, default_s=default_s, is_prompt=is_prompt, is_kept=is_kept
        )
        if isinstance(answer, Refused):
            raise refusal(what, answer, workflow_id=input.id)
        return answer

    async def _reply(
        self,
        what: str,
        make: Callable[[ReplyTo], Record],
        input: WorkflowAddress,
        *,
        default_s: float | None = seconds(None),
        is_prompt: bool = True,
        is_kept: bool = False,
    ) -> Record:
        timeout_s = seconds(input.rpc_timeout, default_s=default_s)
        queue = input.task_queue or self._located.get(input.id)
        if queue is None:
            queue = await self._connection.locate(input.id, input.run_id or "", timeout_s)
        answer = await self._connection.ask_workflow(
            what,
            make,
            workflow_id=input.id,
            task_queue=queue,
            timeout_s=timeout_s,
            is_prompt=is_prompt,
            is_kept=is_kept,
        )
        if isinstance(answer, Refused):
            self._located.pop(input.id, None)
        elif input.task_queue is None:
            self._remember(input.id, queue)
        return answer

    def _remember(self, workflow_id: str, queue: str) -> None:
        if len(self._located) >= 10_000:
            self._located.clear()
        self._located[workflow_id] = queue


def _schedule_error(schedule_id: str, error: Exception) -> Exception:
    """There is no such schedule, or it was deleted; any other error is itself."""
    gone = isinstance(error, WorkflowQueryRejectedError)
    if gone or (isinstance(error, RPCError) and error.status == RPCStatusCode.NOT_FOUND):
        return RPCError(f"no schedule {schedule_id!r}", RPCStatusCode.NOT_FOUND, b"")
    return error
