"""The world: one seed, one virtual clock, real hosts, scripted workers and clients, and a nemesis.

It runs for a while with the faults its seed drew, is healed, and must then come to rest.
"""

from __future__ import annotations

import hashlib
import itertools
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from unittest.mock import patch

from perdure._schedules.scheduler import Scheduler
from perdure.workflow import _info as information
from perdure_actors.definitions.workflow_code import WorkflowCode
from perdure_actors.partition import journal
from perdure_actors.retention import log_checkpoint, retention
from perdure_schemas.avro import encode
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_schemas.operator_commands import SetRetention
from perdure_topics.names import topic_name, topic_settings
from perdure_topics.ports import StoredRecord, TopicSpec
from perdure_topics.simulated.faults import FaultPlan
from perdure_topics.simulated.simulated_log import SimulatedBroker, SimulatedLog
from tests.simulation.answers import Op
from tests.simulation.checker import Effect, Violation, check
from tests.simulation.clients import SimClient
from tests.simulation.clocks import ClockTroubles
from tests.simulation.faulty import failing_at_faulty_commands, faulty_command
from tests.simulation.hosts import SimHost
from tests.simulation.model import expected_chain
from tests.simulation.operators import SimOperator
from tests.simulation.planners import SimPlanner
from tests.simulation.rebuild import check_replays, check_tables
from tests.simulation.savages import savages_of
from tests.simulation.swarm import Settings
from tests.simulation.wild import Wild
from tests.simulation.workers import SimWorker, fresh_id
from tests.simulation.workflows import CODES, TYPE, draws

REPLY_PARTITIONS = 2
WALL_MS = 1_700_000_000_000
QUIET_MS_MAX = 600_000
LOOK_MS = 4_700
REST_MS = 25_900
"""With LOOK_MS no multiple of what happens every ten seconds."""
HOUR_MS = 3_600_000
LONG_HISTORY = 60
"""So many events, and a schedule goes on as a new run: here that is a matter of seconds."""


