"""Which task queue a workflow id is on, from what each of them says of it."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from perdure._records.rpc_errors import RPCError, RPCStatusCode

OTHER_QUEUES_S: Final = 2.0
CLOSED: Final = frozenset({"completed", "failed", "canceled", "terminated", "timed_out"})


async def first_found(asking: dict[str, asyncio.Task[Any]]) -> dict[str, str | RPCError]:
    """Each queue's word; once one knows the id, the others get a little longer only."""
    waiting = set(asking.values())
    loop = asyncio.get_running_loop()
    ends: float | None = None
    while waiting and (ends is None or loop.time() < ends):
        rest = None if ends is None else ends - loop.time()
        done, waiting = await asyncio.wait(
            waiting, timeout=rest, return_when=asyncio.FIRST_COMPLETED
        )
        if ends is None and any(isinstance(task.result(), str) and task.result() for task in done):
            ends = loop.time() + OTHER_QUEUES_S
    return {queue: task.result() for queue, task in asking.items() if task.done()}


def only_one(workflow_id: str, found: dict[str, str | RPCError]) -> str:
    """The queue whose run is open, or the only one that knows it. Raises RPCError."""
    known = {queue: word for queue, word in found.items() if isinstance(word, str) and word}
    alive = [queue for queue, word in known.items() if word not in CLOSED] or list(known)
    if len(alive) == 1:
        return alive[0]
    if alive:
        raise RPCError(
            f"workflow {workflow_id!r} is on the task queues {', '.join(map(repr, alive))}:"
            " say which, with task_queue=",
            RPCStatusCode.FAILED_PRECONDITION,
        )
    for word in found.values():
        if isinstance(word, RPCError):
            raise word
    raise RPCError(
        f"no task queue of the namespace knows a workflow {workflow_id!r}"
        f" (asked: {', '.join(found)})",
        RPCStatusCode.NOT_FOUND,
    )
