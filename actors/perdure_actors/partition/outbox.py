"""The outbox (rule 7): effects of accepted events, sent until each is acknowledged.

One appender an incarnation, which tries for ever and skips nothing. An error ends it, and a new
one starts behind the last contiguous acknowledgement. `dispatched` never overtakes one. Effects
that no state says again are rows of the table until then; what the rows mean is the same in life
and in recovery.
"""

from __future__ import annotations

import heapq
import zlib
from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING, NamedTuple, cast

from msgspec.structs import replace

from perdure_actors import table_layout
from perdure_actors.core.decision import (
    Forward,
    PushOrders,
    Rejection,
    RunLocal,
    SendAgain,
    SendCommand,
    SendDead,
    SendTask,
    StopLocal,
)
from perdure_actors.core.rules import errands_of
from perdure_actors.partition.fence import INTERNAL, reason_of
from perdure_actors.task_records import Home, task_record, trace_headers
from perdure_schemas.avro import RECORD_BYTES_MAX, decode_as, encode
from perdure_schemas.child_commands import CANCELED_UNSTARTED, ReportChildRefused
from perdure_schemas.command_headers import Command
from perdure_schemas.commands import CancelWorkflow, StartWorkflow, TerminateWorkflow
from perdure_schemas.payloads import EffectId, ReplyTo
from perdure_schemas.replies import CanceledAttempt, WorkerOrders
from perdure_topics.engine_keys import NO_KEYS
from perdure_topics.names import partition_of, topic_name
from perdure_topics.ports import TOO_LARGE, LogError, RecordTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perdure_actors.core.decision import Effect
    from perdure_actors.core.state import RecordId
    from perdure_actors.core.world import World
    from perdure_actors.partition.run_cache import Ops
    from perdure_schemas.payloads import Record, RunRef
    from perdure_schemas.transition import Outcome
    from perdure_topics.ports import Appender, Headers, Log

KEPT = (SendCommand, SendDead, Forward, SendAgain)
"""Effects that no state says again: each is a row until it is acknowledged."""


def outcome_rows(outcomes: Sequence[Outcome], time_ms: int, ops: Ops) -> list[Effect]:
    """Add the rows of outcomes, request ids and last-seen, and return what they bring."""
    effects: list[Effect] = []
    for outcome in outcomes:
        if outcome.request_id:
            row = table_layout.RequestRow(time_ms, outcome.outcome, outcome.run_id, outcome.reason)
            ops[table_layout.request_key(outcome.workflow_id, outcome.request_id)] = (
                table_layout.encode(row)
            )
        source = outcome.source
        if source is not None:
            seen = (source.epoch, source.pseq, source.index)
            ops[table_layout.last_seen_key(source.topic_id, source.partition)] = (
                table_layout.encode(seen)
            )
        if outcome.outcome == "dead":
            headers = tuple((header.name, header.value) for header in outcome.headers)
            letter = (outcome.reason, outcome.offset, outcome.key, outcome.value, headers)
            effects.append(SendDead(*letter))
        elif outcome.outcome == "forwarded":
            effects.append(Forward(outcome.offset, outcome.key, outcome.value))
        elif outcome.outcome == "handed_back":
            effects.append(SendAgain(outcome.run_id, outcome.activity_id))
        for errand in outcome.errands:
            command = decode_as(Command, errand.command)
            effects.append(SendCommand(errand.task_queue, command))
    return effects


def effect_rows(effects: Sequence[Effect], pseq: int, epoch: int, ops: Ops) -> list[bytes]:
    """Add the rows of a record's effects that must be kept; their keys.

    An effect's place is its place among all the record's effects: those of its events in their
    order, then those of its outcomes. `pseq` is that of the record's first part.
    """
    keys = []
    for place, effect in enumerate(effects):
        if isinstance(effect, KEPT):
            key = table_layout.effect_key(pseq, place)
            ops[key] = table_layout.encode((epoch, *_fields(effect)))
            keys.append(key)
    return keys


