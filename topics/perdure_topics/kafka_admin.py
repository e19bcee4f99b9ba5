"""Asking and ordering the Kafka broker: topics, their settings, ends of partitions, deletions."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from perdure_topics.forks import keep_in_forks
from perdure_topics.kafka_access import AccessError
from perdure_topics.kafka_settings import is_away, log_error
from perdure_topics.ports import LogError, LogUnavailableError, TopicInfo, TopicSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perdure_topics.kafka_settings import Settings

_UNKNOWN: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})
# A partition that is moving, or a broker that has just started and does not know its own epochs
# yet: a moment later both sides know the leader.
_TRY_AGAIN: Final = frozenset(
    {
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_CONTROLLER,
    }
)
# Said of a connection that was made and not let in.
_REFUSED: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})
_AGAIN_S: Final = 0.05
# After a topic was made every broker must have heard of it before anyone uses it.
_VISIBLE_S: Final = 10.0
_EARLIEST: Final[Any] = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: Final[Any] = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class KafkaEndProbe:
    """A question for the end of a partition that is on its way."""

    def __init__(
        self, where: str, address: str, timeout_s: float, ask: Callable[[], Future[Any]]
    ) -> None:
        self._where = where
        self._address = address
        self._ask = ask
        self._since = time.monotonic()
        self._timeout_s = timeout_s
        self._asked: Future[Any] = ask()

    def end(self) -> int | None:
        """The offset after all that was appended, once answered; None until then.

        Raises LogError when the broker could not say within the call timeout.
        """
        if not self._asked.done():
            return None
        try:
            return int(self._asked.result().offset)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            waited = time.monotonic() - self._since
            if cause.code() not in _TRY_AGAIN or waited > self._timeout_s:
                raise log_error(f"end of {self._where}", self._address, waited, cause) from error
            # Asked again in a moment; that answer rings the owner's bell as the first would.
            self._asked = Future()
            threading.Timer(_AGAIN_S, self._again).start()
            return None

    def _again(self) -> None:
        self._asked = self._ask()


class KafkaAdmin:
    """What is asked of the broker itself. Calls block up to the timeout, on any thread."""

    def __init__(self, settings: Settings, *, address: str, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._refused = ""
        """What the broker, or TLS, last said when a connection was refused."""
        heard: Settings = {**settings, "error_cb": self._note}
        try:
            self._client = AdminClient(heard)
            keep_in_forks(self)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            raise AccessError(
                f"the settings for the Kafka broker at {address} cannot be used: {cause.str()}"
            ) from error
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="perdure-kafka-admin")
        self._lock = threading.Lock()
        self._bytes_max: dict[str, int | None] = {}

    def close(self) -> None:
        """Answer no more."""
        self._helper.shutdown(wait=False, cancel_futures=True)

    def _note(self, error: KafkaError) -> None:
        if error.code() in _REFUSED:
            self._refused = str(error.str())

    def _refusal(self) -> str:
        """Why connections are refused, for an error message; empty when they are not."""
        self._client.poll(0)
        return f"; it refused the connection: {self._refused}" if self._refused else ""

    def cluster(self) -> tuple[str, int]:
        """The cluster's id and how many brokers it has."""
        metadata = self._ask("ask for the cluster", self._list_topics)
        return str(metadata.cluster_id or ""), len(metadata.brokers)

    def answers(self, timeout_s: float) -> bool:
        """Whether the broker is there, asked now."""
        self._client.poll(0)
        try:
            is_there = bool(self._client.list_topics(timeout=timeout_s).brokers)
        except KafkaException:
            return False
        self._refused = ""
        return is_there

    def topic_names(self) -> list[str]:
        """The names of all topics but Kafka's own."""
        metadata = self._ask("list the topics", self._list_topics)
        return sorted(name for name in metadata.topics if not name.startswith("__"))

    def topic(self, name: str) -> TopicInfo | None:
        """What the broker says of a topic, None when there is none."""
        described = self._ask(
            f"describe topic {name!r}",
            lambda: self._result(
                self._client.describe_topics(
                    TopicCollection([name]), request_timeout=self._timeout_s
                )[name]
            ),
            unknown=_UNKNOWN,
        )
        if described is None:
            return None
        resource = ConfigResource(ResourceType.TOPIC, name)
        entries = self._ask(
            f"read the settings of topic {name!r}",
            lambda: self._result(
                self._client.describe_configs([resource], request_timeout=self._timeout_s)[resource]
            ),
            unknown=_UNKNOWN,
        )
        if entries is None:
            return None
        settings = {key: str(entry.value) for key, entry in entries.items()}
        with self._lock:
            self._bytes_max[name] = int(settings["max.message.bytes"])
        return TopicInfo(
            name=name,
            topic_id=str(described.topic_id),
            partitions=len(described.partitions),
            replication=min(len(part.replicas) for part in described.partitions),
            settings=settings,
        )

    def bytes_max(self, name: str) -> int | None:
        """The largest record a topic takes; None while that is being asked."""
        try:
            return self._bytes_max[name]
        except KeyError:
            with self._lock:
                self._bytes_max.setdefault(name, None)
            self.later(lambda: self._learn_size(name))
            return None

    def exists(self, name: str, tell: Callable[[bool], None]) -> None:
        """Find out on a thread whether a topic is there; no word while nobody knows."""

        def ask() -> None:
            time.sleep(1.0)
            try:
                there = self.topic(name) is not None
            except LogError:
                return
            tell(there)

        self.later(ask)

    def later(self, task: Callable[[], object]) -> None:
        """Do it on the helper thread."""
        try:
            self._helper.submit(task)
        except RuntimeError:
            return  # Closed meanwhile.

    def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Make topics that do not exist, and wait until they can be used."""
        wanted = [
            NewTopic(
                spec.name,
                num_partitions=spec.partitions,
                replication_factor=spec.replication,
                config=spec.settings,
            )
            for spec in specs
        ]
        if not wanted:
            return
        made = self._client.create_topics(wanted, request_timeout=self._timeout_s)
        for name, future in made.items():
            self._ask(
                f"make topic {name!r}",
                partial(self._result, future),
                unknown=frozenset({KafkaError.TOPIC_ALREADY_EXISTS}),
            )
        deadline = time.monotonic() + _VISIBLE_S
        for spec in specs:
            while not self._usable(spec.name):
                if time.monotonic() > deadline:
                    raise LogError(
                        f"topic {spec.name!r} was made at {self._address} but has no leaders "
                        f"after {_VISIBLE_S:.0f} s"
                    )
                time.sleep(0.02)
            self.topic(spec.name)

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Delete the records below an offset. Raises LogError when that is refused."""
        where = TopicPartition(topic, partition, offset)
        self._ask(
            f"delete {topic}-{partition} below {offset}",
            lambda: self._result(
                self._client.delete_records([where], request_timeout=self._timeout_s)[where]
            ),
        )

    def probe_end(self, topic: str, partition: int, on_ready: Callable[[], None]) -> KafkaEndProbe:
        """Ask where a partition ends, without waiting."""
        where = TopicPartition(topic, partition)

        def ask() -> Future[Any]:
            asked = self._client.list_offsets(
                {where: _LATEST},
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=self._timeout_s,
            )[where]
            asked.add_done_callback(lambda _: on_ready())
            return asked

        return KafkaEndProbe(f"{topic}-{partition}", self._address, self._timeout_s, ask)

    def ends(self, topic: str, partitions: list[int]) -> dict[int, int]:
        """Where partitions end now. Raises LogError when the broker cannot say."""
        return self._offsets(topic, partitions, _LATEST)

    def offsets(self, topic: str, partition: int) -> tuple[int, int]:
        """Where a partition begins and ends now. Raises LogError when the broker cannot say."""
        first = self._offsets(topic, [partition], _EARLIEST)
        last = self._offsets(topic, [partition], _LATEST)
        return first[partition], last[partition]

    def group_members(self, group: str) -> int:
        """How many members a group has now. Raises LogError when the broker cannot say."""

        def describe() -> Any:
            asked = self._client.describe_consumer_groups([group], request_timeout=self._timeout_s)
            return self._result(asked[group])

        found = self._ask(
            f"count the members of group {group!r}",
            describe,
            unknown=frozenset({KafkaError.GROUP_ID_NOT_FOUND}),
        )
        return 0 if found is None else len(found.members)

    def _offsets(self, topic: str, partitions: list[int], spec: Any) -> dict[int, int]:
        wanted = {TopicPartition(topic, partition): spec for partition in partitions}

        def ask() -> dict[int, int]:
            asked = self._client.list_offsets(wanted, request_timeout=self._timeout_s)
            return {
                where.partition: int(self._result(future).offset) for where, future in asked.items()
            }

        found: dict[int, int] = self._ask(f"ask for the offsets of {topic}", ask)
        return found

    def _usable(self, name: str) -> bool:
        try:
            found = self._client.list_topics(name, timeout=self._timeout_s).topics[name]
        except KafkaException:
            return False
        return found.error is None and all(
            part.leader >= 0 and part.error is None for part in found.partitions.values()
        )

    def _learn_size(self, name: str) -> None:
        try:
            found = self.topic(name)
        except LogError:
            found = None
        if found is None:
            # Asked again at the next record.
            with self._lock:
                self._bytes_max.pop(name, None)

    def _list_topics(self) -> Any:
        return self._client.list_topics(timeout=self._timeout_s)

    def _result(self, future: Future[Any]) -> Any:
        return future.result(self._timeout_s + 1.0)

    def _ask(
        self,
        what: str,
        call: Callable[[], Any],
        *,
        unknown: frozenset[int] = frozenset(),
    ) -> Any:
        """Make a call, with its errors in our words; None for an error named as no error."""
        started = time.monotonic()
        while True:
            try:
                return call()
            except KafkaException as error:
                cause: KafkaError = error.args[0]
                if cause.code() in unknown:
                    return None
                waited = time.monotonic() - started
                if cause.code() not in _TRY_AGAIN or waited > self._timeout_s:
                    refusal = self._refusal() if is_away(cause) else ""
                    raise log_error(
                        f"cannot {what}", self._address, waited, cause, also=refusal
                    ) from error
                time.sleep(_AGAIN_S)
            except TimeoutError as error:
                waited = time.monotonic() - started
                raise LogUnavailableError(
                    f"cannot {what}: no answer from the Kafka broker at {self._address} "
                    f"for {waited:.1f} s: is it running, and is the address right?"
                ) from error
