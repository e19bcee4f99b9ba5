"""The log on Kafka: opens writers, readers, group members and the admin on one cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer

from perdure_topics.kafka.admin import KafkaAdmin
from perdure_topics.kafka.group import KafkaGroupReader, KafkaMember
from perdure_topics.kafka.offsets import OffsetQueries
from perdure_topics.kafka.producers import PipePool
from perdure_topics.kafka.reader import KafkaTail
from perdure_topics.kafka.schema_registry import open_registry
from perdure_topics.kafka.settings import (
    HOST_POLL_INTERVAL_MAX_MS,
    POLL_INTERVAL_MAX_MS,
    admin_settings,
    group_settings,
    reader_settings,
    writer_settings,
)
from perdure_topics.kafka.watch import BrokerWatch
from perdure_topics.kafka.writer import KafkaAppender
from perdure_topics.ports import LogUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from perdure_topics.ports import TopicInfo, TopicSpec
    from perdure_topics.schema_registry_port import SchemaRegistry

CALL_TIMEOUT_S = 10.0


class KafkaLog:
    """The log on a Kafka cluster. Opening it asks nothing of the broker; calls do."""

    def __init__(
        self,
        bootstrap: str,
        *,
        client_settings: Mapping[str, Any] | None = None,
        call_timeout_s: float = CALL_TIMEOUT_S,
        group_protocol: str = "classic",
    ) -> None:
        if group_protocol not in {"classic", "consumer"}:
            raise ValueError(f"group_protocol is 'classic' or 'consumer', not {group_protocol!r}")
        self._bootstrap = bootstrap
        self._extra = dict(client_settings or {})
        self._group_protocol = group_protocol
        self._registry: SchemaRegistry | None = None
        self._cluster_id = ""
        self._admin = KafkaAdmin(
            admin_settings(bootstrap, self._extra), address=bootstrap, timeout_s=call_timeout_s
        )
        self._watch = BrokerWatch(bootstrap, self._admin.answers)
        # As one that hides nothing: what open transactions hold back counts as appended.
        asking = reader_settings(bootstrap, self._extra, committed=False)
        self._queries = OffsetQueries(
            lambda: Consumer({**asking, "error_cb": self._watch.error}),
            address=bootstrap,
            timeout_s=call_timeout_s,
        )
        self._pool = PipePool(
            lambda timeout_ms: writer_settings(bootstrap, self._extra, timeout_ms=timeout_ms),
            self._watch,
            self._admin.bytes_max,
        )

    @property
    def address(self) -> str:
        """Where this log is, for messages to people."""
        return self._bootstrap

    @property
    def cluster_id(self) -> str:
        """Which log this is. Raises LogUnavailableError when it was never reached."""
        if not self._cluster_id:
            self._cluster_id = self._admin.cluster()[0]
        return self._cluster_id

    @property
    def has_one_copy(self) -> bool:
        """Brokers have others: a table ahead of the log is made anew."""
        return False

    def topic(self, name: str) -> TopicInfo | None:
        """What the log says of a topic, None when there is none.

        A broker that is known to be away is not waited for: some who ask have other work.
        """
        away_s = self._watch.away_s
        if away_s is not None:
            raise LogUnavailableError(
                f"cannot describe topic {name!r}: no answer from the Kafka broker at"
                f" {self._bootstrap} for {away_s:.1f} s: is it running, and is the address right?"
            )
        return self._admin.topic(name)

    def topic_names(self) -> list[str]:
        """The names of all topics."""
        return self._admin.topic_names()

    def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Make topics that do not exist. Raises LogError when one cannot be made."""
        self._admin.create_topics(specs)

    def validate_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Ask whether topics would be made, and make none. Raises LogError with what is said."""
        self._admin.validate_topics(specs)

    def offsets(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset of a partition that is still there, and the one after its last."""
        return self._queries.offsets(topic, partition)

    def group_members(self, group: str) -> int:
        """How many members a consumer group has now."""
        return self._admin.group_members(group)

    def broker_count(self) -> int:
        """How many brokers hold this log."""
        return self._admin.cluster()[1]

    def appender(self, *, on_ready: Callable[[], None], timeout_ms: int = 30_000) -> KafkaAppender:
        """Open a writer incarnation. A timeout of 0 tries for ever."""
        return KafkaAppender(self._pool, on_ready=on_ready, timeout_ms=timeout_ms)

    def tail(self, *, on_ready: Callable[[], None], committed: bool) -> KafkaTail:
        """Open a reader of hand-assigned partitions; committed hides foreign open transactions."""
        return KafkaTail(
            reader_settings(self._bootstrap, self._extra, committed=committed),
            on_ready=on_ready,
            watch=self._watch,
            probe=self._queries.ask,
            exists=self._admin.exists,
        )

    def member(self, group: str, topic: str, *, on_ready: Callable[[], None]) -> KafkaMember:
        """Join a consumer group for its assignments only."""
        settings = self._group_settings(group, HOST_POLL_INTERVAL_MAX_MS)
        return KafkaMember(settings, topic, on_ready=on_ready, watch=self._watch)

    def group_reader(
        self, group: str, topic: str, *, on_ready: Callable[[], None]
    ) -> KafkaGroupReader:
        """Join a consumer group and read what it assigns, from the earliest when it is new."""
        return KafkaGroupReader(
            self._group_settings(group),
            topic,
            on_ready=on_ready,
            watch=self._watch,
            ends=self._queries.ends,
        )

    def registry(self) -> SchemaRegistry | None:
        """Where the schemas of foreign producers' commands are, if the settings name a registry.

        Raises ValueError for settings of it that cannot be used.
        """
        if self._registry is None:
            self._registry = open_registry(self._extra)
        return self._registry

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Delete the records below an offset. Raises LogError when that is refused."""
        self._admin.delete_before(topic, partition, offset)

    def close(self) -> None:
        """Let go of the log; what was opened from it must be closed before."""
        if self._registry is not None:
            self._registry.close()
        self._watch.close()
        self._pool.close()
        self._queries.close()
        self._admin.close()

    def _group_settings(
        self, group: str, poll_interval_ms: int = POLL_INTERVAL_MAX_MS
    ) -> dict[str, Any]:
        return group_settings(
            self._bootstrap,
            self._extra,
            group=group,
            protocol=self._group_protocol,
            poll_interval_ms=poll_interval_ms,
        )
