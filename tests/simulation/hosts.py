"""A host process of the world: real Host objects over a table store and a clock that may be bad."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING

from perdure._simulation.host_process import RUNS_MAX, HostProcess
from perdure_actors import table_layout
from perdure_actors.visibility.counting import open_and_blocked
from perdure_actors.worker.eager_intake import EagerIntake
from tests.simulation.clocks import SkewedClock
from tests.simulation.eager_runs import SimEager
from tests.simulation.faulty import FAULTY
from tests.simulation.local_runs import SimLocals
from tests.simulation.wild import killer

if TYPE_CHECKING:
    from tests.simulation.world import World

LOST = ("ack_lost", "never_written", "late_written", "queue_timeout")
"""Faults of the log after which a partition is taken over again."""
DEAD_MS = 700
CRASH_A_STEP = 0.002
KILLED = "each time its host died"
FAULTS = frozenset(
    (
        "given_back",
        "input_failed",
        "ask_failed",
        "deadline_failed",
        "resume_failed",
        "report_failed",
        "effect_parked",
        "not_done",
        "checkpoint_wrong",
    )
)
"""Findings of faults of the host itself: its fence held, and nothing should have come to it."""


class SimHost(HostProcess):
    """A machine that runs hosts, one after the other, with the troubles of its world."""

    def __init__(self, world: World, name: str, rng: Random) -> None:
        super().__init__(
            world.broker,
            name,
            rng,
            queue=(world.namespace, world.task_queue),
            clock=SkewedClock(world.broker, rng.randrange(10**6)),
            code=world.code("good"),
        )
        self.world = world
        self._locals: SimLocals | None = None
        self._eager: SimEager | None = None
        self.findings: list[str] = []

    def make_local(self, owner: str) -> SimLocals:
        """Scripts that run as local activities."""
        self.log_checkpoint_bytes = self.world.checkpoint_bytes
        self.runs_max = 2 if self.world.strength("small_cache") > 0 else RUNS_MAX
        crash = partial(self.world.crash_host, self)
        self._locals = SimLocals(self.world, self.log.node, owner, self.clock, crash=crash)
        return self._locals

    def make_eager(self, owner: str) -> EagerIntake | None:
        """The activity worker of this process, where it has one."""
        self._eager = None
        if "eager" not in self.world.settings.features:
            return None
        crash = partial(self.world.crash_host, self)
        self._eager = SimEager(self.world, self.log, f"{owner}-w", self.clock, crash)
        return self._eager.intake

    def finding(self, code: str, text: str) -> None:
        """Count what a host says, and judge it."""
        self.world.count(f"finding {code}")
        # Where owners are lost at random, some end around one input again and again by chance.
        settings = self.world.settings
        losses = settings.faults.keys() | set(settings.plan.on())
        is_chance = KILLED in text and bool({"host_crash", *LOST, "zombie"} & losses)
        is_planned = code == "input_failed" and (FAULTY in text or is_chance)
        if code in FAULTS and not is_planned and self.host is not None:
            self.world.broken(f"host {self.name} says {code}: {text}")
        self.findings.append(f"{code}: {text}")

    def end_beside(self) -> None:
        """Nothing of its workers is there any more."""
        if self._locals is not None:
            self._locals.is_dead = True
        if self._eager is not None:
            self._eager.end()

    def _die(self) -> None:
        """The code that it runs kills the process; somebody starts it again."""
        self.world.count("host killed by code")
        self.crash()
        self.world.broker.at(DEAD_MS, self._revive)

    def _revive(self) -> None:
        if not self.up:
            self.boot()

    def stop(self) -> None:
        """SIGTERM: close in order."""
        host = self.host
        if self._eager is not None:
            self._eager.stop()
        if host is not None:
            host.close()
        if self._eager is not None:
            self._eager.say_farewell()
        self.drop()

    def stall(self, span_ms: int) -> None:
        """Take no turn for so long, while the process beats on."""
        self.world.count("host stall")
        super().stall(span_ms)

    def before_turn(self) -> None:
        """Count it; what its code kills is this process."""
        self.world.steps += 1
        killer[0] = self._die

    def after_turn(self, wait_ms: int) -> None:
        """Let the world look, and perhaps die."""
        self.world.after_step(self)
        if self._rng.random() < CRASH_A_STEP * self.world.strength("host_crash"):
            self.world.crash_host(self)

    def died(self, error: BaseException) -> None:
        """A host that dies of an error is a broken promise."""
        if isinstance(error, KeyboardInterrupt) and not self.world.settings.features:
            # Of a person, who wants the world to end; wild code raises it, too.
            raise error
        if self.host is None:
            return
        self.world.broken(f"host {self.name} died of {type(error).__name__}: {error}", error)
        self.crash()
        self.world.broker.at(1_000, self.boot)

    # -- looking --

    def open_work(self) -> list[str]:
        """What the shards of this host still have to do."""
        found: list[str] = []
        if self.host is None:
            return [f"{self.name} is down"]
        for number, slot in self.host.slots.items():
            shard = slot.shard
            if shard is None:
                found.append(f"{self.name} does not own partition {number} yet")
                continue
            open_runs, _ = open_and_blocked(shard.table)
            if open_runs:
                found.append(f"{open_runs} runs are open in partition {number}")
            if any(True for _ in shard.table.scan(*table_layout.alarms_range(), limit=1)):
                found.append(f"an alarm is set in partition {number}")
            if shard.journal.in_flight or not shard.outbox.is_idle:
                found.append(f"partition {number} waits for the log")
        return found
