"""A real host on a simulated log, stepped by hand: what goes in are records, what comes out too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

from perdure_actors.core.decision import Limits
from perdure_actors.definitions.workflow_code import WorkflowCode
from perdure_actors.host.answers import AnswerSender
from perdure_actors.host.host import Host
from perdure_actors.partition.context import AttributeTypes
from perdure_actors.partition.schema_framing import Framing
from perdure_actors.partition.services import Services
from perdure_actors.worker.eager_intake import EagerIntake
from perdure_schemas.avro import UnreadableRecordError, decode, encode
from perdure_schemas.commands import DescribeWorkflow, StartWorkflow
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_schemas.message_commands import SignalWorkflow
from perdure_schemas.payloads import Payload, Record, ReplyTo
from perdure_schemas.replies import Reply
from perdure_topics.engine_keys import NO_KEYS, EngineKeys
from perdure_topics.names import partition_of, topic_name, topic_settings
from perdure_topics.ports import Headers, StoredRecord, TopicSpec
from perdure_topics.simulated.simulated_log import SimulatedBroker, SimulatedLog
from perdure_topics.tables.memory_tables import MemoryTableStore

WALL_MS = 1_700_000_000_000
TURN_MS = 20


class HandClock:
    """The clock of the world's one machine."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker

    def wall_ms(self) -> int:
        return WALL_MS + self._broker.now_ms

    def monotonic_ms(self) -> int:
        return self._broker.now_ms


