"""The log of an engine in another process of this machine, behind the Log port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_topics.ports import TopicInfo
from perdure_topics.remote.link import Link
from perdure_topics.remote.remote_readers import RemoteGroupReader, RemoteMember, RemoteTail
from perdure_topics.remote.remote_writer import RemoteAppender
from perdure_topics.wire import frames

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perdure_topics.ports import TopicSpec


class RemoteLog:
    """An engine's log. Open it with `RemoteLog.connect`."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @classmethod
    def connect(cls, url: str, *, wait_s: float = 10.0, api_key: str = "") -> RemoteLog:
        """Connect to the engine or gateway at http://HOST:PORT; it connects again by itself.

        Raises LogUnavailableError when it was not reached in this time, LogError when the
        address is none, or the engine and this release do not understand each other,
        LogDeniedError when the key is not known there.
        """
        link = Link(url, api_key=api_key)
        link.start(wait_s)
        return cls(link)

    def use_api_key(self, api_key: str) -> None:
        """Say another key from the next connection on."""
        self._link.api_key = api_key

    @property
    def address(self) -> str:
        """Where this log is, for messages to people."""
        return self._link.address

    @property
    def cluster_id(self) -> str:
        """Which log this is."""
        return self._link.cluster_id

    @property
    def has_one_copy(self) -> bool:
        """No host runs on a log of another process, so no table does."""
        return False

    def topic(self, name: str) -> TopicInfo | None:
        """What the log says of a topic, None when there is none.

        Raises LogUnavailableError when the engine cannot be reached.
        """
        found = self._link.call(lambda ask: frames.AskTopic(ask, name)).topic
        return None if found is None else TopicInfo(*found)

    def topic_names(self) -> list[str]:
        """The names of all topics. Raises LogUnavailableError as topic does."""
        return self._link.call(frames.AskNames).names or []

    def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Make topics that do not exist. Raises LogError when one cannot be made."""
        rows: list[frames.SpecRow] = [spec[:] for spec in specs]
        self._link.call(lambda ask: frames.MakeTopics(ask, rows))

    def offsets(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset of a partition that is still there, and the one after its last."""
        found = self._link.call(lambda ask: frames.AskOffsets(ask, topic, partition)).offsets
        assert found is not None
        return found

    def group_members(self, group: str) -> int:
        """How many members a consumer group has now."""
        return self._link.call(lambda ask: frames.AskMembers(ask, group)).number or 0

    def broker_count(self) -> int:
        """How many brokers hold this log: the engine."""
        return 1

    def appender(self, *, on_ready: Callable[[], None], timeout_ms: int = 30_000) -> RemoteAppender:
        """Open a writer incarnation. A timeout of 0 waits for the engine for ever."""
        return RemoteAppender(self._link, on_ready=on_ready, timeout_ms=timeout_ms)

    def tail(self, *, on_ready: Callable[[], None], committed: bool) -> RemoteTail:
        """Open a reader of hand-assigned partitions; there are no transactions to hide."""
        return RemoteTail(self._link, on_ready=on_ready)

    def member(self, group: str, topic: str, *, on_ready: Callable[[], None]) -> RemoteMember:
        """Join a consumer group for its assignments only."""
        return RemoteMember(self._link, group, topic, on_ready=on_ready)

    def group_reader(
        self, group: str, topic: str, *, on_ready: Callable[[], None]
    ) -> RemoteGroupReader:
        """Join a consumer group and read what it assigns, from the earliest when it is new."""
        return RemoteGroupReader(self._link, group, topic, on_ready=on_ready)

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Delete the records below an offset. Raises LogError when that is refused."""
        self._link.call(lambda ask: frames.DeleteBefore(ask, topic, partition, offset))

    def close(self) -> None:
        """Send what was handed over, and let go of the engine."""
        self._link.close(flush_s=1.0)
