"""How a worker reads its partition of the replies topic, from the end it had at the start."""

from __future__ import annotations

import logging

from perdure_schemas.avro import UnreadableRecordError, decode_as
from perdure_schemas.replies import Reply
from perdure_topics.ports import Clock, EndProbe, LogError, PositionLostError, Tail

TAKE_MAX = 1_000
AGAIN_MS_MAX = 5_000
"""How long a log that does not say where it ends is left alone, at most."""
SAY_EVERY_MS = 30_000

logger = logging.getLogger(__name__)


class ReplyReader:
    """A tail on one partition that many askers share; what is not ours is passed over later."""

    def __init__(self, tail: Tail, topic: str, partition: int, *, clock: Clock) -> None:
        self._tail = tail
        self._topic = topic
        self._clock = clock
        self.partition = partition
        self._is_ready = False
        self._failures = 0
        self._ask_at_ms = 0
        self._say_at_ms = 0
        self._probe: EndProbe | None = tail.probe_end(topic, partition)

    @property
    def is_ready(self) -> bool:
        """Whether an answer sent from now on will be read."""
        if not self._is_ready:
            self._find_end()
        return self._is_ready

    def take(self) -> list[Reply]:
        """Take the replies that have come in, everybody's."""
        if not self.is_ready:
            return []
        try:
            records = self._tail.take(self._topic, self.partition, TAKE_MAX)
        except PositionLostError as error:
            # Claims are repeated and cancels are told again, so the end is the place to go on.
            logger.warning("replies were lost: %s; going on at the end", error)
            self._is_ready = False
            self._probe = self._tail.probe_end(self._topic, self.partition)
            return []
        replies = []
        for record in records:
            try:
                reply = decode_as(Reply, record.value)
                if reply.parts == 1:
                    # Workers ask for nothing whose answer takes several.
                    replies.append(reply)
            except UnreadableRecordError as error:
                logger.warning(
                    "skipped an unreadable reply at %s, partition %d, offset %d: %s",
                    record.topic,
                    record.partition,
                    record.offset,
                    error,
                )
        return replies

    def close(self) -> None:
        """Stop reading."""
        self._tail.close()

    def _find_end(self) -> None:
        now_ms = self._clock.monotonic_ms()
        if self._probe is None:
            if now_ms < self._ask_at_ms:
                return
            self._probe = self._tail.probe_end(self._topic, self.partition)
        try:
            end = self._probe.end()
        except LogError as error:
            self._probe = None
            self._back_off(error, now_ms)
            return
        if end is not None:
            self._tail.assign(self._topic, self.partition, end)
            self._probe = None
            self._is_ready = True
            self._failures = self._say_at_ms = 0

    def _back_off(self, error: LogError, now_ms: int) -> None:
        """A log that is away answers at once that it is: asked at once again, for ever."""
        self._failures += 1
        wait_ms = min(50 << min(self._failures, 8), AGAIN_MS_MAX)
        self._ask_at_ms = now_ms + wait_ms
        if now_ms >= self._say_at_ms:
            self._say_at_ms = now_ms + SAY_EVERY_MS
            logger.warning(
                "cannot find the end of %s, partition %d: %s; it is asked again",
                self._topic,
                self.partition,
                error,
            )
