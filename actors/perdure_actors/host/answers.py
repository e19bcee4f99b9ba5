"""Answers on their way to askers. Where one goes, a record said that anybody may have written."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from perdure_actors.partition.fence import internal, reason_of
from perdure_schemas.avro import encode
from perdure_schemas.replies import NEW_OWNER, Notice, Refused, Reply
from perdure_topics.names import topic_name
from perdure_topics.ports import LogError, LogFullError

if TYPE_CHECKING:
    from perdure_schemas.payloads import Record, ReplyTo
    from perdure_topics.ports import Appender, Log

logger = logging.getLogger("perdure.host")
ANSWER_TIMEOUT_MS = 10_000
CORRELATION_CHARS_MAX = 1_000
ANSWER_BYTES_MAX = 16 * 1024 * 1024
ANSWER_PART_BYTES = 7 * 1024 * 1024
LOOK_AGAIN_S = 10.0


class AnswerSender:
    """Sends answers to the replies topic; one that is lost is asked for again.

    Those of a turn leave together at its end, so that they share messages and wake-ups.
    """

    def __init__(self, log: Log, namespace: str) -> None:
        self._log = log
        self._topic = topic_name("replies", namespace)
        self._appender: Appender | None = None
        self._waiting: list[tuple[int, bytes]] = []
        self._for_all: list[bytes] = []
        self._partitions = 0
        """How many partitions the topic has, when that was last asked."""
        self._looked_s = 0.0
        self.dropped = 0
        """How many answers had no place to go to."""

    def send(self, reply: ReplyTo, record: Record, partition: int, offset: int) -> None:
        """Send one answer, at the end of this turn."""
        if len(reply.correlation_id) > CORRELATION_CHARS_MAX:
            # No asker of ours: they count.
            self.dropped += 1
            return
        try:
            body = encode(record)
        except Exception as error:
            logger.warning("an answer cannot be written", exc_info=True)
            body = encode(internal(reason_of(error)))
        for answer in replies_of(reply.correlation_id, body, partition, offset):
            self._waiting.append((reply.partition, encode(answer)))

    def announce(self, topic: str, partition: int) -> None:
        """Tell every asker that a partition has another owner, at the end of this turn.

        Whoever waits for an answer of it asks again at once: the last owner took with it what it
        knew of them, and a repeat by the clock would be seconds away.
        """
        body = encode(Notice(code=NEW_OWNER, message=topic))
        self._for_all.append(encode(Reply(correlation_id="", partition=partition, body=body)))

    def step(self) -> None:
        """Let out the answers of this turn, and take reports; a failed appender is replaced."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for partition, answer in waiting:
                self._append(partition, answer)
        if self._for_all:
            for_all, self._for_all = self._for_all, []
            self._tell_all(for_all)
        if self._appender is not None:
            reports = self._appender.reports()
            if any(report.error for report in reports):
                self._end()

    def _tell_all(self, answers: list[bytes]) -> None:
        try:
            if self._appender is None:
                self._open()
        except LogError as error:
            logger.warning("askers are not told of a new owner; they ask again later: %s", error)
            return
        for partition in range(self._partitions):
            for answer in answers:
                self._append(partition, answer)

    def _append(self, partition: int, answer: bytes) -> None:
        try:
            if self._appender is None:
                self._open()
            assert self._appender is not None
            if partition >= self._partitions and time.monotonic() - self._looked_s > LOOK_AGAIN_S:
                self._look()
            if not 0 <= partition < self._partitions:
                # Given to the log, it would fail the answers of others with it.
                self.dropped += 1
                return
            self._appender.append(self._topic, partition, answer)
        except LogFullError as error:
            logger.warning("an answer was dropped; its asker will ask again: %s", error)
        except LogError as error:
            logger.warning("an answer was dropped; its asker will ask again: %s", error)
            self._end()
        except Exception:
            logger.exception("an answer was dropped")
            self._end()

    def _open(self) -> None:
        if not self._partitions:
            # Once: the host's thread waits for it, and a log that is away would keep it.
            self._look()
        self._appender = self._log.appender(on_ready=_nothing, timeout_ms=ANSWER_TIMEOUT_MS)

    def _look(self) -> None:
        self._looked_s = time.monotonic()
        info = self._log.topic(self._topic)
        if info is None:
            raise LogError(f"{self._log.address} has no topic {self._topic}")
        self._partitions = info.partitions

    def _end(self) -> None:
        if self._appender is not None:
            self._appender.close()
            self._appender = None

    def close(self) -> None:
        """Flush for a moment and end."""
        self.step()
        if self._appender is not None:
            self._appender.close(flush_s=1.0)
            self._appender = None


def replies_of(correlation_id: str, body: bytes, partition: int, offset: int) -> list[Reply]:
    """The records of an answer: one, or several where a record could not hold it."""
    if len(body) > ANSWER_BYTES_MAX:
        text = f"the answer has {len(body)} bytes; {ANSWER_BYTES_MAX} is the most"
        body = encode(Refused(code="too_large", message=text))
    parts = max(1, -(-len(body) // ANSWER_PART_BYTES))
    return [
        Reply(
            correlation_id=correlation_id,
            partition=partition,
            offset=offset,
            body=body[number * ANSWER_PART_BYTES : (number + 1) * ANSWER_PART_BYTES],
            part=number + 1,
            parts=parts,
        )
        for number in range(parts)
    ]


def _nothing() -> None:
    """No news is needed of answers."""
