"""A worker's desk whose turns, clock and attempts are all in the test's hands."""

from __future__ import annotations

from typing import Any

from perdure_actors.worker.attempt import Attempt
from perdure_actors.worker.eager_intake import EagerIntake
from perdure_actors.worker.lease import LeaseBook
from perdure_actors.worker.protocol import ActivityDesk
from perdure_actors.worker.record_sender import Outbox
from perdure_actors.worker.replies import ReplyReader
from perdure_actors.worker.reports import WorkerFacts
from perdure_actors.worker.task_rate import TaskRate
from perdure_actors.worker.task_reader import TaskIntake
from perdure_schemas.avro import decode
from perdure_schemas.commands import (
    WorkerLease,
)
from perdure_schemas.payloads import Payload
from perdure_schemas.replies import CanceledAttempt, WorkerOrders
from perdure_topics.clock import ManualClock
from tests.unit.memory_log import MemoryLog
from tests.unit.worker_world import COMMANDS, REPLIES, TASKS, HostSide, make_log


class Hand:
    """A runner whose attempts end when the test says so."""

    def __init__(self) -> None:
        self.started: list[Attempt] = []
        self.cancelled: list[tuple[bytes, str]] = []

    def start(self, attempt: Attempt) -> None:
        self.started.append(attempt)

    def cancel(self, attempt: Attempt, reason: str) -> None:
        self.cancelled.append((attempt.token, reason))


class World:
    """A desk whose turns, clock and attempts are all in the test's hands."""

    def __init__(
        self,
        *,
        slots: int = 4,
        log: MemoryLog | None = None,
        rate: float | None = None,
        eager: EagerIntake | None = None,
        **reader: Any,
    ) -> None:
        self.log = log or make_log()
        self.host = HostSide(self.log)
        self.clock = ManualClock()
        self.hand = Hand()
        self.woken = 0
        self.outbox = Outbox(self.log, clock=self.clock, on_ready=lambda: None)
        self.reader = self.log.group_reader("g", TASKS, on_ready=lambda: None)
        tail = self.log.tail(on_ready=lambda: None, committed=False)
        self.desk = ActivityDesk(
            WorkerFacts(
                task_queue="orders",
                worker_id="w1",
                identity="w@test",
                slots=slots,
                activity_types=("work",),
                reply_partition=0,
            ),
            self.hand,
            clock=self.clock,
            outbox=self.outbox,
            intake=TaskIntake(self.reader),
            replies=ReplyReader(tail, REPLIES, 0, clock=self.clock),
            leases=LeaseBook(COMMANDS, 3),
            rate=TaskRate(rate),
            wake=self._wake,
            eager=eager,
        )
        self.reader.assign(0, **reader)
        self.desk.turn()

    def _wake(self) -> None:
        self.woken += 1

    def pass_ms(self, passed_ms: int) -> None:
        """Let time pass, turning whenever the desk wants to be turned."""
        end_ms = self.clock.monotonic_ms() + passed_ms
        while (due_ms := self.desk.next_turn_ms) <= end_ms:
            self.clock.advance(max(due_ms - self.clock.monotonic_ms(), 0))
            self.desk.turn()
        self.clock.advance(end_ms - self.clock.monotonic_ms())

    def end(self, attempt: Attempt) -> None:
        self.desk.completed(attempt, None)

    def settle(self) -> None:
        """Take acks, then commit."""
        self.desk.turn()
        self.pass_ms(300)

    @property
    def committed(self) -> int:
        return self.reader.committed.get(0, 0)


def world_orders(token: bytes) -> Any:
    return WorkerOrders(canceled=[CanceledAttempt(token=token, reason="cancel_requested")])


def payload(value: int) -> Any:
    return Payload(data=str(value).encode())


def is_lease(value: bytes | None) -> bool:
    return isinstance(decode(value), WorkerLease)
