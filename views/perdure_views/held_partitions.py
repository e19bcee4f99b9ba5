"""Partitions paused at a record that cannot be handled yet, while the others go on."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.ports import StoredRecord

logger = logging.getLogger("perdure.views")
HELD_S: Final = 30.0
"""So long a record that cannot be read holds its partition up, before it is tried again."""


class HeldPartitions:
    """The partitions of one reader that wait, and what was said of them.

    A record that may count and cannot be read must not be passed over: another release may know
    it. It ends nothing, either: its partition waits for whoever can read it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until_s: dict[object, float] = {}
        self._said: dict[object, tuple[int, str]] = {}

    def is_held(self, reader: object) -> bool:
        """Whether a partition waits now."""
        until_s = self._until_s.get(reader)
        if until_s is None:
            return False
        if self._clock() < until_s:
            return True
        del self._until_s[reader]
        return False

    def hold(self, reader: object, record: StoredRecord, error: Exception) -> None:
        """Let a partition wait, because of a record; it is said once."""
        self._until_s[reader] = self._clock() + HELD_S
        said = (record.offset, type(error).__name__)
        if self._said.get(reader) == said:
            return
        self._said[reader] = said
        logger.error(
            "%s-%d is not read on, because of the record at offset %d: %s: %s. It is tried again"
            " every %d s, and other partitions go on; a newer release may be able to read it",
            record.topic,
            record.partition,
            record.offset,
            type(error).__name__,
            error,
            HELD_S,
        )
