"""The gateway's backend over a client's connection, with errors as codes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from perdure._gateway.backend_errors import coded
from perdure._gateway.schedule_backend import SchedulesOf
from perdure.client import Client
from perdure.client._connection import Connection
from perdure_schemas.payloads import Record, ReplyTo
from perdure_topics.names import topic_name
from perdure_topics.ports import Log
from perdure_views.gateway.backend import ScheduleBackend


class ConnectionBackend:
    """The backend of one namespace; it owns nothing and is not closed."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._connection: Connection = client.connection

    @property
    def namespace(self) -> str:
        """The namespace that is asked."""
        return self._connection.namespace

    @property
    def address(self) -> str:
        """Where the log is."""
        return self._connection.log.address

    @property
    def log(self) -> Log:
        """The log, for what is read of it as a whole."""
        return self._connection.log

    def schedules(self, principal: str) -> ScheduleBackend:
        """The schedules, for somebody whose name stands in the events of what they do."""
        return SchedulesOf(self._client, principal)

    async def task_queues(self, *, lately: bool = False) -> list[str]:
        """The task queues of the namespace, now or at most a second ago."""
        with coded():
            return await self._connection.task_queues(lately=lately)

    async def partitions(self, task_queue: str) -> int:
        """How many partitions a task queue has."""
        with coded():
            return await self._connection.partitions(task_queue)

    async def locate(self, workflow_id: str, run_id: str) -> str:
        """The task queue that knows a workflow id."""
        with coded():
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
        with coded():
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
        with coded():
            return await self._connection.ask_partitions(
                what, make, task_queue=task_queue, partitions=partitions, timeout_s=timeout_s
            )

    async def ends(self, task_queue: str, role: str) -> list[tuple[int, int]]:
        """First offset and end of each partition of a task queue's topic."""
        with coded():
            count = await self._connection.partitions(task_queue)
            topic = topic_name(role, self.namespace, task_queue)
            log = self._connection.log
            return await asyncio.to_thread(
                lambda: [log.offsets(topic, number) for number in range(count)]
            )
