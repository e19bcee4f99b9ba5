"""Effects on their way out: encoded once, sent in order, sent again until each is acknowledged.

One appender an incarnation, which tries for ever and skips nothing. An error ends it, and a new
one starts behind the last contiguous acknowledgement. `dispatched` never overtakes one.
"""

from __future__ import annotations

import heapq
import zlib
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from perdure_actors.core.decision import Forward, PushOrders, SendCommand, SendTask
from perdure_schemas.avro import RECORD_BYTES_MAX, encode
from perdure_schemas.payloads import EffectId, ReplyTo
from perdure_schemas.replies import CanceledAttempt, WorkerOrders
from perdure_schemas.tasks import ActivityTask
from perdure_schemas.tracing import TRACEPARENT, TRACESTATE, attempt_span_id
from perdure_topics.names import partition_of, topic_name
from perdure_topics.ports import LogError

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_actors.core.decision import Effect
    from perdure_actors.core.state import ActivityState, RecordId
    from perdure_schemas.payloads import Record
    from perdure_topics.ports import Appender, Headers, Log

UNACKED_MAX = 20_000


class Outgoing(NamedTuple):
    """A record that an effect became."""

    pseq: int
    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: Headers


class Address(NamedTuple):
    """Who sends: the shard, as effects name it."""

    namespace: str
    task_queue: str
    partition: int
    events_topic_id: str


