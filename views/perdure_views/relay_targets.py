"""What speaks against publishing to a target of the relay: a topic, or a partition of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from perdure_topics.engine_topics import EngineTopics
from perdure_topics.ports import LogError, LogUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.ports import Log, TopicInfo

TOPIC_AGAIN_S: Final = 1.0
"""What is known of a topic is asked again after so long."""


class Targets:
    """What the log says of the topics that are published to."""

    def __init__(self, log: Log, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._known: dict[str, tuple[float, TopicInfo | None]] = {}
        self._ours = EngineTopics(log)

    def problem_of(self, target: str) -> str:
        """Why nothing can be published to a target now; empty when nothing speaks against it.

        Raises LogUnavailableError when the log cannot be reached.
        """
        topic, _, partition = target.partition("#")
        try:
            found = self._topic(topic)
            if found is None:
                return (
                    f"there is no topic {topic!r} on {self._log.address}: make it, and what was"
                    " emitted to it is published"
                )
            if partition and int(partition) >= found.partitions:
                return (
                    f"topic {topic!r} has {found.partitions} partitions, and a record is for"
                    f" partition {partition}: add partitions, and what was emitted to it is"
                    " published"
                )
            return self._ours.refusal_of(found)
        except LogUnavailableError:
            raise
        except LogError as error:
            # As of a right that is missing: that is about this topic, and no other.
            return str(error)

    def _topic(self, name: str) -> TopicInfo | None:
        asked_s, found = self._known.get(name, (0.0, None))
        if found is None or self._clock() - asked_s > TOPIC_AGAIN_S:
            found = self._log.topic(name)
            self._known[name] = (self._clock(), found)
        return found

    def forget(self) -> None:
        """Ask again."""
        self._known.clear()
