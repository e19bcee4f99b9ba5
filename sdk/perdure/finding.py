"""Lists and counts as a client asks for them: the filter checked first, partitions merged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from perdure.calls import CountWorkflowsInput, ListWorkflowsInput
from perdure.connection import Connection, seconds
from perdure.executions import (
    WorkflowExecution,
    WorkflowExecutionAsyncIterator,
    WorkflowExecutionCount,
    WorkflowExecutionCountAggregationGroup,
    execution_of,
)
from perdure.handles import HandlesClient, WorkflowHandle
from perdure.histories import WorkflowHistory
from perdure.outcomes import expect
from perdure.rpc_errors import RPCError, RPCStatusCode
from perdure_actors.finding.language import FilterError, parse
from perdure_schemas.commands import ListWorkflows
from perdure_schemas.replies import RunPage, RunSummary
from perdure_schemas.run_pages import Place, grouped

RUN_PAGE_MAX: Final = 500


def check_filter(query: str, *, counts: bool) -> None:
    """Refuse a filter that cannot be understood before anything is sent. Raises RPCError."""
    try:
        parse(query, counts=counts)
    except FilterError as error:
        raise RPCError(f"{error}, in {query[:200]!r}", RPCStatusCode.INVALID_ARGUMENT) from None


def list_runs(
    client: HandlesClient, connection: Connection, input: ListWorkflowsInput
) -> WorkflowExecutionAsyncIterator:
    """The runs of all partitions as one list. Raises RPCError for a wrong filter."""
    query = input.query or ""
    check_filter(query, counts=False)

    async def fetch(place: Place, token: bytes, size: int) -> RunPage:
        return await _ask(connection, place, query, token, input, size=min(size, RUN_PAGE_MAX))

    def to_execution(summary: RunSummary) -> WorkflowExecution:
        return execution_of(
            summary, namespace=connection.namespace, converter=client.data_converter
        )

    async def history(execution: WorkflowExecution) -> WorkflowHistory:
        handle: WorkflowHandle[Any, Any] = WorkflowHandle(
            client,
            execution.id,
            run_id=execution.run_id,
            task_queue=execution.task_queue or None,
        )
        return await handle.fetch_history()

    return WorkflowExecutionAsyncIterator(
        lambda: _places(connection, input, "list of workflows"),
        fetch,
        to_execution,
        history,
        page_size=input.page_size,
        limit=input.limit,
        token=input.next_page_token or b"",
    )


async def count_runs(connection: Connection, input: CountWorkflowsInput) -> WorkflowExecutionCount:
    """The runs of all partitions counted. Raises RPCError for a wrong filter."""
    query = input.query or ""
    check_filter(query, counts=True)

    async def pages_of(place: Place) -> list[RunPage]:
        pages = [await _ask(connection, place, query, b"", input)]
        while token := pages[-1].next_page_token:
            pages.append(await _ask(connection, place, query, token, input))
        return pages

    places = await _places(connection, input, "count of workflows")
    found = await asyncio.gather(*map(pages_of, places))
    pages = [page for pages in found for page in pages]
    groups = [
        WorkflowExecutionCountAggregationGroup(count, values) for values, count in grouped(pages)
    ]
    return WorkflowExecutionCount(sum(page.count for page in pages), groups)


async def _ask(
    connection: Connection,
    place: Place,
    query: str,
    token: bytes,
    input: ListWorkflowsInput | CountWorkflowsInput,
    *,
    size: int = 0,
) -> RunPage:
    """A page of one partition's runs, or with no size of their count."""
    queue, partition = place
    what = f"{'list' if size else 'count'} of partition {partition} of task queue {queue!r}"
    answers = await connection.ask_partitions(
        what,
        lambda partition, reply: ListWorkflows(
            partition=partition,
            query=query,
            page_size=size or 1,
            page_token=token,
            count_only=not size,
            reply=reply,
        ),
        task_queue=queue,
        partitions=[partition],
        timeout_s=seconds(input.rpc_timeout),
    )
    return expect(RunPage, what, answers[0])


async def _places(
    connection: Connection, input: ListWorkflowsInput | CountWorkflowsInput, what: str
) -> Sequence[Place]:
    async with connection.within(what, seconds(input.rpc_timeout)):
        queues = [input.task_queue] if input.task_queue else await connection.task_queues()
        return [
            (queue, partition)
            for queue in queues
            for partition in range(await connection.partitions(queue))
        ]
