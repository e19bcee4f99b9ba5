"""A host process of the world: real Host objects over a table store and a clock that may be bad."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from perdure_actors import table_layout
from perdure_actors.core.decision import Limits
from perdure_actors.definitions.workflow_code import WorkflowCode
from perdure_actors.host.answers import AnswerSender
from perdure_actors.host.host import Host
from perdure_actors.partition.context import AttributeTypes
from perdure_actors.partition.run_cache import RunMemory
from perdure_actors.partition.services import Services
from perdure_actors.visibility.counting import open_and_blocked
from perdure_actors.worker.eager_intake import EagerIntake
from perdure_topics.engine_keys import NO_KEYS
from perdure_topics.names import topic_name
from perdure_topics.ports import LogError
from perdure_topics.simulated.simulated_log import SimulatedLog
from perdure_topics.tables.memory_tables import MemoryTableStore
from tests.simulation.clocks import SkewedClock
from tests.simulation.eager_runs import SimEager
from tests.simulation.faulty import FAULTY
from tests.simulation.local_runs import SimLocals
from tests.simulation.wild import killer

if TYPE_CHECKING:
    from tests.simulation.world import World

AWAY_MS = 1_000
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


class SimHost:
    """A machine that runs hosts, one after the other."""

    def __init__(self, world: World, name: str, rng: Random) -> None:
        self.world = world
        self.name = name
        self.store = MemoryTableStore()
        self.clock = SkewedClock(world.broker, rng.randrange(10**6))
        self._rng = rng
        self._starts = 0
        self._scheduled_ms = -1
        self._stalled_ms = 0
        self.log = SimulatedLog(world.broker, name)
        self.host: Host | None = None
        self._locals: SimLocals | None = None
        self._eager: SimEager | None = None
        self.code: WorkflowCode = world.code("good")
        self.up = False
        self.findings: list[str] = []

    # -- its life --

    def boot(self) -> None:
        """Start a process."""
        self.up = True
        self._starts += 1
        self.log = SimulatedLog(self.world.broker, f"{self.name}-{self._starts}")
        self._make()

    def _make(self) -> None:
        if not self.up or self.host is not None:
            return
        try:
            self.host = self._host()
        except LogError:
            self.world.broker.at(AWAY_MS, partial(self._again, self._starts))
            return
        self.ring()

    def _again(self, start: int) -> None:
        if start == self._starts:
            self._make()

    def _host(self) -> Host:
        world, log = self.world, self.log
        commands = log.topic(topic_name("commands", world.namespace, world.task_queue))
        events = log.topic(topic_name("events", world.namespace, world.task_queue))
        assert commands is not None
        assert events is not None
        answers = AnswerSender(log, world.namespace)
        ring = self._ring_of(self._starts)
        small = world.strength("small_cache") > 0
        owner = f"{self.name}-{self._starts}"
        crash = partial(world.crash_host, self)
        self._locals = SimLocals(world, log.node, owner, self.clock, crash=crash)
        services = Services(
            log=log,
            store=self.store,
            clock=self.clock,
            random=Random(self._rng.randrange(1 << 62)),
            code=self.code,
            answers=answers,
            inputs=log.tail(on_ready=ring, committed=True),
            namespace=world.namespace,
            task_queue=world.task_queue,
            partitions=commands.partitions,
            commands_topic_id=commands.topic_id,
            events_topic_id=events.topic_id,
            owner=owner,
            limits=Limits(),
            engine_keys=NO_KEYS,
            workers_of=lambda _queue: None,
            types=AttributeTypes(),
            finding=self._finding,
            log_checkpoint_bytes=self.world.checkpoint_bytes,
            memory=RunMemory(runs_max=2 if small else 1000),
            local=self._locals,
            eager=self._make_eager(owner, crash),
        )
        return Host(services, answers, ring=ring)

    def _make_eager(self, owner: str, crash: Callable[[], None]) -> EagerIntake | None:
        """The activity worker of this process, where it has one."""
        self._eager = None
        if "eager" not in self.world.settings.features:
            return None
        self._eager = SimEager(self.world, self.log, f"{owner}-w", self.clock, crash)
        return self._eager.intake

    def _finding(self, code: str, text: str) -> None:
        self.world.count(f"finding {code}")
        # Where owners are lost at random, some end around one input again and again by chance.
        settings = self.world.settings
        losses = settings.faults.keys() | set(settings.plan.on())
        is_chance = KILLED in text and bool({"host_crash", *LOST, "zombie"} & losses)
        is_planned = code == "input_failed" and (FAULTY in text or is_chance)
        if code in FAULTS and not is_planned and self.host is not None:
            self.world.broken(f"host {self.name} says {code}: {text}")
        self.findings.append(f"{code}: {text}")

    def _ring_of(self, start: int) -> Callable[[], None]:
        def ring() -> None:
            if start == self._starts:
                self.ring()

        return ring

    def crash(self) -> None:
        """SIGKILL: the objects are gone, the tables stay as they were written."""
        self.world.broker.crash(self.log.node)
        self._drop()

    def _drop(self) -> None:
        host, self.host = self.host, None
        self.up = False
        self._starts += 1
        if self._locals is not None:
            self._locals.is_dead = True
        if self._eager is not None:
            self._eager.end()
        if host is not None:
            # Nobody reads for a dead process any more; nothing else of it may act.
            host._events.close()
            host.services.inputs.close()
            for slot in host.slots.values():
                if slot.shard is not None:
                    slot.shard.run_cache.clear()
        self.store.crash()

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
        self._drop()

    # -- turns --

    def ring(self) -> None:
        """There is news: step soon."""
        self.schedule(0 if self._rng.random() < 0.7 else 1)

    def stall(self, span_ms: int) -> None:
        """Take no turn for so long, while the process beats on."""
        self.world.count("host stall")
        self._stalled_ms = self.world.broker.now_ms + span_ms

    def schedule(self, delay_ms: int) -> None:
        """Step after so long, if not before."""
        at_ms = self.world.broker.now_ms + delay_ms
        if self._scheduled_ms >= 0 and self._scheduled_ms <= at_ms:
            return
        self._scheduled_ms = at_ms
        self.world.broker.at(delay_ms, partial(self._turn, at_ms))

    def _turn(self, at_ms: int) -> None:
        if self._scheduled_ms != at_ms:
            return
        self._scheduled_ms = -1
        if self.host is None:
            return
        if self.log.node.paused:
            self.schedule(100)
            return
        if self._stalled_ms > self.world.broker.now_ms:
            self.schedule(self._stalled_ms - self.world.broker.now_ms)
            return
        self.world.steps += 1
        host = self.host
        killer[0] = self._die
        try:
            wait_ms = host.step()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not self.world.settings.features:
                # Of a person, who wants the world to end; wild code raises it, too.
                raise
            if self.host is not host:
                # Its process is dead; what these objects still do is not there.
                self.store.crash()
                return
            self.world.broken(f"host {self.name} died of {type(error).__name__}: {error}", error)
            self.crash()
            self.world.broker.at(1_000, self.boot)
            return
        if self.host is not host:
            # What it opened after it died, it does not hold.
            self.store.crash()
            return
        self.schedule(max(wait_ms, 1))
        self.world.after_step(self)
        if self._rng.random() < CRASH_A_STEP * self.world.strength("host_crash"):
            self.world.crash_host(self)

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