def _fields(effect: SendCommand | SendDead | Forward | SendAgain) -> tuple[object, ...]:
    if isinstance(effect, SendAgain):
        return "again", *effect
    if isinstance(effect, SendCommand):
        return "command", effect.task_queue, encode(effect.command)
    if isinstance(effect, SendDead):
        kept = ("dead", effect.reason, effect.offset, effect.key, effect.value)
        # Without headers it is as an older release reads it.
        return (*kept, effect.headers) if effect.headers else kept
    return "forwarded", effect.offset, effect.key, effect.value


def kept_effect(data: bytes) -> tuple[int, Effect]:
    """The epoch of the record that brought a kept effect, and the effect."""
    epoch, kind, *fields = table_layout.decode_any(data)
    if kind == "command":
        task_queue, command = fields
        return epoch, SendCommand(task_queue, decode_as(Command, command))
    if kind == "again":
        return epoch, SendAgain(*fields)
    if kind == "forwarded":
        return epoch, Forward(*fields)
    # An older release kept no headers.
    reason, offset, key, value, *headers = fields
    pairs = tuple((name, data) for name, data in (headers[0] if headers else ()))
    return epoch, SendDead(reason, offset, key, value, pairs)


UNACKED_MAX = 20_000
AT_ONCE_MAX = 3
"""So many incarnations in a row may end without an acknowledgement before the next one waits."""
REASON_CHARS_MAX = 1_000


class Outgoing(NamedTuple):
    """A record that an effect became."""

    pseq: int
    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: Headers
    place: int = -1
    """Its place among the effects of its record, when it is kept until acknowledged."""
    held: Held | None = None


class Held(NamedTuple):
    """An effect, and where it comes from."""

    pseq: int
    place: int
    epoch: int
    effect: Effect


def _nobody_hears(_text: str, _error: Exception) -> None:
    """Where nobody asked to be told."""


def _by_the_topic(_held: Held) -> bool:
    """Where no worker is in this process, tasks go by their topic."""
    return False


def _nobody_waits(_command: Record, _reason: str) -> Sequence[Effect]:
    """Where no actor waits for what a command brings."""
    return ()


class Address(NamedTuple):
    """Who sends: the shard, as effects name it."""

    namespace: str
    task_queue: str
    partition: int
    events_topic_id: str


