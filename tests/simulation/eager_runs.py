"""The activity worker in a host's process: the real desk, to which the host hands its tasks."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from perdure_actors.worker.eager_intake import EagerIntake
from perdure_actors.worker.lease import LeaseBook
from perdure_actors.worker.protocol import ActivityDesk
from perdure_actors.worker.record_sender import Outbox
from perdure_actors.worker.replies import ReplyReader
from perdure_actors.worker.reports import WorkerFacts
from perdure_actors.worker.slots import FixedSlots
from perdure_actors.worker.task_reader import TaskIntake
from perdure_schemas.payloads import Payload
from perdure_topics.names import group_name, topic_name
from tests.simulation.scripted import ScriptedProcess, Scripts

if TYPE_CHECKING:
    from perdure_actors.worker.attempt import Attempt
    from perdure_topics.ports import Clock
    from perdure_topics.simulated.simulated_log import SimulatedLog
    from tests.simulation.world import World

SLOTS = 4
STOPPED_MS = 100


class SimEager(ScriptedProcess):
    """One incarnation of it, which lives and dies with the host beside it."""

    desk: ActivityDesk

    def __init__(
        self, world: World, log: SimulatedLog, name: str, clock: Clock, crash: Callable[[], None]
    ) -> None:
        super().__init__(
            world, log.node, name, Random(f"{world.settings.seed} eager of {name}"), crash
        )
        self._clock = clock
        self._scheduled_ms = -1
        self.intake = EagerIntake(["work"])
        namespace, queue = world.namespace, world.task_queue
        commands = topic_name("commands", namespace, queue)
        reply_partition = self.rng.randrange(world.reply_partitions)
        group = group_name("workers", namespace, queue)
        reader = log.group_reader(group, topic_name("tasks", namespace, queue), on_ready=self.ring)
        self._tail = log.tail(on_ready=self.ring, committed=False)
        self._reader, self._tasks = reader, TaskIntake(reader)
        replies = topic_name("replies", namespace)
        self._outbox = Outbox(log, clock=clock, on_ready=self.ring)
        self.desk = ActivityDesk(
            WorkerFacts(
                task_queue=queue,
                worker_id=name,
                identity=name,
                slots=SLOTS,
                activity_types=("work",),
                reply_partition=reply_partition,
            ),
            Scripts(self),
            clock=clock,
            outbox=self._outbox,
            intake=self._tasks,
            replies=ReplyReader(self._tail, replies, reply_partition, clock=clock),
            leases=LeaseBook(commands, world.settings.partitions),
            wake=self.ring,
            slots=FixedSlots(SLOTS),
            eager=self.intake,
        )
        self.intake.open(wake=self.ring)
        self.ring()

    def ring(self) -> None:
        """There is news: turn soon."""
        self._schedule(self.rng.randrange(3))

    def _schedule(self, delay_ms: int) -> None:
        at_ms = self.world.broker.now_ms + delay_ms
        if 0 <= self._scheduled_ms <= at_ms:
            return
        self._scheduled_ms = at_ms
        self.world.broker.at(delay_ms, lambda: self._turn(at_ms))

    def _turn(self, at_ms: int) -> None:
        if self.is_dead or self._scheduled_ms != at_ms:
            return
        self._scheduled_ms = -1
        if self.node.paused:
            self._schedule(STOPPED_MS)
            return
        self.world.steps += 1
        before = self.desk.counts["eager"]
        self.desk.turn()
        self.world.counts["tasks handed over"] += self.desk.counts["eager"] - before
        if not self.is_dead:
            self._schedule(max(1, self.desk.next_turn_ms - self._clock.monotonic_ms()))

    def run(self, attempt: Attempt) -> None:
        """Run the script of an attempt, in a slot."""
        if len(self.running) >= SLOTS:
            self.world.broken(f"worker {self.name} runs {len(self.running) + 1} attempts at once")
        super().run(attempt)
        self._beat(attempt)

    def _beat(self, attempt: Attempt) -> None:
        """Give a sign of life, perhaps with details, three times as often as is asked for."""
        beat_ms = attempt.task.heartbeat_ms
        if beat_ms and attempt.token in self.running:
            details = [Payload(data=b"1")] if self.rng.random() < 0.3 else []
            self.desk.heartbeat(attempt, details)
            self.at(beat_ms // 3, lambda: self._beat(attempt))

    def stop(self) -> None:
        """SIGTERM: what has not begun is another's, what has begun has failed."""
        self.desk.stop_taking()
        for attempt in self.desk.held:
            if self.running.pop(attempt.token, None) is not None:
                self.desk.stopped(attempt)

    def say_farewell(self) -> None:
        """The host beside it has stopped: what it was told and had not written goes by the log."""
        self.desk.turn()
        self.desk.say_farewell()
        self._tasks.close()
        self.end()

    def end(self) -> None:
        """Nothing of it is there any more."""
        if self.is_dead:
            return
        self.is_dead = True
        self._tail.close()
        self._reader._tail.close()
