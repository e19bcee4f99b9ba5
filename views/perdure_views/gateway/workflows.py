"""Endpoints that read workflows: list, count, describe, history and result."""

from __future__ import annotations

import asyncio
from typing import Final

from perdure_schemas import commands
from perdure_schemas.answers.run_pages import ListTokenError, Place, grouped, joined
from perdure_schemas.replies import HistoryPage, RunClosed, RunDescription, RunPage
from perdure_topics.names import partition_of, topic_name
from perdure_views.gateway.backend import BackendError
from perdure_views.gateway.endpoints import Call, Endpoint, Param
from perdure_views.gateway.lists import PAGE_MAX, merged
from perdure_views.gateway.problems import ProblemError, expect
from perdure_views.gateway.render import description_of, history_of, run_of, shown
from perdure_views.gateway.requests import WHICH, ask_run, places_of
from perdure_views.gateway.settings import ASK_S, WAIT_MAX_S
from perdure_views.gateway.shapes import Closing, Count, Description, Group, HistoryPart, Runs

HISTORY_BYTES: Final = 128 * 1024
HISTORY_BYTES_MAX: Final = 4 * 1024 * 1024

LISTED: Final = (
    Param(name="query", says="a list filter, as WorkflowType = 'Order'; empty for all"),
    Param(name="queue", says="only this task queue"),
)


async def list_workflows(call: Call) -> Runs:
    """A page of runs over all partitions; those that do not answer are named."""
    query, limit = call.text("query"), call.number("limit")
    what = "list of workflows"

    async def fetch(place: Place, token: bytes, size: int) -> RunPage | None:
        queue, partition = place
        try:
            answers = await call.backend.ask_partitions(
                what,
                lambda number, reply: commands.ListWorkflows(
                    partition=number, query=query, page_size=size, page_token=token, reply=reply
                ),
                task_queue=queue,
                partitions=[partition],
                timeout_s=ASK_S,
            )
        except BackendError as error:
            if error.code == "deadline_exceeded":
                return None
            raise
        return expect(RunPage, what, answers[0])

    try:
        runs, next_page, silent = await merged(
            await places_of(call.backend, call.text("queue")),
            fetch,
            limit=limit,
            token=call.text("page"),
        )
    except ListTokenError as error:
        raise ProblemError("invalid", str(error)) from error
    return Runs(runs=[run_of(run) for run in runs], next_page=next_page, silent=silent)


async def count_workflows(call: Call) -> Count:
    """How many runs there are."""
    query = call.text("query")
    what = "count of workflows"

    async def part(place: Place, token: bytes) -> RunPage:
        answers = await call.backend.ask_partitions(
            what,
            lambda number, reply: commands.ListWorkflows(
                partition=number, query=query, page_token=token, count_only=True, reply=reply
            ),
            task_queue=place[0],
            partitions=[place[1]],
            timeout_s=ASK_S,
        )
        return expect(RunPage, what, answers[0])

    async def count(place: Place) -> list[RunPage]:
        pages = [await part(place, b"")]
        while token := pages[-1].next_page_token:
            pages.append(await part(place, token))
        return pages

    places = await places_of(call.backend, call.text("queue"))
    pages = [page for found in await asyncio.gather(*map(count, places)) for page in found]
    return Count(
        count=sum(page.count for page in pages),
        groups=[Group(values=shown(values), count=n) for values, n in grouped(pages)],
    )


async def describe_workflow(call: Call) -> Description:
    """How a run stands."""

    async def page(token: bytes) -> RunDescription:
        answer, _ = await ask_run(
            call,
            "describe",
            lambda workflow_id, run_id, reply: commands.DescribeWorkflow(
                workflow_id=workflow_id, run_id=run_id, page_token=token, reply=reply
            ),
        )
        return expect(RunDescription, "describe", answer)

    described = await page(b"")
    while described.next_page_token:
        described = joined(described, await page(described.next_page_token))
    return description_of(described)