class Dispatch:
    """The outgoing effects of one shard incarnation."""

    def __init__(
        self,
        log: Log,
        address: Address,
        *,
        dispatched: int,
        token: Callable[[RecordId], bytes],
        answer: Callable[[ReplyTo, Record], None],
        on_ready: Callable[[], None],
    ) -> None:
        self._log = log
        self._address = address
        self._token = token
        self._answer = answer
        self._on_ready = on_ready
        self._appender: Appender | None = None
        self._unacked: OrderedDict[int, Outgoing] = OrderedDict()
        self._serial = 0
        # Effects do not always come in the order of their records: some wait for a topic.
        self._open: Counter[int] = Counter()
        self._oldest: list[int] = []
        self._waiting: list[tuple[int, Effect, int, int]] = []
        """Effects for queues that do not exist yet."""
        self._partitions: dict[str, int] = {}
        self._accepted = dispatched
        self.missing: set[str] = set()
        """Task queues that have no topics, so that their tasks wait."""
        self._commands = topic_name("commands", address.namespace, address.task_queue)

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
        oldest = [held[0] for held in self._waiting] + self._oldest[:1]
        return min(oldest) - 1 if oldest else self._accepted

    def send(self, pseq: int, effects: list[Effect], *, epoch: int) -> None:
        """Send the effects of an accepted record."""
        self._accepted = max(self._accepted, pseq)
        for place, effect in enumerate(effects):
            self._send_one(pseq, effect, epoch, place)

    def _send_one(self, pseq: int, effect: Effect, epoch: int, place: int) -> None:
        if isinstance(effect, PushOrders):
            canceled = CanceledAttempt(token=self._token(effect.issued), reason=effect.reason)
            self._answer(
                ReplyTo(partition=effect.reply_partition, correlation_id=effect.worker_id),
                WorkerOrders(canceled=[canceled]),
            )
            return
        try:
            outgoing = self._outgoing(pseq, effect, epoch, place)
        except LogError:
            outgoing = None
        if outgoing is None:
            self._waiting.append((pseq, effect, epoch, place))
            return
        self._serial += 1
        self._unacked[self._serial] = outgoing
        if pseq not in self._open:
            heapq.heappush(self._oldest, pseq)
        self._open[pseq] += 1
        if self._appender is not None or len(self._unacked) == 1:
            self._append(self._serial, outgoing)

    def _outgoing(self, pseq: int, effect: Effect, epoch: int, place: int) -> Outgoing | None:
        """The record that an effect becomes; None while its topic does not exist."""
        namespace = self._address.namespace
        if isinstance(effect, SendTask):
            queue = effect.activity.scheduled.task_queue
            return self._task(pseq, effect, topic_name("tasks", namespace, queue), queue)
        if isinstance(effect, SendCommand):
            topic = topic_name("commands", namespace, effect.task_queue)
            count = self._count(topic, effect.task_queue)
            if count is None:
                return None
            workflow_id: str = effect.command.workflow_id  # type: ignore[attr-defined]
            value = encode(_with_source(effect.command, self._address, epoch, pseq, place))
            key = workflow_id.encode()
            return Outgoing(pseq, topic, partition_of(workflow_id, count), key, value, ())
        if isinstance(effect, Forward):
            key = effect.key or b""
            count = self._count(self._commands, self._address.task_queue)
            if count is None:
                return None
            to = partition_of(key.decode(errors="replace"), count)
            return Outgoing(pseq, self._commands, to, key, effect.value or b"", ())
        if isinstance(effect, PushOrders):
            return None
        headers = (
            ("perdure-error", effect.reason.encode()),
            ("perdure-topic", self._commands.encode()),
            ("perdure-partition", b"%d" % self._address.partition),
            ("perdure-offset", b"%d" % effect.offset),
        )
        topic = topic_name("dead", namespace, self._address.task_queue)
        count = self._count(topic, self._address.task_queue)
        if count is None:
            return None
        value = (effect.value or b"")[: RECORD_BYTES_MAX - 4096]
        return Outgoing(pseq, topic, self._address.partition % count, effect.key, value, headers)

    def _task(self, pseq: int, effect: SendTask, topic: str, queue: str) -> Outgoing | None:
        count = self._count(topic, queue)
        if count is None:
            return None
        activity = effect.activity
        key = f"{effect.run_id}/{activity.scheduled.activity_id}/{activity.attempt}"
        # The record's number takes part, so that one handed back goes elsewhere.
        spread = zlib.crc32(f"{key}/{activity.issued.pseq}".encode())
        value = encode(self._task_record(effect, activity))
        return Outgoing(pseq, topic, spread % count, key.encode(), value, _trace_headers(effect))

    def _task_record(self, effect: SendTask, activity: ActivityState) -> ActivityTask:
        scheduled = activity.scheduled
        policy = scheduled.retry_policy
        return ActivityTask(
            workflow_id=effect.workflow_id,
            run_id=effect.run_id,
            workflow_type=effect.workflow_type,
            activity_id=scheduled.activity_id,
            activity_type=scheduled.activity_type,
            attempt=activity.attempt,
            token=self._token(activity.issued),
            commands_topic=self._commands,
            partition=self._address.partition,
            input=scheduled.input,
            header=scheduled.header,
            schedule_to_close_ms=scheduled.schedule_to_close_ms,
            start_to_close_ms=scheduled.start_to_close_ms,
            heartbeat_ms=scheduled.heartbeat_ms,
            retry_policy=policy,
            priority=scheduled.priority,
            scheduled_ms=activity.scheduled_ms,
            attempt_scheduled_ms=activity.attempt_ms,
            heartbeat_details=activity.heartbeat_details,
            wants_claim=effect.resent or (policy is not None and policy.maximum_attempts == 1),
            namespace=self._address.namespace,
            task_queue=scheduled.task_queue,
        )

    def _count(self, topic: str, queue: str) -> int | None:
        """The partitions of a topic; None while it does not exist."""
        count = self._partitions.get(topic)
        if count is None:
            info = self._log.topic(topic)
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
        except LogError:
            self._restart()

    def _restart(self) -> None:
        """End this incarnation; the next turn starts behind the last acknowledgement."""
        if self._appender is not None:
            self._appender.close()
            self._appender = None

    def step(self) -> None:
        """Take acknowledgements; after an error, send again what has none."""
        if self._appender is None:
            for serial, outgoing in list(self._unacked.items()):
                self._append(serial, outgoing)
                if self._appender is None:
                    return
            return
        for report in self._appender.reports():
            if report.error is not None or report.offset is None:
                self._restart()
                return
            # Reports of different partitions come in any order; progress is by the oldest.
            done = self._unacked.pop(report.tag, None)  # type: ignore[call-overload]
            if done is not None:
                self._open[done.pseq] -= 1

    def retry_waiting(self) -> None:
        """Try again what waits for a topic to be made; once a second is enough."""
        waiting, self._waiting = self._waiting, []
        for pseq, effect, epoch, place in waiting:
            self._send_one(pseq, effect, epoch, place)

    def close(self, *, flush_s: float = 0.0) -> None:
        """End; what is not acknowledged is the next owner's."""
        if self._appender is not None:
            self._appender.close(flush_s=flush_s)
            self._appender = None


def _trace_headers(effect: SendTask) -> Headers:
    """The span of the attempt, so that what its code records is found beneath it."""
    if effect.trace is None:
        return ()
    activity = effect.activity
    span_id = attempt_span_id(effect.run_id, activity.scheduled_seq, activity.attempt)
    place = effect.trace._replace(span_id=span_id)
    headers = ((TRACEPARENT, place.header().encode()),)
    return (*headers, (TRACESTATE, place.state.encode())) if place.state else headers


def _with_source(command: Record, address: Address, epoch: int, pseq: int, place: int) -> Record:
    """An actor's command says which event it comes from; its receiver takes each once."""
    source = EffectId(
        topic_id=address.events_topic_id,
        partition=address.partition,
        epoch=epoch,
        pseq=pseq,
        index=place,
    )
    return replace(command, source=source)