class World:
    """All of it."""

    namespace = "sim"
    task_queue = "q"
    reply_partitions = REPLY_PARTITIONS

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.rng = Random(f"nemesis {settings.seed}")
        self._clocks = ClockTroubles(self)
        self.broker = SimulatedBroker(settings.seed, FaultPlan(), wall_ms=WALL_MS)
        self.counts: Counter[str] = Counter()
        draws[0] = itertools.count()
        self.steps = 0
        self.starts = 0
        self.ops: list[Op] = []
        self.effects: list[Effect] = []
        self.violations: list[Violation] = []
        self.healing = False
        self.healed_ms = 0
        self._codes: dict[str, WorkflowCode] = {}
        self._make_topics()
        seeds = [Random(self.rng.randrange(1 << 62)) for _ in range(16)]
        self.hosts = [SimHost(self, f"host{n}", seeds.pop()) for n in range(settings.hosts)]
        self.clients = [
            SimClient(self, SimulatedLog(self.broker, f"client{n}"), f"client{n}", seeds.pop())
            for n in range(settings.clients)
        ]
        self.others: list[SimClient] = []
        """Those who look after what the clients have asked for."""
        if "operators" in settings.features:
            log = SimulatedLog(self.broker, "operator")
            self.others.append(SimOperator(self, log, "operator", seeds.pop()))
        if "schedules" in settings.features:
            log = SimulatedLog(self.broker, "planner")
            self.others.append(SimPlanner(self, log, "planner", seeds.pop()))
        self.others += savages_of(self)
        self._worker_number = 0
        self.lives: dict[str, list[int]] = {}
        """When each worker began, and when it was or may have been away."""
        self.workers: list[SimWorker] = []

    @property
    def clock_slack_ms(self) -> int:
        """How far apart clocks may be before it counts."""
        return self.settings.clock_slack_ms

    @property
    def _askers(self) -> list[SimClient]:
        return [*self.clients, *self.others]

    @property
    def checkpoint_bytes(self) -> int:
        """How much the log grows between checkpoints; none in worlds that forget nothing."""
        return 1 + self.settings.seed % 5 * 4_000 if "forgets" in self.settings.features else 0

    def after_step(self, host: SimHost) -> None:
        """A host has made a turn: for worlds that look closer."""

    def _make_topics(self) -> None:
        log = SimulatedLog(self.broker, "admin")
        sizes = {
            "commands": self.settings.partitions,
            "events": self.settings.partitions,
            "tasks": 3,
            "dead": 1,
            "replies": REPLY_PARTITIONS,
        }
        log.create_topics(
            [
                TopicSpec(self.topic(role), count, 1, topic_settings(role))
                for role, count in sizes.items()
            ]
        )

    def topic(self, role: str) -> str:
        """The topic of a role."""
        return topic_name(role, self.namespace, self.task_queue)

    def code(self, kind: str) -> WorkflowCode:
        """A release of the workflow code."""
        if kind not in self._codes:
            converter = DefaultPayloadConverter()
            # Every worker has schedules, whatever else was deployed to it.
            workflows = [CODES[kind], Scheduler, Wild]
            self._codes[kind] = WorkflowCode(workflows, converter=converter, build_id=kind)
        return self._codes[kind]

    def strength(self, fault: str) -> float:
        """How strong one of the world's faults is now."""
        if self.healing:
            return 0.0
        return 1.0 if fault in self.settings.features else self.settings.strength(fault)

    def wall_ms(self) -> int:
        """The true time."""
        return self.broker.wall_ms

    def count(self, what: str) -> None:
        """Count a fault, or what came of one."""
        self.counts[what] += 1

    def broken(self, text: str, error: BaseException | None = None) -> None:
        """Something that must never happen."""
        where = ""
        if error is not None:
            where = "\n" + "".join(traceback.format_exception(error)[-4:])
        self.violations.append(Violation("X", text + where))

    # -- its run --

    def run(self) -> list[Violation]:
        """Live, heal, rest, and be checked; what was wrong."""
        part_bytes = 700 if self.settings.strength("parts") else journal.PART_BYTES_MAX
        with (
            patch.object(journal, "PART_BYTES_MAX", part_bytes),
            patch.object(information, "HISTORY_LENGTH_SUGGESTED_MAX", LONG_HISTORY),
            patch.object(retention, "EVERY_MS", 900),
            patch.object(log_checkpoint, "SLICE_BYTES", min(part_bytes * 4, 1 << 18)),
            patch.object(log_checkpoint, "SLICE_ROWS", 1 + self.settings.seed % 40),
            patch.object(retention, "SETTLED_MS", 300),
            failing_at_faulty_commands(),
        ):
            self._live()
            self._heal()
            quiet = self._rest()
            self._check(quiet=quiet)
        return self.violations

    def _live(self) -> None:
        settings, broker = self.settings, self.broker
        for host in self.hosts:
            if self.strength("clock_skew"):
                span_ms = int(120_000 * self.strength("clock_skew"))
                host.clock.skew_ms = self.rng.randrange(-span_ms, span_ms + 1)
            if settings.strength("bad_deploy"):
                host.code = self.code(self.rng.choice(("buggy", "unregistered", "good")))
            broker.at(self.rng.randrange(1, 500), host.boot)
        # In half of the worlds whose hosts run activities, nobody else does.
        is_alone = "eager" in settings.features and settings.seed % 2 == 0
        for number in range(0 if is_alone else settings.workers):
            broker.at(self.rng.randrange(1, 3_000), partial(self.add_worker, number))
        for _ in range(settings.starts * 3):
            client = self.rng.choice(self.clients)
            broker.at(self.rng.randrange(500, settings.busy_ms), client.act)
        hand = Random(f"acts {settings.seed}")
        if "stops" in settings.features:
            for _ in range(settings.starts):
                broker.at(hand.randrange(3_000, settings.busy_ms), self._disturb_worker)
        for other in self.others:
            for _ in range(settings.starts * 3):
                broker.at(hand.randrange(500, settings.busy_ms), other.act)
        broker.run_until(400)
        if "forgets" in settings.features:
            self._keep_shortly(hand)
        broker.plan = settings.plan
        broker.at(1_000, self._nemesis)
        if self.strength("foreign_txn"):
            # Hosts read events uncommitted, so this must not be felt at all.
            for number in range(settings.partitions):
                broker.stall(self.topic("events"), number, HOUR_MS)
        broker.run_until(settings.busy_ms)

    def _keep_shortly(self, hand: Random) -> None:
        """Closed runs are kept for seconds here, of each partition for its own time."""
        for number in range(self.settings.partitions):
            keep_ms = hand.choice((0, hand.randrange(20_000)))
            # Behind a lost tail a log that was cut has nothing to go on from.
            cut = "yes" if self.settings.seed % 2 and not self.strength("truncation") else "no"
            keep = SetRetention(partition=number, keep_ms=keep_ms, cut=cut)
            self.broker.write(self.topic("commands"), number, encode(keep), key=b"")

    def _nemesis(self) -> None:
        """Once a second: perhaps something bad."""
        if self.healing:
            return
        rng = self.rng
        for fault, act in self._attacks().items():
            if rng.random() < 0.12 * self.strength(fault):
                self.broker.at(rng.randrange(1_000), partial(self._attack, act))
        self.broker.at(1_000, self._nemesis)

    def _attack(self, act: Callable[[], None]) -> None:
        if not self.healing:
            act()

    def _attacks(self) -> dict[str, Callable[[], None]]:
        # What only some worlds have draws no number in the others.
        stalls = {"stalls": self._stall_any_host} if "stalls" in self.settings.features else {}
        faulty = {"faulty": self._write_faulty} if self.settings.strength("faulty") else {}
        return (
            stalls
            | faulty
            | {
                "host_crash": self._crash_any_host,
                "host_pause": self._pause_host,
                "clock_jump": self._clocks.jump,
                "worker_pause": self._pause_worker,
                "poison": self._poison,
                "bad_deploy": self._deploy,
                "truncation": self._truncate,
            }
        )

    def _write_faulty(self) -> None:
        self.count("faulty")
        number, key, value = faulty_command(self.counts["faulty"], self.settings.partitions)
        self.broker.write(self.topic("commands"), number, value, key=key)

    def _stall_any_host(self) -> None:
        self.rng.choice(self.hosts).stall(self.rng.randrange(500, 20_000))

    def _crash_any_host(self) -> None:
        self.crash_host(self.rng.choice(self.hosts))

    def crash_host(self, host: SimHost) -> None:
        """A host dies or is stopped, perhaps with its disk, and comes back some time later."""
        if not host.up:
            return
        if self.rng.random() < 0.2:
            self.count("host stop")
            host.stop()
        else:
            self.count("host crash")
            host.crash()
            self._hurt_tables(host)
        self.broker.at(self.rng.randrange(50, 8_000), partial(self._boot, host))

    def _hurt_tables(self, host: SimHost) -> None:
        for name in host.store.names():
            if self.rng.random() < 0.5 * self.strength("table_loss"):
                self.counts["table batches lost"] += host.store.lose(
                    name, self.rng.randrange(1, 40)
                )
            if self.rng.random() < 0.3 * self.strength("table_damage"):
                self.count("table damaged")
                if self.rng.random() < 0.5:
                    # So that it does not open, or that only reading shows it.
                    host.store.damage(name, within=self.broker.now_ms % 2 == 1)
                else:
                    host.store.wipe(name)

    def _boot(self, host: SimHost) -> None:
        if not host.up:
            host.boot()

    def _pause_host(self) -> None:
        host = self.rng.choice(self.hosts)
        if host.up and not host.log.node.paused:
            self.count("host pause")
            node = host.log.node
            self.broker.pause(node)
            # Shorter than a session or longer: with and without a take-over.
            most_ms = self.rng.choice((5_000, 20_000))
            self.broker.at(self.rng.randrange(500, most_ms), partial(self.broker.resume, node))

    def _pause_worker(self) -> None:
        if self.workers:
            worker = self.rng.choice(self.workers)
            if not worker.log.node.paused:
                self.count("worker pause")
                self.broker.pause(worker.log.node)
                self.lives[worker.worker_id].append(self.wall_ms())
                resume = partial(self.broker.resume, worker.log.node)
                self.broker.at(self.rng.randrange(500, 20_000), resume)

    def _poison(self) -> None:
        self.count("poison")
        rng = self.rng
        value = rng.choice((b"hello", b"", None, b"\xc3\x01" + rng.randbytes(30)))
        number = rng.randrange(self.settings.partitions)
        self.broker.write(self.topic("commands"), number, value, key=b"poison")

    def _truncate(self) -> None:
        """The broker loses the tail of the truth, which it had acknowledged."""
        number = self.rng.randrange(self.settings.partitions)
        lost = self.broker.truncate(self.topic("events"), number, self.rng.randrange(1, 5))
        self.counts["records truncated"] += lost

    def _deploy(self) -> None:
        """One host gets another release."""
        self.count("deploy")
        host = self.rng.choice(self.hosts)
        host.code = self.code(self.rng.choice(("good", "buggy", "unregistered")))
        if host.up:
            host.stop()
            self.broker.at(self.rng.randrange(50, 2_000), partial(self._boot, host))

    # -- workers --

    def add_worker(self, number: int) -> None:
        """Start a worker process."""
        self._worker_number += 1
        name = fresh_id(f"worker{number}", self._worker_number)
        log = SimulatedLog(self.broker, name)
        if self.broker.away():
            self.broker.at(1_000, partial(self.add_worker, number))
            return
        rng = Random(f"{self.settings.seed} {name}")
        self.workers.append(SimWorker(self, log, name, rng))
        self.lives[name] = [self.wall_ms()]

    def _disturb_worker(self) -> None:
        """A worker is stopped, as by a deploy, or one of its activities blocks its loop."""
        if self.healing or not self.workers:
            return
        worker = self.rng.choice(self.workers)
        if self.rng.random() < 0.5:
            self.count("worker stall")
            worker.stand_still(self.rng.randrange(3_000, 15_000))
            return
        self.count("worker stop")
        self.workers.remove(worker)
        self.lives[worker.worker_id].append(self.wall_ms())
        worker.stop()
        self.broker.at(3_000, worker.kill)
        number = self.rng.randrange(10, 99)
        self.broker.at(self.rng.randrange(100, 3_000), partial(self.add_worker, number))

    def was_alive(self, worker_id: str, since_ms: int, until_ms: int) -> bool:
        """Whether a worker lived all the time, in a world whose log and clocks are sound."""
        settings = self.settings
        if settings.plan.on() or {"clock_skew", "clock_jump"} & settings.faults.keys():
            return False
        began_ms, *away = self.lives.get(worker_id, [until_ms])
        return began_ms <= since_ms and not any(at_ms <= until_ms for at_ms in away)

    def crash_worker(self, worker: SimWorker) -> None:
        """A worker dies; another takes its place."""
        self.count("worker crash")
        worker.kill()
        self.workers.remove(worker)
        self.lives[worker.worker_id].append(self.wall_ms())
        number = self.rng.randrange(10, 99)
        self.broker.at(self.rng.randrange(100, 10_000), partial(self.add_worker, number))

    # -- its end --

    def _heal(self) -> None:
        self.healing = True
        self.healed_ms = self.wall_ms()
        self.broker.plan = FaultPlan()
        if self.settings.strength("clock_jump"):
            self._clocks.stay()
        for host in self.hosts:
            self.broker.resume(host.log.node)
            host.code = self.code("good")
            if host.host is not None and host.host.services.code.version != host.code.version:
                host.stop()
            self._boot(host)
        for worker in self.workers:
            self.broker.resume(worker.log.node)

    def _rest(self) -> bool:
        """Go on until nothing is left to do, within a bound; whether that came."""
        until_ms = self.broker.now_ms + QUIET_MS_MAX
        while self.broker.now_ms < until_ms:
            self.broker.run_until(self.broker.now_ms + LOOK_MS)
            if not self.unrest():
                self.broker.run_until(self.broker.now_ms + REST_MS)
                if not self.unrest():
                    return True
        return False

    def unrest(self) -> list[str]:
        """What still has to happen."""
        found = [f"{client.name} waits" for client in self._askers if not client.is_done]
        owned: list[int] = []
        for host in self.hosts:
            found += host.open_work()
            if host.host is not None:
                owned += [n for n, slot in host.host.slots.items() if slot.shard is not None]
        if sorted(owned) != list(range(self.settings.partitions)):
            found.append(f"partitions owned: {sorted(owned)}")
        return found

    def dump(self) -> dict[str, list[StoredRecord]]:
        """All records by topic."""
        return {
            name: [
                record
                for partition in partitions
                for record in partition.whole
                if record.offset not in partition.marks
            ]
            for name, (_, partitions) in self.broker.topics.items()
        }

    def log_hash(self) -> str:
        """One number for all that was written."""
        digest = hashlib.blake2b(digest_size=16)
        for name, records in self.dump().items():
            for record in records:
                digest.update(repr((name, *record)).encode())
        return digest.hexdigest()

    def _check(self, *, quiet: bool) -> None:
        if not quiet:
            for text in self.unrest()[:5]:
                self.violations.append(Violation("H", f"no rest: {text}"))
        self.violations += check(
            self.dump(),
            self.ops,
            self.effects,
            models={TYPE: expected_chain},
            clock_slack_ms=self.clock_slack_ms,
            healed_ms=self.healed_ms,
            was_alive=self.was_alive,
        )
        self.violations += check_replays(self)
        self.violations += check_tables(self)
        if self.settings.strength("truncation"):
            # What was acknowledged and then lost leaves scars; what is there must be right.
            self.violations = [v for v in self.violations if v.letter in "CEHRTX"]
