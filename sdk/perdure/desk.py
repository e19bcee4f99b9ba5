"""A client's connection as the gateway asks it: the same asks, errors as codes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from perdure.connection import Connection
from perdure.service import RPCError
from perdure_schemas.payloads import Record, ReplyTo
from perdure_topics.names import topic_name
from perdure_topics.ports import LogError, LogUnavailableError
from perdure_views.gateway.desk import DeskError


class ConnectionDesk:
    """The desk of one namespace; it owns nothing and is not closed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def namespace(self) -> str:
        """The namespace that is asked."""
        return self._connection.namespace

    @property
    def address(self) -> str:
        """Where the log is."""
        return self._connection.log.address

    async def task_queues(self) -> list[str]:
        """The task queues of the namespace."""
        with _coded():
            return await self._connection.task_queues()

    async def partitions(self, task_queue: str) -> int:
        """How many partitions a task queue has."""
        with _coded():
            return await self._connection.partitions(task_queue)

    async def locate(self, workflow_id: str, run_id: str) -> str:
        """The task queue that knows a workflow id."""
        with _coded():
            return await self._connection.locate(workflow_id, run_id, 10.0)

    async def ask(
        self,
        what: str,
        make: Callable[[ReplyTo], Record],
        *,
        workflow_id: str,
        task_queue: str,
        timeout_s: float | None,
        is_prompt: bool = True,
    ) -> Record:
        """Ask the partition of a workflow id."""
        with _coded():
            return await self._connection.ask_workflow(
                what,
                make,
                workflow_id=workflow_id,
                task_queue=task_queue,
                timeout_s=timeout_s,
                is_prompt=is_prompt,
            )

    async def ask_partitions(
        self,
        what: str,
        make: Callable[[int, ReplyTo], Record],
        *,
        task_queue: str,
        partitions: Sequence[int],
        timeout_s: float | None,
    ) -> list[Record]:
        """Ask partitions of a task queue."""
        with _coded():
            return await self._connection.ask_partitions(
                what, make, task_queue=task_queue, partitions=partitions, timeout_s=timeout_s
            )

    async def ends(self, task_queue: str, role: str) -> list[tuple[int, int]]:
        """First offset and end of each partition of a task queue's topic."""
        with _coded():
            count = await self._connection.partitions(task_queue)
            topic = topic_name(role, self.namespace, task_queue)
            log = self._connection.log
            return await asyncio.to_thread(
                lambda: [log.offsets(topic, number) for number in range(count)]
            )


@contextmanager
def _coded() -> Iterator[None]:
    try:
        yield
    except RPCError as error:
        raise DeskError(error.status.name.lower(), error.message) from error
    except LogUnavailableError as error:
        raise DeskError("unavailable", str(error)) from error
    except LogError as error:
        raise DeskError("failed_precondition", str(error)) from error
    except ValueError as error:
        raise DeskError("invalid", str(error)) from error
