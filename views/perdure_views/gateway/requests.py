"""What endpoints share: the run that parameters name, partitions of a list, sending commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from perdure_schemas.answers.run_pages import PLACES_MAX, Place
from perdure_schemas.payloads import Record, ReplyTo
from perdure_schemas.replies import Accepted
from perdure_views.gateway.backend import GatewayBackend
from perdure_views.gateway.endpoints import Call, Param
from perdure_views.gateway.problems import ProblemError, expect
from perdure_views.gateway.settings import ASK_S
from perdure_views.gateway.shapes import Taken

WHICH: Final = (
    Param(name="id", says="the workflow id", is_required=True),
    Param(name="run", says="the run id; without it the newest run"),
    Param(name="queue", says="the task queue; without it every queue is asked for the id"),
)


async def queue_of(backend: GatewayBackend, workflow_id: str, run_id: str, given: str) -> str:
    """The task queue of a run: as given, or the one that knows the id."""
    return given or await backend.locate(workflow_id, run_id)


async def ask_run(
    call: Call,
    what: str,
    make: Callable[[str, str, ReplyTo], Record],
    *,
    timeout_s: float | None = ASK_S,
    is_prompt: bool = True,
) -> tuple[Record, str]:
    """Ask the partition of the run that the parameters name; the answer, and its task queue."""
    workflow_id, run_id = call.text("id"), call.text("run")
    queue = await queue_of(call.backend, workflow_id, run_id, call.text("queue"))
    answer = await call.backend.ask(
        f"{what} of workflow {workflow_id!r}",
        lambda reply: make(workflow_id, run_id, reply),
        workflow_id=workflow_id,
        task_queue=queue,
        timeout_s=timeout_s,
        is_prompt=is_prompt,
    )
    return answer, queue


async def places_of(backend: GatewayBackend, queue: str) -> list[Place]:
    """The partitions that a list is made of. Raises ProblemError when there are too many."""
    queues = [queue] if queue else await backend.task_queues(lately=True)
    counts = await asyncio.gather(*(backend.partitions(name) for name in queues))
    places = [
        (name, number)
        for name, count in zip(queues, counts, strict=True)
        for number in range(count)
    ]
    if len(places) > PLACES_MAX:
        raise ProblemError(
            "too_many",
            f"{len(places)} partitions are more than {PLACES_MAX}: ask for one task queue",
        )
    return places


async def command(
    call: Call,
    what: str,
    workflow_id: str,
    task_queue: str,
    make: Callable[[ReplyTo], Record],
) -> Taken:
    """Send a command, and wait until it is taken or refused."""
    said = f"{what} of workflow {workflow_id!r}"
    answer = await call.backend.ask(
        said, make, workflow_id=workflow_id, task_queue=task_queue, timeout_s=ASK_S
    )
    taken = expect(Accepted, said, answer)
    return Taken(
        workflow_id=taken.workflow_id or workflow_id,
        run_id=taken.run_id,
        first_run_id=taken.first_run_id,
        started=taken.started,
    )