class Outbox:
    """The outgoing effects of one shard incarnation."""

    def __init__(
        self,
        log: Log,
        address: Address,
        *,
        dispatched: int,
        token: Callable[[RecordId], bytes],
        answer: Callable[[ReplyTo, Record], None],
        again: Callable[[SendAgain], SendTask | None],
        on_ready: Callable[[], None],
        tell: Callable[[str, Exception], None] = _nobody_hears,
        refused: Callable[[Record, str], Sequence[Effect]] = _nobody_waits,
        seal: Callable[[str, bytes, int], Headers] = NO_KEYS.seal,
    ) -> None:
        """`tell` hears of an effect that cannot be sent, `refused` says who must know of it.

        `seal` gives the headers that prove a command to be an actor's.
        """
        self._seal = seal
        self._log = log
        self._address = address
        self._token = token
        self._answer = answer
        self._again = again
        self._on_ready = on_ready
        self._tell = tell
        self._refused = refused
        self.eager: Callable[[Held], bool] = _by_the_topic
        """Takes a task over for a worker of this process, if it can."""
        self._appender: Appender | None = None
        self._unacked: OrderedDict[int, Outgoing] = OrderedDict()
        self._serial = 0
        # Effects do not always come in the order of their records: some wait for a topic.
        self._open: Counter[int] = Counter()
        self._oldest: list[int] = []
        self._waiting: dict[str, deque[Held]] = {}
        """Effects by the topic that does not exist yet: who reads it takes them in this order."""
        self._unstarted: dict[tuple[str, str], Held] = {}
        """Starts of children that wait for a topic, by workflow id and the parent's run."""
        self._never: set[tuple[int, int]] = set()
        """Those whose parents have stopped them: they are not sent."""
        self.done: list[tuple[int, int]] = []
        """Kept effects that are acknowledged: their records' numbers and their places."""
        self._partitions: dict[str, int] = {}
        self._accepted = dispatched
        self.parked = 0
        """How many effects could not be sent, and were put aside."""
        self.missing: set[str] = set()
        """Task queues that have no topics, so that their tasks wait."""
        self._doubted: dict[str, str] = {}
        """Topics that an append failed at, with their queues: they may be gone."""
        self._failures = 0
        """How many incarnations in a row have ended without an acknowledgement."""
        self._commands = topic_name("commands", address.namespace, address.task_queue)
        self._home = Home(address.namespace, self._commands, address.partition)

    @property
    def is_full(self) -> bool:
        """Whether so much is unacknowledged that nothing more should be decided."""
        return len(self._unacked) >= UNACKED_MAX

    @property
    def is_idle(self) -> bool:
        """Whether every effect is acknowledged."""
        return not self._unacked and not self._waiting

    @property
    def dispatched(self) -> int:
        """The pseq up to which every effect is acknowledged."""
        while self._oldest and not self._open[self._oldest[0]]:
            del self._open[heapq.heappop(self._oldest)]
        return self._oldest[0] - 1 if self._oldest else self._accepted

    def send(self, pseq: int, effects: Sequence[Effect], *, epoch: int, place: int = 0) -> None:
        """Send the effects of an accepted record, from one of its places on.

        What goes to one topic leaves in the order of these calls: receivers of commands take no
        older one after a newer.
        """
        self._accepted = max(self._accepted, pseq)
        for at, effect in enumerate(effects, place):
            if isinstance(effect, PushOrders):
                try:
                    self._push(effect)
                except Exception as error:
                    # Soft: the worker's next lease says it again.
                    self._tell(f"orders to worker {effect.worker_id} cannot be sent", error)
                continue
            if isinstance(effect, RunLocal | StopLocal):
                # They stay in this process.
                continue
            if isinstance(effect, SendAgain):
                task = self._again(effect)
                if task is None:
                    self.done.append((pseq, at))
                    continue
                effect = task  # noqa: PLW2901 - what it comes to
            if pseq not in self._open:
                heapq.heappush(self._oldest, pseq)
            self._open[pseq] += 1
            self._send_one(Held(pseq, at, epoch, effect))

    def _push(self, effect: PushOrders) -> None:
        canceled = CanceledAttempt(token=self._token(effect.issued), reason=effect.reason)
        self._answer(
            ReplyTo(partition=effect.reply_partition, correlation_id=effect.worker_id),
            WorkerOrders(canceled=[canceled]),
        )

    def _send_one(self, held: Held) -> None:
        """Send an effect; one that cannot be is parked, so that those behind it go out."""
        try:
            if not isinstance(held.effect, SendTask) or not self.eager(held):
                self._try_to_send(held)
        except Exception as error:
            self._park(held, error)

    def send_by_topic(self, held: Held) -> None:
        """Append a task that was taken over and given back."""
        try:
            self._try_to_send(held)
        except Exception as error:
            self._park(held, error)

    def release(self, held: Held) -> None:
        """Let `dispatched` pass a task that was taken over."""
        self._settle(held.pseq, -1)

    def _try_to_send(self, held: Held) -> None:
        topic, queue = self._target(held.effect)
        count = None if topic in self._waiting else self._count(topic, queue)
        if count is None:
            self._wait(held, topic)
        else:
            self._put(held, topic, count)

    def _wait(self, held: Held, topic: str) -> None:
        """Keep an effect until its topic is made; a child stopped meanwhile never starts."""
        self._waiting.setdefault(topic, deque()).append(held)
        command = held.effect.command if isinstance(held.effect, SendCommand) else None
        if isinstance(command, StartWorkflow) and command.parent is not None:
            self._unstarted[command.workflow_id, command.parent.run_id] = held
        elif isinstance(command, CancelWorkflow | TerminateWorkflow) and command.child_of:
            start = self._unstarted.pop((command.workflow_id, command.child_of.run_id), None)
            if start is not None:
                self._never.add((start.pseq, start.place))
                self._send_one(start._replace(effect=_never_started(start)))

    def _put(self, held: Held, topic: str, count: int) -> None:
        outgoing = self._outgoing(held, topic, count)._replace(held=held)
        self._serial += 1
        self._unacked[self._serial] = outgoing
        if self._appender is not None or len(self._unacked) == 1:
            self._append(self._serial, outgoing)

    def _target(self, effect: Effect) -> tuple[str, str]:
        """The topic an effect goes to, and its task queue."""
        namespace, queue = self._address.namespace, self._address.task_queue
        if isinstance(effect, SendTask):
            queue = effect.activity.scheduled.task_queue
            return topic_name("tasks", namespace, queue), queue
        if isinstance(effect, SendCommand):
            return topic_name("commands", namespace, effect.task_queue), effect.task_queue
        if isinstance(effect, Forward):
            return self._commands, queue
        return topic_name("dead", namespace, queue), queue

    def _outgoing(self, held: Held, topic: str, count: int) -> Outgoing:
        """The record that an effect becomes, for a topic of so many partitions."""
        effect, pseq = held.effect, held.pseq
        if isinstance(effect, SendTask):
            return self._task(held, effect, topic, count)
        if isinstance(effect, SendCommand):
            workflow_id = effect.command.workflow_id
            value = encode(_with_source(effect.command, self._address, held))
            to, key = partition_of(workflow_id, count), workflow_id.encode()
            seal = self._seal(topic, value, held.epoch)
            return Outgoing(pseq, topic, to, key, value, seal, held.place)
        if isinstance(effect, Forward):
            key = effect.key or b""
            to = partition_of(key.decode(errors="replace"), count)
            return Outgoing(pseq, topic, to, key, effect.value or b"", (), held.place)
        assert isinstance(effect, SendDead), "orders are pushed"
        headers = (
            *effect.headers,
            ("perdure-error", effect.reason[:REASON_CHARS_MAX].encode(errors="backslashreplace")),
            ("perdure-topic", self._commands.encode()),
            ("perdure-partition", b"%d" % self._address.partition),
            ("perdure-offset", b"%d" % effect.offset),
        )
        value = (effect.value or b"")[: RECORD_BYTES_MAX - 4096]
        to = self._address.partition % count
        return Outgoing(pseq, topic, to, effect.key, value, headers, held.place)

    def _task(self, held: Held, effect: SendTask, topic: str, count: int) -> Outgoing:
        activity = effect.activity
        key = f"{effect.run_id}/{activity.scheduled.activity_id}/{activity.attempt}"
        # The record's number takes part, so that one handed back goes elsewhere.
        pseq = held.pseq if effect.moved else activity.issued.pseq
        spread = zlib.crc32(f"{key}/{pseq}".encode())
        policy = activity.scheduled.retry_policy
        task = task_record(
            effect,
            token=self._token(activity.issued),
            home=self._home,
            wants_claim=effect.resent or (policy is not None and policy.maximum_attempts == 1),
        )
        value = encode(task)
        to, place = spread % count, held.place if effect.moved else -1
        headers = trace_headers(effect)
        return Outgoing(held.pseq, topic, to, key.encode(), value, headers, place)

    def _count(self, topic: str, queue: str) -> int | None:
        """The partitions of a topic; None while it does not exist."""
        count = self._partitions.get(topic)
        if count is None:
            try:
                info = self._log.topic(topic)
            except LogError:
                return None
            if info is None:
                self.missing.add(queue)
                return None
            count = self._partitions[topic] = info.partitions
            self.missing.discard(queue)
        return count

    def _append(self, serial: int, outgoing: Outgoing) -> None:
        if self._appender is None:
            self._appender = self._log.appender(on_ready=self._on_ready, timeout_ms=0)
        try:
            self._appender.append(
                outgoing.topic,
                outgoing.partition,
                outgoing.value,
                key=outgoing.key,
                headers=outgoing.headers,
                tag=serial,
            )
        except RecordTooLargeError as error:
            self._park_sent(serial, error)
        except LogError:
            self._restart(outgoing)
        except Exception as error:
            self._park_sent(serial, error)

    def _park_sent(self, serial: int, error: Exception) -> None:
        outgoing = self._unacked.pop(serial)
        if outgoing.held is not None:
            self._park(outgoing.held, error)

    def _park(self, held: Held, error: Exception) -> None:
        """Put an effect that can never be sent where people find it: in the dead letters.

        Another actor that waits for what it brings is told instead.
        """
        effect, reason = held.effect, reason_of(error)
        self.parked += 1
        self._tell(f"{_named(effect)} cannot be sent and is put aside: {reason}", error)
        if isinstance(effect, SendDead):
            if effect.key is None and effect.value is None:
                self._settle(held.pseq, held.place)
                return
            others: Sequence[Effect] = [effect._replace(key=None, value=None)]
        elif isinstance(effect, SendCommand):
            others = self._refused(effect.command, reason)
        else:
            others = ()
        if not others:
            value = effect.value if isinstance(effect, Forward) else None
            others = [SendDead(f"{_named(effect)} cannot be sent: {reason}", -1, None, value)]
        self._send_one(held._replace(effect=others[0]))

    def _settle(self, pseq: int, place: int) -> None:
        """An effect is acknowledged, or given up."""
        self._open[pseq] -= 1
        if place >= 0:
            self.done.append((pseq, place))

    def _restart(self, failed: Outgoing | None = None) -> None:
        """End this incarnation, of which an append failed; the next one begins again behind it."""
        self._failures += 1
        if failed is not None and failed.held is not None:
            topic, queue = self._target(failed.held.effect)
            self._doubted[topic] = queue
        if self._appender is not None:
            self._appender.close()
            self._appender = None

    def step(self) -> None:
        """Take acknowledgements; after an error, send again what has none."""
        if self._appender is None:
            # A log that takes nothing is tried at once, and then once a second.
            if self._failures <= AT_ONCE_MAX:
                self._send_again()
            return
        for report in self._appender.reports():
            if report.error is not None or report.offset is None:
                failed = self._unacked.get(cast("int", report.tag))
                if report.error is not None and report.error.startswith(TOO_LARGE):
                    self._park_sent(cast("int", report.tag), LogError(report.error))
                    failed = None
                self._restart(failed)
                return
            # Reports of different partitions come in any order; progress is by the oldest.
            done = self._unacked.pop(report.tag, None)  # type: ignore[call-overload]
            if done is not None:
                self._failures = 0
                self._settle(done.pseq, done.place)

    def _send_again(self) -> None:
        """Send what has no acknowledgement, but for what goes to topics that are gone."""
        for topic, queue in self._doubted.items():
            self._look_again_at(topic, queue)
        self._doubted.clear()
        for serial, outgoing in list(self._unacked.items()):
            self._append(serial, outgoing)
            if self._appender is None:
                return

    def _look_again_at(self, topic: str, queue: str) -> None:
        """A topic that took nothing may have been deleted, or made anew with other partitions."""
        before = self._partitions.pop(topic, None)
        try:
            info = self._log.topic(topic)
        except LogError:
            return
        if info is None:
            self._give_up(topic, queue)
        elif info.partitions != before:
            for serial, one in self._unacked.items():
                if one.topic == topic and one.held is not None:
                    made = self._outgoing(one.held, topic, info.partitions)
                    self._unacked[serial] = made._replace(held=one.held)

    def _give_up(self, topic: str, queue: str) -> None:
        """Let what goes to a topic that was deleted wait for it to be made, and nothing else."""
        gone = [serial for serial, one in self._unacked.items() if one.topic == topic]
        waiting = self._waiting.pop(topic, deque())
        for serial in gone:
            held = self._unacked.pop(serial).held
            if held is not None:
                self._wait(held, topic)
        self._waiting.setdefault(topic, deque()).extend(waiting)
        self.missing.add(queue)
        text = (
            f"there is no topic {topic} any more: {len(gone)} records for it wait until it is made"
            f" again (perdure topics create --task-queue {queue}); others are sent"
        )
        self._tell(text, LogError(f"{topic} was deleted"))

    def retry_waiting(self) -> None:
        """Try again what waits for a topic to be made; once a second is enough."""
        if self._appender is None and self._unacked:
            self._send_again()
        for topic, waiting in list(self._waiting.items()):
            count = self._count(topic, self._target(waiting[0].effect)[1])
            if count is not None:
                del self._waiting[topic]
                for held in waiting:
                    self._no_longer_waits(held)

    def _no_longer_waits(self, held: Held) -> None:
        """Send an effect whose topic has been made."""
        if (held.pseq, held.place) in self._never:
            # Its parent was told instead.
            self._never.discard((held.pseq, held.place))
            return
        command = held.effect.command if isinstance(held.effect, SendCommand) else None
        if isinstance(command, StartWorkflow) and command.parent is not None:
            self._unstarted.pop((command.workflow_id, command.parent.run_id), None)
        self._send_one(held)

    def close(self, *, flush_s: float = 0.0) -> None:
        """End; what is not acknowledged is the next owner's."""
        if self._appender is not None:
            self._appender.close(flush_s=flush_s)
            self._appender = None


