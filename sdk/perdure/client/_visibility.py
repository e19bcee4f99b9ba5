"""Lists and counts of runs: filters checked, all partitions asked, their answers merged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure.client._connection import Connection, seconds
from perdure.client._exceptions import expect
from perdure.client._executions import (
    WorkflowExecution,
    WorkflowExecutionAsyncIterator,
    WorkflowExecutionCount,
    WorkflowExecutionCountAggregationGroup,
    execution_of,
)
from perdure.client._history import WorkflowHistory
from perdure.client._inputs import CountWorkflowsInput, ListWorkflowsInput
from perdure.client._interceptors import HandleClient
from perdure.client._workflow_handle import WorkflowHandle
from perdure_schemas.answers.run_pages import Place, grouped
from perdure_schemas.commands import ListWorkflows
from perdure_schemas.payloads import Record, ReplyTo
from perdure_schemas.replies import RunPage, RunSummary

logger = logging.getLogger("perdure.client")

RUN_PAGE_MAX: Final = 500
PATIENCE_S: Final = 5.0
"""So much longer than the newest answer the others are waited for."""
_SILENT: Final = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.UNAVAILABLE)


def check_filter(query: str, *, counts: bool) -> None:
    """Refuse a filter that cannot be understood before anything is sent. Raises RPCError."""
    if not query:
        return
    # The grammar is built with its first filter.
    from perdure_actors.visibility.language import FilterError, parse

    try:
        parse(query, counts=counts)
    except FilterError as error:
        raise RPCError(f"{error}, in {query[:200]!r}", RPCStatusCode.INVALID_ARGUMENT) from None


def list_runs(
    client: HandleClient, connection: Connection, input: ListWorkflowsInput
) -> WorkflowExecutionAsyncIterator:
    """The runs of all partitions as one list. Raises RPCError for a wrong filter."""
    query = input.query or ""
    check_filter(query, counts=False)

    silent = list[str]()

    async def fetch(tokens: Mapping[Place, bytes], size: int) -> Mapping[Place, RunPage]:
        most = min(size, RUN_PAGE_MAX)
        found = await _ask_runs(connection, tokens, query, input, silent, size=most)
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
        found = await _ask_runs(connection, left, query, input, silent)
        pages += found.values()
        left = {place: token for place, page in found.items() if (token := page.next_page_token)}
    groups = [
        WorkflowExecutionCountAggregationGroup(count, values) for values, count in grouped(pages)
    ]
    return WorkflowExecutionCount(sum(page.count for page in pages), groups, silent)


async def _ask_runs(
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
    answers = await ask_all_places(
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


@dataclass
class Answers:
    """What some partitions answered, and those that did not."""

    found: dict[Place, Record] = field(default_factory=dict)
    silent: dict[Place, RPCError] = field(default_factory=dict)

    @property
    def silent_queues(self) -> list[str]:
        """The task queues of which not every partition answered."""
        return list(dict.fromkeys(queue for queue, _ in self.silent))


async def ask_all_places(
    connection: Connection,
    what: str,
    make: Callable[[Place, ReplyTo], Record],
    places: Sequence[Place],
    timeout_s: float | None,
) -> Answers:
    """Ask partitions of several task queues; who is silent while others answer is left out.

    Raises RPCError when nobody answers, and for what is no silence.
    """
    asking = {
        asyncio.ensure_future(_ask_place(connection, what, make, place, timeout_s)): place
        for place in places
    }
    answers, waiting = Answers(), set(asking)
    try:
        while waiting:
            patience_s = PATIENCE_S if answers.found else None
            done, waiting = await asyncio.wait(
                waiting, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            for task in done:
                _take(answers, asking[task], task)
        for task in waiting:
            place = asking[task]
            text = f"{what}: partition {place[1]} of task queue {place[0]!r} does not answer"
            answers.silent[place] = RPCError(text, RPCStatusCode.DEADLINE_EXCEEDED)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    if places and not answers.found:
        raise next(iter(answers.silent.values()))
    if answers.silent:
        logger.warning(
            "%s: of task queue %s nobody answers, so this is of the others; is a worker running?",
            what,
            ", ".join(map(repr, answers.silent_queues)),
        )
    return answers


def _take(answers: Answers, place: Place, task: asyncio.Future[Record]) -> None:
    try:
        answers.found[place] = task.result()
    except RPCError as error:
        if error.status not in _SILENT:
            raise
        answers.silent[place] = error


async def _ask_place(
    connection: Connection,
    what: str,
    make: Callable[[Place, ReplyTo], Record],
    place: Place,
    timeout_s: float | None,
) -> Record:
    queue, partition = place
    answers = await connection.ask_partitions(
        f"{what} of task queue {queue!r}",
        lambda _partition, reply: make(place, reply),
        task_queue=queue,
        partitions=[partition],
        timeout_s=timeout_s,
    )
    return answers[0]
