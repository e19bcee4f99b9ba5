"""How a worker finds its topics, and waits, saying so, for those that are not there yet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from perdure_topics.names import topic_name
from perdure_topics.ports import Log, LogUnavailableError, TopicInfo

RETRY_S = 0.25
COMPLAINT_S = 5.0

logger = logging.getLogger(__name__)


async def find_topics(
    log: Log,
    namespace: str,
    *,
    task_queue: str,
    pause: Callable[[float], Awaitable[bool]],
) -> tuple[TopicInfo, TopicInfo] | None:
    """The commands and replies topics, once those and the tasks topic are there.

    `pause` waits so long between two looks, and says whether to go on; if not, there is no answer.
    """
    names = [
        topic_name("commands", namespace, task_queue),
        topic_name("replies", namespace),
        topic_name("tasks", namespace, task_queue),
    ]
    waited_s = 0.0
    while True:
        try:
            found = await asyncio.to_thread(lambda: [log.topic(name) for name in names])
            missing = [name for name, info in zip(names, found, strict=True) if info is None]
            commands, replies, _ = found
            if commands is not None and replies is not None and not missing:
                return commands, replies
            problem = (
                f"the log at {log.address} has no topic {', '.join(missing)}: make what is missing"
                f" with `perdure topics create --task-queue {task_queue}`"
            )
        except LogUnavailableError as error:
            problem = str(error)
        if waited_s % COMPLAINT_S < RETRY_S:
            logger.warning("the activity worker waits: %s. It keeps trying", problem)
        if not await pause(RETRY_S):
            return None
        waited_s += RETRY_S
