"""The embedded log: one durable local log in RocksDB behind the Log port, with no broker."""

from __future__ import annotations

import logging
import uuid
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final

from perdure_topics.clock import SteadyClock, SystemClock
from perdure_topics.embedded.commit import Committer, EmbeddedAppender
from perdure_topics.embedded.groups import Group
from perdure_topics.embedded.partition import EmbeddedPartition, EmbeddedTopic
from perdure_topics.embedded.readers import EmbeddedGroupReader, EmbeddedMember, EmbeddedTail
from perdure_topics.embedded.store import EmbeddedStore, TopicRow, pack_offset
from perdure_topics.names import PARTITIONS_MAX
from perdure_topics.ports import LogError, PositionLostError
from perdure_topics.waker import Doorbell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perdure_topics.ports import Clock, TopicInfo, TopicSpec

_LOG = logging.getLogger(__name__)
DIRECTORY: Final = "log"
"""The log's place in a data directory; tables stand beside it."""
HOUSEKEEPING_S: Final = 0.25
RETENTION_EVERY_MS: Final = 60_000
VOLATILE_STEP: Final = 2**34
"""Offsets of replies go on so much higher after a restart, so none is used twice."""
_NAME_SIGNS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class EmbeddedLog:
    """A log in one directory, owned by one process. Open it with `EmbeddedLog.open`."""

    def __init__(self, store: EmbeddedStore, clock: Clock) -> None:
        self._store = store
        self._lock = Lock()
        self._topics: dict[str, EmbeddedTopic] = {}
        self._groups: dict[tuple[str, str], Group] = {}
        self._broken: str | None = None
        self._retained_ms = 0
        self._bell = Doorbell()
        self._closed = False
        last_ms = 0
        for name, row in store.topics().items():
            last_ms = max(last_ms, self._load(name, row))
        self._committer = Committer(
            store,
            wall_ms=SteadyClock(clock, least_ms=last_ms).wall_ms,
            last_ms=last_ms,
            on_reopened=self._reload,
            on_damaged=self._break,
        )
        self._committer.start()
        self._housekeeper = Thread(target=self._keep_house, name="perdure-log-house", daemon=True)
        self._housekeeper.start()

    @classmethod
    def open(cls, directory: str | Path, *, clock: Clock | None = None) -> EmbeddedLog:
        """Open or make the log of a data directory.

        Raises LogError when another process owns it, and when it is damaged.
        """
        store = EmbeddedStore(Path(directory).absolute() / DIRECTORY)
        try:
            return cls(store, clock or SystemClock())
        except BaseException:
            store.close()
            raise

    @property
    def address(self) -> str:
        """Where this log is, for messages to people."""
        return f"file:{self._store.directory.parent}"

    @property
    def cluster_id(self) -> str:
        """Which log this is; tables of another are wiped."""
        return self._store.cluster_id

    @property
    def has_one_copy(self) -> bool:
        """Nobody else has these records: a table that is ahead of them is kept."""
        return True

    def topic(self, name: str) -> TopicInfo | None:
        """What the log says of a topic, None when there is none."""
        found = self._topics.get(name)
        return None if found is None else found.info()

    def topic_names(self) -> list[str]:
        """The names of all topics."""
        return sorted(self._topics)

    def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Make topics that do not exist. Raises LogError when one cannot be made."""
        with self._lock:
            rows: dict[str, TopicRow] = {}
            number = max((topic.row.number for topic in self._topics.values()), default=0)
            for spec in specs:
                if spec.name in self._topics or spec.name in rows:
                    continue
                _check_spec(spec)
                number += 1
                rows[spec.name] = TopicRow(
                    number=number,
                    topic_id=uuid.uuid4().hex,
                    partitions=spec.partitions,
                    settings=dict(spec.settings),
                )
            if rows:
                self._guarded(lambda: self._store.add_topics(rows))
            for name, row in rows.items():
                self._load(name, row)

    def offsets(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset of a partition that is still there, and the one after its last."""
        found = self.place(topic, partition)
        return found.start, found.end

    def group_members(self, group: str) -> int:
        """How many members a consumer group has now."""
        found = [one for (name, _), one in list(self._groups.items()) if name == group]
        return sum(one.member_count for one in found)

    def broker_count(self) -> int:
        """How many brokers hold this log: this process."""
        return 1

    def appender(
        self, *, on_ready: Callable[[], None], timeout_ms: int = 30_000
    ) -> EmbeddedAppender:
        """Open a writer incarnation. Nothing waits here, so the timeout does not matter."""
        return EmbeddedAppender(self._committer, self._find, on_ready=on_ready)

    def tail(self, *, on_ready: Callable[[], None], committed: bool) -> EmbeddedTail:
        """Open a reader of hand-assigned partitions; there are no transactions to hide."""
        return EmbeddedTail(self._store, self.place, on_ready=on_ready)

    def member(self, group: str, topic: str, *, on_ready: Callable[[], None]) -> EmbeddedMember:
        """Join a consumer group for its assignments only."""
        return EmbeddedMember(self.group(group, topic), on_ready=on_ready)

    def group_reader(
        self, group: str, topic: str, *, on_ready: Callable[[], None]
    ) -> EmbeddedGroupReader:
        """Join a consumer group and read what it assigns, from the earliest when it is new."""
        return EmbeddedGroupReader(self.group(group, topic), self._store, on_ready=on_ready)

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Delete the records below an offset. Raises LogError when that is refused."""
        found = self.place(topic, partition)
        if offset > found.end:
            msg = (
                f"{topic} partition {partition} ends at {found.end}; nothing to delete at {offset}"
            )
            raise PositionLostError(msg)
        self._cut(found, offset)

    def close(self) -> None:
        """Write and sync what is queued, and let go of the directory."""
        if self._closed:
            return
        self._closed = True
        self._bell.ring()
        self._housekeeper.join()
        self._committer.stop()
        self._store.close()

    # What the engine's server uses beside the port.

    @property
    def store(self) -> EmbeddedStore:
        """What is on disk, to read older records from."""
        return self._store

    def place(self, topic: str, partition: int) -> EmbeddedPartition:
        """A partition. Raises LogError when there is none such."""
        found = self._find(topic)
        if not 0 <= partition < len(found.partitions):
            msg = f"{topic} has partitions 0 to {len(found.partitions) - 1}, not {partition}"
            raise LogError(msg)
        return found.partitions[partition]

    def group(self, name: str, topic: str) -> Group:
        """A consumer group on a topic, made when it is new."""
        found = self._find(topic)
        with self._lock:
            if (name, topic) not in self._groups:
                self._groups[name, topic] = Group(name, found, self._store, self._committer)
            return self._groups[name, topic]

    def _find(self, name: str) -> EmbeddedTopic:
        if self._broken is not None:
            raise LogError(self._broken)
        found = self._topics.get(name)
        if found is None:
            msg = f"{self.address} has no topic {name}: make it first"
            raise LogError(msg)
        return found

    def _load(self, name: str, row: TopicRow) -> int:
        """Take a topic into memory; says the time of its newest record."""
        topic = EmbeddedTopic(name, row)
        newest_ms = 0
        for number in range(row.partitions):
            part = EmbeddedPartition(topic, number, start=0, end=0)
            start = self._store.number(part.start_key) or 0
            last = None if topic.volatile else self._store.last(row.number, number)
            part.start = start
            part.reset(start if last is None else max(start, last[0] + 1))
            newest_ms = max(newest_ms, 0 if last is None else last[1])
            topic.partitions.append(part)
        if topic.volatile:
            # One step an opening: replies of this one cannot take the offsets of the next.
            self._store.write(
                (part.start_key, pack_offset(part.start + VOLATILE_STEP))
                for part in topic.partitions
            )
        self._topics[name] = topic
        return newest_ms

    def _reload(self) -> None:
        """After the store was reopened: go on where it says that the partitions end."""
        for topic in self._topics.values():
            if topic.volatile:
                continue
            for part in topic.partitions:
                last = self._store.last(topic.row.number, part.number)
                end = part.start if last is None else max(part.start, last[0] + 1)
                if end < part.end:
                    self._broken = (
                        f"{self._store.directory} lost records of {topic.name} partition "
                        f"{part.number} from offset {end} on when its disk failed: restart the "
                        f"engine, and check the disk"
                    )
                    _LOG.critical("%s", self._broken)
                part.reset(max(end, part.end))
                for bell in part.listeners:
                    bell()

    def _break(self, message: str) -> None:
        """Serve nothing any more, and say why."""
        self._broken = message

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except LogError:
            raise
        except Exception as error:
            msg = f"the log in {self._store.directory} cannot be written: {error}"
            raise LogError(msg) from error

    def _cut(self, part: EmbeddedPartition, offset: int) -> None:
        start = part.start
        if offset <= start:
            return
        # Readers are turned away first: they must not meet a half-deleted range.
        part.cut(offset)
        if not part.topic.volatile:
            self._guarded(lambda: self._store.cut(part.prefix, start, offset, part.start_key))

    def _keep_house(self) -> None:
        while not self._closed:
            self._bell.wait(HOUSEKEEPING_S)
            try:
                for group in list(self._groups.values()):
                    group.expire()
                self._store.keep_mark()
                now_ms = self._committer.now_ms()
                if now_ms - self._retained_ms >= RETENTION_EVERY_MS:
                    self._retained_ms = now_ms
                    self._retain(now_ms)
            except LogError as error:
                _LOG.warning("housekeeping of the log: %s", error)

    def _retain(self, now_ms: int) -> None:
        """Delete what is older than its topic's retention."""
        for topic in list(self._topics.values()):
            if topic.retention_ms < 0 or topic.volatile:
                continue
            oldest_ms = now_ms - topic.retention_ms
            for part in topic.partitions:
                self._cut(part, self._first_since(part, oldest_ms))

    def _first_since(self, part: EmbeddedPartition, oldest_ms: int) -> int:
        """The first offset that is not older; times never go back within a partition."""
        low, high = part.start, part.end
        while low < high:
            middle = (low + high) // 2
            at_ms = self._store.timestamp_ms(part.prefix, middle)
            if at_ms is not None and at_ms >= oldest_ms:
                high = middle
            else:
                low = middle + 1
        return low


def _check_spec(spec: TopicSpec) -> None:
    if not 0 < len(spec.name) <= 249 or not _NAME_SIGNS.issuperset(spec.name):
        msg = f"{spec.name[:60]!r} is no topic name: letters, digits, dots, dashes, underscores"
        raise LogError(msg)
    if not 1 <= spec.partitions <= PARTITIONS_MAX:
        msg = f"{spec.name}: 1 to {PARTITIONS_MAX} partitions, not {spec.partitions}"
        raise LogError(msg)
    for name in ("retention.ms", "max.message.bytes"):
        value = spec.settings.get(name, "0")
        if not value.removeprefix("-").isdigit():
            msg = f"{spec.name}: the setting {name} is {value!r}, not a number"
            raise LogError(msg)
