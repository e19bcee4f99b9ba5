"""What is asked of every partition of a namespace: a queue that nobody serves holds up no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure.client._connection import Connection
from perdure_schemas.payloads import Record, ReplyTo
from perdure_schemas.run_pages import Place

logger = logging.getLogger("perdure.client")
PATIENCE_S: Final = 5.0
"""So much longer than the newest answer the others are waited for."""
_SILENT: Final = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.UNAVAILABLE)


@dataclass
class Answers:
    """What some partitions answered, and those that did not."""

    found: dict[Place, Record] = field(default_factory=dict)
    silent: dict[Place, RPCError] = field(default_factory=dict)

    @property
    def silent_queues(self) -> list[str]:
        """The task queues of which not every partition answered."""
        return list(dict.fromkeys(queue for queue, _ in self.silent))


async def ask_everywhere(
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
        asyncio.ensure_future(_ask(connection, what, make, place, timeout_s)): place
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


async def _ask(
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
