"""How a client lists and counts runs, and asks task queues how they stand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from perdure.client._connection import Connection, seconds
from perdure.client._executions import WorkflowExecutionAsyncIterator, WorkflowExecutionCount
from perdure.client._handle import OutboundInterceptor
from perdure.client._inputs import CountWorkflowsInput, ListWorkflowsInput
from perdure.client._outcomes import expect
from perdure.client._update_handle import NO_METADATA
from perdure_schemas.commands import DescribeTaskQueue
from perdure_schemas.operator_commands import SkipInput
from perdure_schemas.replies import Accepted, TaskQueueInfo


class ListsWorkflows:
    """The part of a client that lists and counts runs."""

    @property
    def connection(self) -> Connection:
        """The client's side of the log."""
        raise NotImplementedError

    def _chain(self) -> OutboundInterceptor:
        """The first link of the chain that calls go through."""
        raise NotImplementedError

    def list_workflows(
        self,
        query: str | None = None,
        *,
        limit: int | None = None,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
        task_queue: str | None = None,
    ) -> WorkflowExecutionAsyncIterator:
        """List runs, newest first, of one task queue or of all."""
        return self._chain().list_workflows(
            ListWorkflowsInput(
                query=query,
                page_size=page_size,
                next_page_token=next_page_token,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                limit=limit,
                task_queue=task_queue,
            )
        )

    async def count_workflows(
        self,
        query: str | None = None,
        *,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
        task_queue: str | None = None,
    ) -> WorkflowExecutionCount:
        """Count runs, of one task queue or of all."""
        return await self._chain().count_workflows(
            CountWorkflowsInput(
                query=query,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                task_queue=task_queue,
            )
        )

    async def describe_task_queue(
        self, task_queue: str, *, rpc_timeout: timedelta | None = None
    ) -> list[TaskQueueInfo]:
        """Ask every partition of a task queue how it stands: owner, workers, open runs."""
        what = f"describe of task queue {task_queue!r}"
        timeout_s = seconds(rpc_timeout)
        async with self.connection.within(what, timeout_s):
            partitions = await self.connection.partitions(task_queue)
        answers = await self.connection.ask_partitions(
            what,
            lambda partition, reply: DescribeTaskQueue(partition=partition, reply=reply),
            task_queue=task_queue,
            partitions=range(partitions),
            timeout_s=timeout_s,
        )
        return [expect(TaskQueueInfo, what, answer) for answer in answers]

    async def skip_input(
        self,
        task_queue: str,
        *,
        partition: int,
        offset: int,
        reason: str = "",
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Put one input that holds its partition up with the dead letters, undecided.

        Raises RPCError when the partition does not stand at it.
        """
        what = f"skip of input {offset} in partition {partition} of task queue {task_queue!r}"
        identity = self.connection.identity
        answers = await self.connection.ask_partitions(
            what,
            lambda number, reply: SkipInput(
                partition=number,
                offset=offset,
                reason=reason,
                request_id=reply.correlation_id,
                reply=reply,
                identity=identity,
            ),
            task_queue=task_queue,
            partitions=[partition],
            timeout_s=seconds(rpc_timeout),
        )
        expect(Accepted, what, answers[0])
