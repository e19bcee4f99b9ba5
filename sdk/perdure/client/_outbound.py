"""The last link of a client's chain: calls as asks, decided by the partitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from perdure._search_attribute_payloads import AttributeTypes
from perdure.client._async_activity_outbound import AsyncActivitiesOnLog
from perdure.client._connection import Connection, finish, seconds
from perdure.client._executions import (
    WorkflowExecutionAsyncIterator,
    WorkflowExecutionCount,
    WorkflowExecutionDescription,
    description_of,
)
from perdure.client._handle import HandlesClient, WorkflowHandle
from perdure.client._history import WorkflowHistoryEventAsyncIterator
from perdure.client._inputs import (
    AwaitWorkflowResultInput,
    CancelWorkflowInput,
    CountWorkflowsInput,
    DescribeWorkflowInput,
    FetchWorkflowHistoryEventsInput,
    ListWorkflowsInput,
    StartWorkflowInput,
    TerminateWorkflowInput,
    WorkflowHistoryEventFilterType,
)
from perdure.client._message_outbound import Addressed, SendsToLog, now_ms
from perdure.client._outcomes import expect, refusal, surprise
from perdure.client._requests import Ask
from perdure.client._rpc import Asker
from perdure.client._schedule_outbound import SchedulesOnLog
from perdure.client._start_record import start_command
from perdure.client._visibility import count_runs, list_runs
from perdure_schemas.commands import (
    AwaitResult,
    CancelWorkflow,
    DescribeWorkflow,
    ReadHistory,
    TerminateWorkflow,
)
from perdure_schemas.payloads import Record, ReplyTo
from perdure_schemas.replies import (
    Accepted,
    HistoryPage,
    Refused,
    RunClosed,
    RunDescription,
)
from perdure_schemas.run_pages import joined

HISTORY_PAGE_BYTES: Final = 1_000_000
RUN_PAGE_MAX: Final = 500


class LogOutbound(AsyncActivitiesOnLog, SendsToLog, SchedulesOnLog):
    """Sends each call to the partition that decides it."""

    def __init__(self, client: HandlesClient, connection: Connection) -> None:
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
        asker, ask = await self._connection.send_to_workflow(
            what,
            make,
            workflow_id=input.id,
            task_queue=input.task_queue,
            timeout_s=seconds(input.rpc_timeout),
            waits=input.waits,
            is_start=True,
        )
        try:
            answer = await ask.accepted
        except BaseException:
            asker.drop(ask)
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
            closing=ask if input.waits else None,
        )

    async def await_workflow_result(self, input: AwaitWorkflowResultInput) -> RunClosed:
        """Wait for the end of a run."""
        what = f"result of workflow {input.id!r}"
        if input.closing is not None and input.rpc_timeout is None:
            asker = await self._connection.asker()
            if asker.loop is input.closing.answer.get_loop():
                answer = await self._closing(asker, input.closing)
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

    async def _closing(self, asker: Asker, ask: Ask) -> Record:
        """The second answer of a start that was sent to wait for the end."""
        if ask.answer.done():
            return await finish(asker, ask)
        with self._connection.surroundings.awaiting():
            return await finish(asker, ask)

    async def cancel_workflow(self, input: CancelWorkflowInput) -> None:
        """Ask a run to cancel itself."""
        what = f"cancel of workflow {input.id!r}"
        answer = await self._reply(
            what,
            lambda reply: CancelWorkflow(
                workflow_id=input.id,
                run_id=input.run_id or "",
                first_run_id=input.first_execution_run_id or "",
                reason=input.reason,
                request_id=reply.correlation_id,
                first_sent_ms=now_ms(),
                identity=self._connection.identity,
                reply=reply,
            ),
            input,
            is_kept=True,
        )
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
        details = values.to_payloads(input.args) if input.args else []
        answer = await self._ask(
            what,
            lambda reply: TerminateWorkflow(
                workflow_id=input.id,
                run_id=input.run_id or "",
                first_run_id=input.first_execution_run_id or "",
                reason=input.reason or "",
                details=details,
                request_id=reply.correlation_id,
                first_sent_ms=now_ms(),
                identity=self._connection.identity,
                reply=reply,
            ),
            input,
            is_kept=True,
        )
        expect(Accepted, what, answer)

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

    async def _ask(
        self,
        what: str,
        make: Callable[[ReplyTo], Record],
        input: Addressed,
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
        input: Addressed,
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
