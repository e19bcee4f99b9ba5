"""Publishing by Kafka transactions: records for topics of users, and marks, as one.

A mark is a record of a compacted topic, which Kafka keeps for as long as there is the topic. The
offset of a group says the same for people and their lag tools: Kafka forgets it a week after the
last commit, and anybody may set it to something else, so nothing goes by it where there is a mark.

A delayed end of a transaction may strike a later one of the same producer: the client repeats an
EndTxn whose answer is slow, and the broker cannot tell which transaction the repeat is about. So a
producer that has seen a slow or doubtful end is thrown away. The next one of the same name begins
with a higher epoch, which ends what is open and fences what is still on its way; what then was
committed is read from the marks, which are part of the transaction.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from perdure_topics.forks import keep_in_forks
from perdure_topics.kafka.settings import PASSING, log_error, reader_settings, writer_settings
from perdure_topics.ports import LogError
from perdure_topics.publisher_port import (
    OFFSET_NOTE_BYTES_MAX,
    Emission,
    FencedError,
    Mark,
    PublishError,
    RefusedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import Message

    from perdure_topics.kafka.settings import Settings

_T = TypeVar("_T")
CALL_S: Final = 20.0
POLL_S: Final = 0.1
TRANSACTION_TIMEOUT_MS: Final = 60_000
ONE_BY_ONE_MAX: Final = 1_000
SLOW_END_S: Final = 1.0
"""An end that took longer may have been asked for twice."""
_FENCED: Final = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
    }
)
_OVER: Final = frozenset({KafkaError._FATAL, KafkaError._STATE, KafkaError._PURGE_QUEUE})
_FINAL: Final = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError._INVALID_ARG}
)
"""What a topic says of a record that it will never take."""


class _KeptMark(msgspec.Struct):
    """A mark as its record has it: JSON, for Kafka's own tools."""

    topic: str
    partition: int
    next_offset: int
    note: str
    behind: dict[str, str] = {}


_decode_mark: Final = msgspec.json.Decoder(_KeptMark).decode


def _refusal(index: int, topic: str, error: KafkaError) -> RefusedError:
    return RefusedError(
        f"topic {topic}: {error.name()}: {error.str()}",
        index=index,
        is_final=error.code() in _FINAL,
    )


class _Told:
    """What the broker says of the records of one transaction, told by callbacks: none raises."""

    def __init__(self) -> None:
        self.acknowledged: set[int] = set()
        self.refused: list[RefusedError] = []
        self.is_fenced = False
        self.problem = ""
        self.count = 0
        """Of how many records something has been said."""

    def take(self, index: int, error: KafkaError | None, message: Message) -> None:
        """A record was delivered, or was not."""
        self.count += 1
        if error is None:
            self.acknowledged.add(index)
        else:
            self.failed_with(index, str(message.topic()), error)

    def failed_with(self, index: int, topic: str, error: KafkaError) -> None:
        """A record was not written."""
        code = error.code()
        if code in _FENCED:
            self.is_fenced = True
        elif code in _OVER:
            # It is the producer that can do no more: the record's topic has said nothing.
            self.problem = self.problem or f"the producer failed: {error.name()}: {error.str()}"
        elif code not in PASSING:
            self.refused.append(_refusal(index, topic, error))


