"""The log of a simulated world: what one process of it sees of the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_topics.ports import LogError, TopicInfo, TopicSpec
from perdure_topics.simulated.broker import SimulatedBroker, SimulatedNode
from perdure_topics.simulated.clients import SimulatedAppender, SimulatedTail
from perdure_topics.simulated.faults import FaultPlan
from perdure_topics.simulated.simulated_groups import (
    SimulatedGroup,
    SimulatedGroupReader,
    SimulatedMember,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["FaultPlan", "SimulatedBroker", "SimulatedLog", "SimulatedNode"]


class SimulatedLog:
    """One process's way to a simulated broker; make one for each process of the world.

    Nothing here has a thread: all comes when the world turns the broker's time. A fault of the
    process is told to the broker: `broker.crash(log.node)`, `broker.pause(log.node)`.
    """

    def __init__(self, broker: SimulatedBroker, name: str = "process") -> None:
        self.broker = broker
        self.node = SimulatedNode(name)

    @property
    def address(self) -> str:
        """Where this log is, for messages to people."""
        return "simulated://"

    @property
    def cluster_id(self) -> str:
        """Which log this is."""
        return "simulated"

    @property
    def has_one_copy(self) -> bool:
        """Brokers have others: a table ahead of the log is made anew."""
        return False

    def topic(self, name: str) -> TopicInfo | None:
        """What the log says of a topic, None when there is none."""
        self.broker.check_there(f"describe topic {name!r}")
        found = self.broker.topics.get(name)
        return None if found is None else found[0]

    def topic_names(self) -> list[str]:
        """The names of all topics."""
        self.broker.check_there("list the topics")
        return sorted(self.broker.topics)

    def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Make topics that do not exist."""
        self.broker.check_there("make topics")
        for spec in specs:
            self.broker.create(spec)

    def offsets(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset of a partition that is still there, and the one after its last."""
        self.broker.check_there(f"ask for the offsets of {topic}")
        where = self.broker.partition(topic, partition)
        return where.base, where.end

    def group_members(self, group: str) -> int:
        """How many members a consumer group has now."""
        self.broker.check_there(f"count the members of group {group!r}")
        return sum(
            found.member_count for (name, _), found in self.broker.groups.items() if name == group
        )

    def broker_count(self) -> int:
        """How many brokers hold this log."""
        return 1

    def appender(
        self, *, on_ready: Callable[[], None], timeout_ms: int = 30_000
    ) -> SimulatedAppender:
        """Open a writer incarnation. A timeout of 0 tries for ever."""
        return SimulatedAppender(self.broker, self.node, on_ready=on_ready, timeout_ms=timeout_ms)

    def tail(self, *, on_ready: Callable[[], None], committed: bool) -> SimulatedTail:
        """Open a reader of hand-assigned partitions; committed hides foreign open transactions."""
        return SimulatedTail(self.broker, self.node, on_ready=on_ready, committed=committed)

    def member(self, group: str, topic: str, *, on_ready: Callable[[], None]) -> SimulatedMember:
        """Join a consumer group for its assignments only."""
        return SimulatedMember(self._group(group, topic), self.node, on_ready=on_ready)

    def group_reader(
        self, group: str, topic: str, *, on_ready: Callable[[], None]
    ) -> SimulatedGroupReader:
        """Join a consumer group and read what it assigns, from the earliest when it is new."""
        return SimulatedGroupReader(self._group(group, topic), self.node, on_ready=on_ready)

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Delete the records below an offset. Raises LogError when that is refused."""
        self.broker.check_there(f"delete records of {topic}")
        where = self.broker.partition(topic, partition)
        if offset > where.end:
            raise LogError(f"{topic}-{partition} ends at {where.end}: cannot delete to {offset}")
        if offset > where.base:
            where.deleted += where.records[: offset - where.base]
            del where.records[: offset - where.base]
            where.base = offset

    def close(self) -> None:
        """Let go of the log; what was opened from it must be closed before."""

    def _group(self, group: str, topic: str) -> SimulatedGroup:
        if topic not in self.broker.topics:
            raise LogError(f"topic {topic!r} does not exist")
        found = self.broker.groups.get((group, topic))
        if not isinstance(found, SimulatedGroup):
            found = self.broker.groups[group, topic] = SimulatedGroup(self.broker, topic)
        return found