def _named(effect: Effect) -> str:
    """An effect as people know it."""
    if isinstance(effect, SendTask):
        activity = effect.activity
        return (
            f"the task of activity {activity.scheduled.activity_id!r}, attempt {activity.attempt},"
            f" of workflow {effect.workflow_id!r} run {effect.run_id}"
        )
    if isinstance(effect, SendCommand):
        command = effect.command
        where = command.workflow_id
        return f"a {type(command).__name__} to workflow {where!r} on {effect.task_queue[:200]!r}"
    if isinstance(effect, SendDead | Forward):
        what = "a dead letter" if isinstance(effect, SendDead) else "a command of another partition"
        return f"{what} (input at offset {effect.offset})"
    return f"a {type(effect).__name__}"


def _never_started(start: Held) -> SendCommand:
    """What a parent is told of a child that it stopped before its start could be sent."""
    command = cast("StartWorkflow", cast("SendCommand", start.effect).command)
    parent = cast("RunRef", command.parent)
    report = ReportChildRefused(
        workflow_id=parent.workflow_id,
        run_id=parent.run_id,
        child_id=command.child_id,
        code=CANCELED_UNSTARTED,
        message="it was asked to stop before its task queue had topics",
    )
    return SendCommand(parent.task_queue, report)


def _with_source(command: Record, address: Address, held: Held) -> Record:
    """An actor's command says which event it comes from; its receiver takes each once."""
    source = EffectId(
        topic_id=address.events_topic_id,
        partition=address.partition,
        epoch=held.epoch,
        pseq=held.pseq,
        index=held.place,
    )
    return replace(command, source=source)


def told_of_refusal(world: World, command: Command, reason: str) -> list[SendCommand]:
    """What an actor is told whose command can never be sent."""
    errands = errands_of(world, command, Rejection(INTERNAL, reason))
    return [SendCommand(one.task_queue, decode_as(Command, one.command)) for one in errands]
