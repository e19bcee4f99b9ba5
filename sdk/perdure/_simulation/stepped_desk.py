"""The activity worker of a simulated process: the real desk, stepped by the world's time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from perdure_actors.worker.lease import LeaseBook
from perdure_actors.worker.protocol import ActivityDesk, Runner
from perdure_actors.worker.record_sender import Outbox
from perdure_actors.worker.replies import ReplyReader
from perdure_actors.worker.reports import WorkerFacts
from perdure_actors.worker.slots import FixedSlots
from perdure_actors.worker.task_reader import TaskIntake
from perdure_topics.names import group_name, topic_name

if TYPE_CHECKING:
    from perdure_actors.worker.eager_intake import EagerIntake
    from perdure_topics.ports import Clock
    from perdure_topics.simulated.simulated_log import SimulatedLog

PAUSED_MS = 100


class SteppedDesk:
    """One incarnation of a worker's desk, which takes its turns when the world's time says so."""

    def __init__(
        self,
        log: SimulatedLog,
        name: str,
        *,
        queue: tuple[str, str],
        clock: Clock,
        runner: Runner,
        activity_types: Sequence[str],
        slots: int,
        partitions: int,
        reply_partition: int,
        delay_ms: Callable[[], int],
        eager: EagerIntake | None = None,
    ) -> None:
        """A desk at work; `delay_ms` draws how soon it takes its turn when there is news."""
        self._log = log
        self._clock = clock
        self._delay_ms = delay_ms
        self._scheduled_ms = -1
        self.is_dead = False
        self.before_turn: Callable[[], None] = _nothing
        self.after_turn: Callable[[], None] = _nothing
        namespace, task_queue = queue
        commands = topic_name("commands", namespace, task_queue)
        tasks = topic_name("tasks", namespace, task_queue)
        group = group_name("workers", namespace, task_queue)
        reader = log.group_reader(group, tasks, on_ready=self.ring)
        self._tail = log.tail(on_ready=self.ring, committed=False)
        self._reader, self._intake = reader, TaskIntake(reader)
        self._outbox = Outbox(log, clock=clock, on_ready=self.ring)
        replies = topic_name("replies", namespace)
        self.desk = ActivityDesk(
            WorkerFacts(
                task_queue=task_queue,
                worker_id=name,
                identity=name,
                slots=slots,
                activity_types=tuple(activity_types),
                reply_partition=reply_partition,
            ),
            runner,
            clock=clock,
            outbox=self._outbox,
            intake=self._intake,
            replies=ReplyReader(self._tail, replies, reply_partition, clock=clock),
            leases=LeaseBook(commands, partitions),
            wake=self.ring,
            slots=FixedSlots(slots),
            eager=eager,
        )
        if eager is not None:
            eager.open(wake=self.ring)
        self.ring()

    def ring(self) -> None:
        """There is news: turn soon."""
        self._schedule(self._delay_ms())

    def _schedule(self, delay_ms: int) -> None:
        at_ms = self._log.broker.now_ms + delay_ms
        if 0 <= self._scheduled_ms <= at_ms:
            return
        self._scheduled_ms = at_ms
        self._log.broker.at(delay_ms, lambda: self._turn(at_ms))

    def _turn(self, at_ms: int) -> None:
        if self.is_dead or self._scheduled_ms != at_ms:
            return
        self._scheduled_ms = -1
        if self._log.node.paused:
            self._schedule(PAUSED_MS)
            return
        self.before_turn()
        self.desk.turn()
        self.after_turn()
        if not self.is_dead:
            self._schedule(max(1, self.desk.next_turn_ms - self._clock.monotonic_ms()))

    def say_farewell(self) -> None:
        """The host beside it has stopped: what it was told and had not written goes by the log."""
        self.desk.turn()
        self.desk.say_farewell()
        self._intake.close()
        self.end()

    def end(self) -> None:
        """Nothing of it is there any more."""
        if self.is_dead:
            return
        self.is_dead = True
        self._tail.close()
        self._reader._tail.close()


def _nothing() -> None:
    """There is nothing more to do."""