class KafkaPublisher:
    """One publisher of a name at a time: a second one of it fences the first."""

    def __init__(self, bootstrap: str, settings: Settings, name: str, *, marks: str) -> None:
        """`marks` is the compacted topic of one partition that this name alone writes its marks to.

        The name is that of the transactions, and of the group whose offsets people look at.
        """
        self._marks_topic = marks
        self._one_by_one: set[str] = set()
        """Topics that have refused a batch: what is small enough alone need not be in one."""
        self._bootstrap = bootstrap
        self._settings = settings
        self._name = name
        self._producer: Producer | None = None
        # It joins nothing: it reads the marks, and names the group that they belong to.
        reading = {**reader_settings(bootstrap, settings, committed=True), "group.id": name}
        self._marks = Consumer(reading)
        keep_in_forks(self)

    def begin(self, places: Sequence[tuple[str, int]]) -> list[Mark]:
        """Make sure of all that was published before; the marks that there are of partitions."""
        self._producer = None
        settings = writer_settings(
            self._bootstrap, self._settings, timeout_ms=TRANSACTION_TIMEOUT_MS // 3
        )
        # A failed transaction is told by its error; nothing can overtake inside of one.
        del settings["enable.gapless.guarantee"]
        producer = Producer(
            {
                **settings,
                "transactional.id": self._name,
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                # As the Java clients place keys, so that a topic keeps its order by key.
                "partitioner": "murmur2_random",
                "topic.metadata.propagation.max.ms": 5_000,
            }
        )
        self._call("begin", lambda: producer.init_transactions(CALL_S))
        asked = [TopicPartition(topic, partition) for topic, partition in places]
        kept = self._call("read its marks", self._kept_marks)
        found = (
            self._call("read its offsets", lambda: self._marks.committed(asked, CALL_S))
            if asked
            else []
        )
        self._producer = producer
        wanted = set(places)
        marks = [mark for mark in kept if (mark.topic, mark.partition) in wanted]
        reached = {(mark.topic, mark.partition): mark.next_offset for mark in marks}
        return marks + [
            # An older release has gone on from here; what a person sets has no note.
            Mark(place.topic, place.partition, place.offset, place.metadata)
            for place in found
            if place.metadata and place.offset > reached.get((place.topic, place.partition), -1)
        ]

    def _kept_marks(self) -> list[Mark]:
        """The newest mark of each partition in the topic of marks."""
        place = TopicPartition(self._marks_topic, 0)
        first, _ = self._marks.get_watermark_offsets(place, CALL_S)
        place.offset = first
        found: dict[bytes | None, Mark] = {}
        self._marks.assign([place])
        try:
            while True:
                message = self._marks.poll(CALL_S)
                if message is None:
                    raise PublishError(f"{self._marks_topic} gives nothing for {CALL_S:.0f} s")
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        return list(found.values())
                    raise KafkaException(error)
                try:
                    kept = _decode_mark(message.value() or b"")
                    mark = Mark(kept.topic, kept.partition, kept.next_offset, kept.note)
                    found[message.key()] = mark._replace(behind=kept.behind)
                except msgspec.MsgspecError:
                    # Nobody else may write there; what stands there all the same is no mark.
                    found.pop(message.key(), None)
        finally:
            self._marks.unassign()

    def publish(self, emissions: Sequence[Emission], marks: Sequence[Mark]) -> None:
        """Publish all of it or nothing."""
        producer = self._producer
        if producer is None:
            raise PublishError(f"{self._name}: begin first")
        # Whatever happens below, this producer is good for more only when all of it went well.
        self._producer = None
        self._call("open a transaction", producer.begin_transaction)
        records = [*emissions, *(self._record_of(mark) for mark in marks)]
        refused = self._call("publish", lambda: self._produce(producer, records))
        if refused is not None:
            began_s = time.monotonic()
            self._call("roll back", lambda: producer.abort_transaction(CALL_S))
            is_prompt = time.monotonic() - began_s <= SLOW_END_S
            if is_prompt and self._is_new_suspect(refused, records):
                self._producer = producer
                self.publish(emissions, marks)
                return
            if isinstance(refused, RefusedError) and refused.index >= len(emissions):
                raise LogError(f"{self._name} cannot keep its marks: {refused}")
            raise refused
        self._add_offsets(producer, marks)
        began_s = time.monotonic()
        self._call("commit", lambda: producer.commit_transaction(CALL_S))
        took_s = time.monotonic() - began_s
        if took_s > SLOW_END_S:
            raise PublishError(f"{self._name}: a commit took {took_s:.1f} s")
        self._producer = producer

    def _is_new_suspect(self, refused: PublishError, records: Sequence[Emission]) -> bool:
        """Whether a topic has refused a batch as too large for the first time.

        Then nobody knows which record of it is: from now on they are sent one by one.
        """
        if not isinstance(refused, RefusedError) or not refused.is_final:
            return False
        topic = records[refused.index].topic
        if topic in self._one_by_one:
            return False
        if len(self._one_by_one) >= ONE_BY_ONE_MAX:
            self._one_by_one.clear()
        self._one_by_one.add(topic)
        return True

    def _record_of(self, mark: Mark) -> Emission:
        key, value = f"{mark.topic}-{mark.partition}".encode(), msgspec.json.encode(mark._asdict())
        headers = {"content-type": b"application/json"}
        return Emission(self._marks_topic, key, value, headers, 0)

    def _add_offsets(self, producer: Producer, marks: Sequence[Mark]) -> None:
        """Show people the marks as a group's offsets, where they fit into one."""
        offsets = [
            TopicPartition(mark.topic, mark.partition, mark.next_offset, mark.note)
            for mark in marks
            if len(mark.note) <= OFFSET_NOTE_BYTES_MAX
        ]
        if offsets:
            group = self._marks.consumer_group_metadata()
            self._call(
                "add its offsets",
                lambda: producer.send_offsets_to_transaction(offsets, group, CALL_S),
            )

    def _produce(self, producer: Producer, emissions: Sequence[Emission]) -> PublishError | None:
        """Write records; why one of them cannot be written. Raises FencedError."""
        told, queued = _Told(), 0
        for index, emission in enumerate(emissions):
            try:
                producer.produce(
                    emission.topic,
                    value=emission.value,
                    key=emission.key,
                    headers=list(emission.headers.items()),
                    on_delivery=partial(told.take, index),
                    partition=emission.partition,  # -1 lets the partitioner choose
                )
            except KafkaException as error:
                told.failed_with(index, emission.topic, error.args[0])
                break
            except BufferError:
                # A full queue is nobody's fault; what is in it goes first.
                told.problem = "the producer's queue is full"
                break
            producer.poll(0)
            queued += 1
            if emission.topic in self._one_by_one and not self._wait_for(producer, told, queued):
                break
        self._wait_for(producer, told, queued)
        if told.is_fenced:
            raise FencedError(self._over())
        if told.refused:
            return told.refused[0]
        left = [index for index in range(len(emissions)) if index not in told.acknowledged]
        if not left:
            return None
        text = told.problem or f"{len(left)} records were not acknowledged for {CALL_S:.0f} s"
        if told.problem or not told.acknowledged:
            return PublishError(f"{self._name}: {text}")
        # Others were: it is not the broker that is away, but somebody's partition.
        topic = emissions[left[0]].topic
        return RefusedError(f"topic {topic}: {text}", index=left[0], is_final=False)

    def _wait_for(self, producer: Producer, told: _Told, queued: int) -> bool:
        """Wait until something is said of so many records; whether all of it is good."""
        deadline_s = time.monotonic() + CALL_S
        # Not by `flush`: a fatal error, such as that of being fenced, is raised by the poll that
        # hears of it. A flush polls on with that error set, which the next callback trips over.
        while told.count < queued and (left_s := deadline_s - time.monotonic()) > 0:
            producer.poll(min(left_s, POLL_S))
        return len(told.acknowledged) == queued

    def _call(self, what: str, call: Callable[[], _T]) -> _T:
        began_s = time.monotonic()
        try:
            return call()
        except KafkaException as raised:
            error: KafkaError = raised.args[0]
            if error.code() in _FENCED:
                raise FencedError(self._over()) from raised
            failed = log_error(
                f"{self._name} could not {what}",
                self._bootstrap,
                time.monotonic() - began_s,
                error,
            )
            if error.retriable() or error.txn_requires_abort() or error.fatal():
                raise PublishError(str(failed)) from raised
            raise failed from raised

    def _over(self) -> str:
        return (
            f"another relay took over as {self._name}, or this one was frozen for longer than"
            f" {TRANSACTION_TIMEOUT_MS // 1000} s"
        )

    def close(self) -> None:
        """Let go; what was not published is not."""
        self._producer = None
        self._marks.close()
