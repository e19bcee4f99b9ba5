"""Live streams: the first page of a list, and a run's history while it grows.

Nothing is queued for a reader: the next news is asked for when the last one has been taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

import msgspec

from perdure_views.gateway.endpoints import Call, Endpoint, Param, Said
from perdure_views.gateway.problems import ProblemError
from perdure_views.gateway.requests import WHICH
from perdure_views.gateway.shapes import Description, HistoryPart, Problem, Runs
from perdure_views.gateway.workflows import (
    FROM,
    LIMIT,
    LISTED,
    describe_workflow,
    history_part,
    list_workflows,
)

LIST_EVERY_S: Final = 1.5
WAIT_S: Final = 2.0
"""A run without news is described again after this: heartbeats are no events."""
QUIET: Final = frozenset({"unavailable", "deadline_exceeded", "busy", "too_many"})
"""Problems that pass; the stream says them and goes on."""


async def watch_list(call: Call) -> AsyncIterator[Said | None]:
    """The first page of a list, again whenever it has changed."""
    last = b""
    while True:
        try:
            page = await _shared_page(call)
        except ProblemError as problem:
            if problem.code not in QUIET:
                raise
            yield _said(problem)
        else:
            now = msgspec.json.encode((page.runs, page.silent))
            yield Said(event="runs", data=page) if now != last else None
            last = now
        await asyncio.sleep(LIST_EVERY_S)


async def _shared_page(call: Call) -> Runs:
    """The first page as it is now, or was a moment ago: all who look at one list ask it once."""
    now = asyncio.get_running_loop().time()
    lists = call.shared.setdefault("lists", {})
    key = (call.text("query"), call.text("queue"), call.number("limit"))
    asked, asking = lists.get(key, (float("-inf"), None))
    if asking is None or now - asked > LIST_EVERY_S * 0.9:
        for old in [one for one, (at, _) in lists.items() if now - at > 10 * LIST_EVERY_S]:
            del lists[old]
        asking = asyncio.ensure_future(list_workflows(call))
        lists[key] = (now, asking)
    page: Runs = await asyncio.shield(asking)
    return page


async def watch_run(call: Call) -> AsyncIterator[Said | None]:
    """A run's events from a number on, as they come, with how it stands; ends when it closed."""
    next_seq = call.number("from")
    if call.resume.isascii() and call.resume.isdigit():
        next_seq = max(next_seq, int(call.resume[:18]))
    first = await describe_workflow(call)
    # A workflow id alone means its newest run, and the stream is of one run.
    params = {**call.params, "run": first.run.run_id, "queue": first.run.task_queue}
    call = replace(call, params=params)
    shown = msgspec.json.encode(first)
    yield Said(event="description", data=first)
    is_waiting = False
    while True:
        try:
            part = await history_part(
                call, from_seq=next_seq, wait_s=WAIT_S if is_waiting else None
            )
            next_seq = part.next_seq
            if part.events:
                yield Said(event="history", data=part, id=str(next_seq))
            is_waiting = not part.more or not part.events
            if not is_waiting:
                continue
            description = await describe_workflow(call)
        except ProblemError as problem:
            if problem.code not in QUIET:
                raise
            yield _said(problem)
            await asyncio.sleep(WAIT_S)
            continue
        now = msgspec.json.encode(description)
        yield Said(event="description", data=description) if now != shown else None
        shown = now
        if description.run.close_ms and next_seq > description.run.history_length:
            yield Said(event="end", data=part, id=str(next_seq))
            return


def _said(problem: ProblemError) -> Said:
    return Said(
        event="problem",
        data=Problem(code=problem.code, message=problem.message, status=problem.status),
    )


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/api/v1/workflows/live",
        name="watchWorkflows",
        says="The first page of a list, again whenever it has changed (server-sent events).",
        role="read",
        streams=watch_list,
        params=(*LISTED, LIMIT, Param(name="page", says="must be empty")),
        answer=Runs,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/workflow/live",
        name="watchWorkflow",
        says=(
            "A run as it goes (server-sent events): `history` with events, `description`,"
            " `problem`, and `end` when it has closed. Last-Event-ID goes on where it was."
        ),
        role="read",
        streams=watch_run,
        params=(*WHICH, FROM),
        answer=HistoryPart,
    ),
)
STREAM_SHAPES: Final = (Runs, HistoryPart, Description, Problem)
