"""How a worker reads its partition of the replies topic, from the end it had at the start."""

from __future__ import annotations

import logging

from perdure_schemas.avro import UnreadableRecordError, decode_as
from perdure_schemas.replies import Reply
from perdure_topics.ports import EndProbe, LogError, PositionLostError, Tail

TAKE_MAX = 1_000

logger = logging.getLogger(__name__)


class ReplyReader:
    """A tail on one partition that many askers share; what is not ours is passed over later."""

    def __init__(self, tail: Tail, topic: str, partition: int) -> None:
        self._tail = tail
        self._topic = topic
        self.partition = partition
        self._probe: EndProbe | None = tail.probe_end(topic, partition)

    @property
    def is_ready(self) -> bool:
        """Whether an answer sent from now on will be read."""
        self._find_end()
        return self._probe is None

    def take(self) -> list[Reply]:
        """Take the replies that have come in, everybody's."""
        if not self.is_ready:
            return []
        try:
            records = self._tail.take(self._topic, self.partition, TAKE_MAX)
        except PositionLostError as error:
            # Claims are repeated and cancels are told again, so the end is the place to go on.
            logger.warning("replies were lost: %s; going on at the end", error)
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
        if self._probe is None:
            return
        try:
            end = self._probe.end()
        except LogError as error:
            logger.warning(
                "cannot find the end of %s, partition %d: %s; asking again",
                self._topic,
                self.partition,
                error,
            )
            self._probe = self._tail.probe_end(self._topic, self.partition)
            return
        if end is not None:
            self._tail.assign(self._topic, self.partition, end)
            self._probe = None