class HostWorld:
    """One host of task queue `q`, its log, and whoever speaks to it."""

    namespace = "ns"
    task_queue = "q"

    def __init__(
        self,
        workflows: Iterable[type] = (),
        *,
        partitions: int = 1,
        replies: int = 2,
        announces: bool = False,
        eager: EagerIntake | None = None,
        limits: Limits | None = None,
        checkpoint_bytes: int = 0,
        engine_keys: EngineKeys = NO_KEYS,
    ) -> None:
        self.checkpoint_bytes = checkpoint_bytes
        self.engine_keys = engine_keys
        self.limits = limits or Limits()
        self._announces = announces
        self.eager = eager
        self.broker = SimulatedBroker(1, wall_ms=WALL_MS)
        self.log = SimulatedLog(self.broker, "host")
        self.partitions = partitions
        sizes = {"commands": partitions, "events": partitions, "tasks": 1, "dead": 1}
        for role, count in {**sizes, "replies": replies}.items():
            self.make_topic(role, count)
        self.store = MemoryTableStore()
        self.framing = Framing(None, lambda: None)
        self.findings: list[str] = []
        self.asked = 0
        converter = DefaultPayloadConverter()
        self.code = WorkflowCode(workflows, converter=converter, deadlock_timeout_s=0)
        self.host = self._make()
        self.deaths = 0

    def make_topic(self, role: str, partitions: int, *, task_queue: str = "") -> None:
        name = topic_name(role, self.namespace, task_queue or self.task_queue)
        self.log.create_topics([TopicSpec(name, partitions, 1, topic_settings(role))])

    def _make(self) -> Host:
        log = self.log
        commands, events = log.topic(self.topic("commands")), log.topic(self.topic("events"))
        assert commands is not None
        assert events is not None
        answers = AnswerSender(log, self.namespace)
        services = Services(
            log=log,
            store=self.store,
            clock=HandClock(self.broker),
            random=Random(1),
            code=self.code,
            answers=answers,
            inputs=log.tail(on_ready=lambda: None, committed=True),
            namespace=self.namespace,
            task_queue=self.task_queue,
            partitions=commands.partitions,
            commands_topic_id=commands.topic_id,
            events_topic_id=events.topic_id,
            owner="host",
            limits=self.limits,
            engine_keys=self.engine_keys,
            log_checkpoint_bytes=self.checkpoint_bytes,
            workers_of=lambda _queue: None,
            types=AttributeTypes(),
            finding=lambda code, text: self.findings.append(f"{code}: {text}"),
            framing=self.framing,
            eager=self.eager,
        )
        return Host(services, answers, ring=lambda: None, announces=self._announces)

    def die(self) -> None:
        """The process is gone, as by SIGKILL; another takes its place, with the same tables."""
        self.broker.crash(self.log.node)
        self.host._events.close()
        self.host.services.inputs.close()
        for slot in self.host.slots.values():
            if slot.shard is not None:
                slot.shard.run_cache.clear()
        self.store.crash()
        self.deaths += 1
        self.log = SimulatedLog(self.broker, f"host-{self.deaths}")
        self.host = self._make()

    def topic(self, role: str) -> str:
        return topic_name(role, self.namespace, self.task_queue)

    # -- time --

    def turn(self, passed_ms: int = TURN_MS) -> None:
        """Let so much time pass, and give the host a turn."""
        self.broker.run_until(self.broker.now_ms + passed_ms)
        self.host.step()

    def run(self, for_ms: int = 2_000) -> None:
        """Give the host its turns for so long."""
        until_ms = self.broker.now_ms + for_ms
        while self.broker.now_ms < until_ms:
            self.turn()

    # -- what goes in --

    def write(
        self,
        value: bytes | None,
        *,
        partition: int = 0,
        key: bytes | None = None,
        headers: Headers = (),
    ) -> int:
        """Put a record into the commands, whatever it is; its offset."""
        where = self.broker.partition(self.topic("commands"), partition)
        self.broker.write(self.topic("commands"), partition, value, key=key, headers=headers)
        return where.end - 1

    def send(self, command: Any, *, partition: int | None = None) -> int:
        """Send a command to the partition of its workflow id."""
        workflow_id: str = getattr(command, "workflow_id", "")
        to = partition_of(workflow_id, self.partitions) if partition is None else partition
        return self.write(encode(command), partition=to, key=workflow_id.encode())

    def reply_to(self, correlation_id: str) -> ReplyTo:
        return ReplyTo(partition=0, correlation_id=correlation_id)

    def start(self, workflow: str, workflow_id: str, **more: Any) -> str:
        """Start a workflow; the correlation id of the answer."""
        self.asked += 1
        name = f"start {workflow_id} {self.asked}"
        command = StartWorkflow(
            workflow_id=workflow_id,
            workflow_type=workflow,
            request_id=name,
            reply=self.reply_to(name),
            **more,
        )
        self.send(command)
        return name

    def describe(self, workflow_id: str) -> Any:
        """How a run stands, asked of the host."""
        self.asked += 1
        name = f"describe {self.asked}"
        self.send(DescribeWorkflow(workflow_id=workflow_id, reply=self.reply_to(name)))
        self.run(1_000)
        return self.answer(name)

    # -- what comes out --

    def records(self, role: str, partition: int = 0) -> Sequence[StoredRecord]:
        return self.broker.partition(self.topic(role), partition).given

    def answers(self, correlation_id: str) -> list[Record]:
        """What was answered to an ask, in order."""
        out = []
        for record in self.records("replies"):
            try:
                reply = decode(record.value)
            except UnreadableRecordError:
                continue
            if isinstance(reply, Reply) and reply.correlation_id == correlation_id:
                out.append(decode(reply.body))
        return out

    def answer(self, correlation_id: str) -> Any:
        """The last answer to an ask; None when there is none."""
        return next(reversed(self.answers(correlation_id)), None)

    def dead(self) -> list[str]:
        """Why there are dead letters."""
        return [dict(record.headers)["perdure-error"].decode() for record in self.records("dead")]

    def said(self, code: str) -> list[str]:
        """The findings of a code."""
        return [text for text in self.findings if text.startswith(code)]


def tell(world: HostWorld, name: str, what: str, *, buffer_ms: int = 0) -> None:
    """Signal a workflow by its `tell`."""
    world.asked += 1
    world.send(
        SignalWorkflow(
            workflow_id=name,
            signal_name="tell",
            input=[Payload(data=b'"%s"' % what.encode())],
            request_id=f"tell {world.asked}",
            buffer_ms=buffer_ms,
            reply=world.reply_to(f"tell {world.asked}"),
        )
    )
