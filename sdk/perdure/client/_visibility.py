"""Lists and counts as a client asks for them: the filter checked first, partitions merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure.client._all_queues import ask_everywhere
from perdure.client._connection import Connection, seconds
from perdure.client._executions import (
    WorkflowExecution,
    WorkflowExecutionAsyncIterator,
    WorkflowExecutionCount,
    WorkflowExecutionCountAggregationGroup,
    execution_of,
)
from perdure.client._handle import HandlesClient, WorkflowHandle
from perdure.client._history import WorkflowHistory
from perdure.client._inputs import CountWorkflowsInput, ListWorkflowsInput
from perdure.client._outcomes import expect
from perdure_actors.visibility.language import FilterError, parse
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

    silent = list[str]()

    async def fetch(tokens: Mapping[Place, bytes], size: int) -> Mapping[Place, RunPage]:
        most = min(size, RUN_PAGE_MAX)
        found = await _ask(connection, tokens, query, input, silent, size=most)
        # Who does not answer now has no more to give to this list.
        return {place: found.get(place) or RunPage() for place in tokens}

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
        silent=silent,
    )


async def count_runs(connection: Connection, input: CountWorkflowsInput) -> WorkflowExecutionCount:
    """The runs of all partitions counted. Raises RPCError for a wrong filter."""
    query = input.query or ""
    check_filter(query, counts=True)

    places = await _places(connection, input, "count of workflows")
    left, pages, silent = dict.fromkeys(places, b""), list[RunPage](), list[str]()
    while left:
        found = await _ask(connection, left, query, input, silent)
        pages += found.values()
        left = {place: token for place, page in found.items() if (token := page.next_page_token)}
    groups = [
        WorkflowExecutionCountAggregationGroup(count, values) for values, count in grouped(pages)
    ]
    return WorkflowExecutionCount(sum(page.count for page in pages), groups, silent)


async def _ask(
    connection: Connection,
    tokens: Mapping[Place, bytes],
    query: str,
    input: ListWorkflowsInput | CountWorkflowsInput,
    silent: list[str],
    *,
    size: int = 0,
) -> Mapping[Place, RunPage]:
    """A page of each partition's runs, or with no size of their count; adds who is silent."""
    what = "list" if size else "count"
    answers = await ask_everywhere(
        connection,
        what,
        lambda place, reply: ListWorkflows(
            partition=place[1],
            query=query,
            page_size=size or 1,
            page_token=tokens[place],
            count_only=not size,
            reply=reply,
        ),
        list(tokens),
        seconds(input.rpc_timeout),
    )
    if answers.silent and input.task_queue:
        # One queue was asked for: half of it would be taken for all of it.
        raise next(iter(answers.silent.values()))
    silent += [queue for queue in answers.silent_queues if queue not in silent]
    return {place: expect(RunPage, what, answer) for place, answer in answers.found.items()}


async def _places(
    connection: Connection, input: ListWorkflowsInput | CountWorkflowsInput, what: str
) -> Sequence[Place]:
    async with connection.within(what, seconds(input.rpc_timeout)):
        named = [input.task_queue] if input.task_queue else []
        queues = named or await connection.task_queues(lately=True)
        return [
            (queue, partition)
            for queue in queues
            for partition in range(await connection.partitions(queue))
        ]