async def read_history(call: Call) -> HistoryPart:
    """Events of a run from a number on; with `wait`, once there are any."""
    return await history_part(
        call, from_seq=call.number("from"), wait_s=float(call.number("wait")) or None
    )


async def history_part(call: Call, *, from_seq: int, wait_s: float | None) -> HistoryPart:
    """A part of a run's history; one that waits and gets nothing is empty."""
    try:
        answer, queue = await ask_run(
            call,
            "history",
            lambda workflow_id, run_id, reply: commands.ReadHistory(
                workflow_id=workflow_id,
                run_id=run_id,
                from_seq=from_seq,
                max_bytes=call.params.get("bytes", HISTORY_BYTES),
                wait_new=wait_s is not None,
                reply=reply,
            ),
            timeout_s=wait_s or ASK_S,
            is_prompt=wait_s is None,
        )
    except BackendError as error:
        if wait_s is None or error.code != "deadline_exceeded":
            raise
        return HistoryPart(
            run_id=call.text("run"),
            status="",
            topic="",
            partition=-1,
            events=[],
            next_seq=from_seq,
            more=True,
        )
    page = expect(HistoryPage, "history", answer)
    partition = partition_of(call.text("id"), await call.backend.partitions(queue))
    topic = topic_name("events", call.backend.namespace, queue)
    # Thousands of events take long enough to open to hold up everybody else.
    return await asyncio.to_thread(history_of, page, topic=topic, partition=partition)


async def await_result(call: Call) -> Closing:
    """How a run ended, waited for at most `wait` seconds."""
    try:
        answer, _ = await ask_run(
            call,
            "result",
            lambda workflow_id, run_id, reply: commands.AwaitResult(
                workflow_id=workflow_id, run_id=run_id, reply=reply
            ),
            timeout_s=max(float(call.number("wait")), 1.0),
            is_prompt=False,
        )
    except BackendError as error:
        if error.code != "deadline_exceeded":
            raise
        return Closing(closed=False, workflow_id=call.text("id"), run_id=call.text("run"))
    closed = expect(RunClosed, "result", answer)
    return Closing(closed=True, **shown(closed))


LIMIT: Final = Param(
    name="limit", says="so many runs a page", is_number=True, default="50", least=1, most=PAGE_MAX
)
_PAGE: Final = Param(name="page", says="`next_page` of the page before")
FROM: Final = Param(
    name="from", says="the first event's number", is_number=True, default="1", least=1
)
_BYTES: Final = Param(
    name="bytes",
    says="about so many bytes of events",
    is_number=True,
    default=str(HISTORY_BYTES),
    least=1,
    most=HISTORY_BYTES_MAX,
)
_WAIT: Final = Param(
    name="wait",
    says="seconds to wait for what has not happened yet",
    is_number=True,
    default="0",
    most=int(WAIT_MAX_S),
)

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/api/v1/workflows",
        name="listWorkflows",
        says="A page of runs: the blocked ones first, then the newest.",
        role="read",
        answers=list_workflows,
        params=(*LISTED, LIMIT, _PAGE),
        answer=Runs,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/workflows/count",
        name="countWorkflows",
        says="How many runs there are.",
        role="read",
        answers=count_workflows,
        params=LISTED,
        answer=Count,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/workflow",
        name="describeWorkflow",
        says="How a run stands.",
        role="read",
        answers=describe_workflow,
        params=WHICH,
        answer=Description,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/workflow/history",
        name="readHistory",
        says="Events of a run from a number on.",
        role="read",
        answers=read_history,
        params=(*WHICH, FROM, _BYTES, _WAIT),
        answer=HistoryPart,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/workflow/result",
        name="awaitResult",
        says="How a run ended.",
        role="read",
        answers=await_result,
        params=(*WHICH, _WAIT),
        answer=Closing,
    ),
)
