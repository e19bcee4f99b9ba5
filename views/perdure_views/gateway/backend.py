"""The port that the gateway reaches the log through; the sdk implements it with a client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from perdure_schemas.payloads import Record, ReplyTo
from perdure_topics.ports import Log
from perdure_views.gateway.bodies import CreateSchedule
from perdure_views.gateway.shapes import Schedules, ScheduleShape


class BackendError(Exception):
    """An ask that got no answer, or a refusal: its code is one of `answers.STATUS`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ScheduleBackend(Protocol):
    """A namespace's schedules, as one principal reads and changes them.

    Every method raises BackendError.
    """

    async def listed(self, *, begins: str, most: int) -> Schedules:
        """The schedules whose ids begin so, at most so many."""

    async def described(self, schedule_id: str) -> ScheduleShape:
        """How a schedule stands."""

    async def create(self, wanted: CreateSchedule) -> None:
        """Make a schedule."""

    async def pause(self, schedule_id: str, note: str) -> None:
        """Let it take no actions."""

    async def unpause(self, schedule_id: str, note: str) -> None:
        """Let it take actions again."""

    async def trigger(self, schedule_id: str, overlap: str) -> None:
        """Let it take an action now."""

    async def backfill(self, schedule_id: str, span: tuple[int, int], overlap: str) -> None:
        """Let it take the actions of a span of time now, from and to in milliseconds."""

    async def delete(self, schedule_id: str) -> None:
        """End it; what it has started goes on."""


class GatewayBackend(Protocol):
    """A namespace's partitions, as somebody who asks them. Every method raises BackendError."""

    @property
    def namespace(self) -> str:
        """The namespace that is asked."""

    @property
    def address(self) -> str:
        """Where the log is, for people."""

    @property
    def log(self) -> Log:
        """The log, for what is read of it as a whole."""

    def schedules(self, principal: str) -> ScheduleBackend:
        """The schedules, for somebody whose name stands in the events of what they do."""

    async def task_queues(self, *, lately: bool = False) -> list[str]:
        """The task queues of the namespace."""

    async def partitions(self, task_queue: str) -> int:
        """How many partitions a task queue has."""

    async def locate(self, workflow_id: str, run_id: str) -> str:
        """The task queue that knows a workflow id."""

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
        """Ask the partition of a workflow id. Not prompt is what is answered when it happens."""

    async def ask_partitions(
        self,
        what: str,
        make: Callable[[int, ReplyTo], Record],
        *,
        task_queue: str,
        partitions: Sequence[int],
        timeout_s: float | None,
    ) -> list[Record]:
        """Ask partitions of a task queue; their answers in the same order."""

    async def ends(self, task_queue: str, role: str) -> list[tuple[int, int]]:
        """First offset and end of each partition of a task queue's topic."""
