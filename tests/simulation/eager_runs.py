"""The activity worker in a host's process: the real desk, to which the host hands its tasks."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from perdure._simulation.stepped_desk import SteppedDesk
from perdure_actors.worker.eager_intake import EagerIntake
from perdure_actors.worker.protocol import ActivityDesk
from perdure_schemas.payloads import Payload
from tests.simulation.scripted import ScriptedProcess, Scripts

if TYPE_CHECKING:
    from perdure_actors.worker.attempt import Attempt
    from perdure_topics.ports import Clock
    from perdure_topics.simulated.simulated_log import SimulatedLog
    from tests.simulation.world import World

SLOTS = 4


class SimEager(ScriptedProcess):
    """One incarnation of it, which lives and dies with the host beside it."""

    desk: ActivityDesk

    def __init__(
        self, world: World, log: SimulatedLog, name: str, clock: Clock, crash: Callable[[], None]
    ) -> None:
        super().__init__(
            world, log.node, name, Random(f"{world.settings.seed} eager of {name}"), crash
        )
        self.intake = EagerIntake(["work"])
        reply_partition = self.rng.randrange(world.reply_partitions)
        self._stepped = SteppedDesk(
            log,
            name,
            queue=(world.namespace, world.task_queue),
            clock=clock,
            runner=Scripts(self),
            activity_types=["work"],
            slots=SLOTS,
            partitions=world.settings.partitions,
            reply_partition=reply_partition,
            delay_ms=lambda: self.rng.randrange(3),
            eager=self.intake,
        )
        self.desk = self._stepped.desk
        self._stepped.before_turn = self._begin_turn
        self._stepped.after_turn = self._count_eager
        self._counted = 0

    def _begin_turn(self) -> None:
        self.world.steps += 1

    def _count_eager(self) -> None:
        now = self.desk.counts["eager"]
        self.world.counts["tasks handed over"] += now - self._counted
        self._counted = now

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
        self._stepped.say_farewell()
        self.end()

    def end(self) -> None:
        """Nothing of it is there any more."""
        self.is_dead = True
        self._stepped.end()
