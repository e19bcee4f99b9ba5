"""A host process of a simulated world: the real host, stepped by the world's time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from perdure_actors.core.decision import Limits
from perdure_actors.host.answers import AnswerSender
from perdure_actors.host.host import Host
from perdure_actors.partition.context import AttributeTypes
from perdure_actors.partition.run_cache import RunMemory
from perdure_actors.partition.services import Services
from perdure_topics.engine_keys import NO_KEYS
from perdure_topics.names import topic_name
from perdure_topics.ports import LogError
from perdure_topics.simulated.simulated_log import SimulatedLog
from perdure_topics.tables.memory_tables import MemoryTableStore

if TYPE_CHECKING:
    from perdure._simulation.machine_clock import MachineClock
    from perdure_actors.definitions.workflow_code import WorkflowCode
    from perdure_actors.partition.services import EagerWorker, LocalRunner, Viewer
    from perdure_topics.simulated.simulated_log import SimulatedBroker

AWAY_MS = 1_000
PAUSED_MS = 100
RUNS_MAX = 1_000


class HostProcess:
    """A machine that runs hosts, one after the other. What is special to a world is in hooks."""

    viewer: Viewer | None = None
    runs_max = RUNS_MAX
    log_checkpoint_bytes: int | None = 0
    """Bytes of events between checkpoints in the log; 0 for none."""

    def __init__(
        self,
        broker: SimulatedBroker,
        name: str,
        rng: Random,
        *,
        queue: tuple[str, str],
        clock: MachineClock,
        code: WorkflowCode,
    ) -> None:
        """A machine that is off; `queue` is its namespace and task queue."""
        self.broker = broker
        self.name = name
        self.queue = queue
        self.clock = clock
        self.code = code
        self.store = MemoryTableStore()
        self.log = SimulatedLog(broker, name)
        self.host: Host | None = None
        self.up = False
        self._rng = rng
        self._starts = 0
        self._scheduled_ms = -1
        self._stalled_ms = 0

    # -- what a world says of its processes --

    def make_local(self, owner: str) -> LocalRunner:
        """What runs local activities in the process that begins."""
        raise NotImplementedError

    def make_eager(self, owner: str) -> EagerWorker | None:
        """The activity worker of the process that begins, where tasks go to it directly."""
        raise NotImplementedError

    def end_beside(self) -> None:
        """The process has died: what runs beside its host is no more."""

    def finding(self, code: str, text: str) -> None:
        """The host says something that people should know."""

    def before_turn(self) -> None:
        """A turn begins."""

    def after_turn(self, wait_ms: int) -> None:
        """A turn has ended, and the next is due in so long."""

    def died(self, error: BaseException) -> None:
        """A turn raised what it must not."""
        raise error

    # -- its life --

    def boot(self) -> None:
        """Start a process."""
        self.up = True
        self._starts += 1
        self.log = SimulatedLog(self.broker, f"{self.name}-{self._starts}")
        self._make()

    def _make(self) -> None:
        if not self.up or self.host is not None:
            return
        try:
            self.host = self._host()
        except LogError:
            self.broker.at(AWAY_MS, partial(self._again, self._starts))
            return
        self.ring()

    def _again(self, start: int) -> None:
        if start == self._starts:
            self._make()

    def _host(self) -> Host:
        log, (namespace, task_queue) = self.log, self.queue
        commands = log.topic(topic_name("commands", namespace, task_queue))
        events = log.topic(topic_name("events", namespace, task_queue))
        assert commands is not None
        assert events is not None
        answers = AnswerSender(log, namespace)
        ring = self._ring_of(self._starts)
        owner = f"{self.name}-{self._starts}"
        services = Services(
            local=self.make_local(owner),
            log=log,
            store=self.store,
            clock=self.clock,
            random=Random(self._rng.randrange(1 << 62)),  # noqa: S311 - the same world again
            code=self.code,
            answers=answers,
            inputs=log.tail(on_ready=ring, committed=True),
            namespace=namespace,
            task_queue=task_queue,
            partitions=commands.partitions,
            commands_topic_id=commands.topic_id,
            events_topic_id=events.topic_id,
            owner=owner,
            limits=Limits(),
            engine_keys=NO_KEYS,
            workers_of=lambda _queue: None,
            types=AttributeTypes(),
            finding=self.finding,
            log_checkpoint_bytes=self.log_checkpoint_bytes,
            memory=RunMemory(runs_max=self.runs_max),
            viewer=self.viewer,
            eager=self.make_eager(owner),
        )
        return Host(services, answers, ring=ring)

    def _ring_of(self, start: int) -> Callable[[], None]:
        def ring() -> None:
            if start == self._starts:
                self.ring()

        return ring

    def crash(self) -> None:
        """SIGKILL: the objects are gone, the tables stay as they were written."""
        self.broker.crash(self.log.node)
        self.drop()

    def drop(self) -> None:
        """Nothing of the process is there any more."""
        host, self.host = self.host, None
        self.up = False
        self._starts += 1
        self.end_beside()
        if host is not None:
            # Nobody reads for a dead process any more; nothing else of it may act.
            host._events.close()
            host.services.inputs.close()
            for slot in host.slots.values():
                if slot.shard is not None:
                    slot.shard.run_cache.clear()
        self.store.crash()

    # -- turns --

    def ring(self) -> None:
        """There is news: step soon."""
        self.schedule(0 if self._rng.random() < 0.7 else 1)

    def stall(self, span_ms: int) -> None:
        """Take no turn for so long, while the process beats on."""
        self._stalled_ms = self.broker.now_ms + span_ms

    def schedule(self, delay_ms: int) -> None:
        """Step after so long, if not before."""
        at_ms = self.broker.now_ms + delay_ms
        if self._scheduled_ms >= 0 and self._scheduled_ms <= at_ms:
            return
        self._scheduled_ms = at_ms
        self.broker.at(delay_ms, partial(self._turn, at_ms))

    def _turn(self, at_ms: int) -> None:
        if self._scheduled_ms != at_ms:
            return
        self._scheduled_ms = -1
        host = self.host
        if host is None:
            return
        if self.log.node.paused:
            self.schedule(PAUSED_MS)
            return
        if self._stalled_ms > self.broker.now_ms:
            self.schedule(self._stalled_ms - self.broker.now_ms)
            return
        self.before_turn()
        try:
            wait_ms = host.step()
        except BaseException as error:
            if self.host is host or isinstance(error, KeyboardInterrupt):
                self.died(error)
            else:
                # Its process is dead; what these objects still do is not there.
                self.store.crash()
            return
        if self.host is not host:
            # What it opened after it died, it does not hold.
            self.store.crash()
            return
        self.schedule(max(wait_ms, 1))
        self.after_turn(wait_ms)
