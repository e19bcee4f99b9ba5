"""Asking and ordering the Kafka broker: topics, their settings, groups, deletions."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import (
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from perdure_topics.forks import keep_in_forks
from perdure_topics.kafka.access import AccessError
from perdure_topics.kafka.settings import PASSING_ANSWERS, is_away, log_error
from perdure_topics.ports import LogError, LogUnavailableError, TopicInfo, TopicSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perdure_topics.kafka.settings import Settings

_LOG = logging.getLogger(__name__)
_UNKNOWN: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})
SILENT_S: Final = 4.0
"""A client to which nothing was answered for so long is replaced."""
METADATA_S: Final = 1.0
# Said of a connection that was made and not let in.
_REFUSED: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})
_AGAIN_S: Final = 0.05
# After a topic was made every broker must have heard of it before anyone uses it.
_VISIBLE_S: Final = 10.0


class KafkaAdmin:
    """What is asked of the broker itself. Calls block up to the timeout, on any thread."""

    def __init__(self, settings: Settings, *, address: str, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._refused = ""
        """What the broker, or TLS, last said when a connection was refused."""
        self._settings: Settings = {**settings, "error_cb": self._note}
        self._silent_since: float | None = None
        """Since when nothing that was asked has been answered."""
        self.replaced = 0
        """How many clients were given up because nothing answered them."""
        try:
            self._client = AdminClient(self._settings)
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
        client = self._asking()
        client.poll(0)
        try:
            is_there = bool(client.list_topics(timeout=timeout_s).brokers)
        except KafkaException:
            return False
        self._refused = ""
        self._silent_since = None
        return is_there

    def _asking(self) -> AdminClient:
        """The client to ask; one that nothing has answered for too long is replaced.

        One that asks around the end of a broker's pause may not find back to it by itself.
        """
        now = time.monotonic()
        with self._lock:
            if self._silent_since is None:
                self._silent_since = now
            elif now - self._silent_since > SILENT_S:
                self._silent_since = now
                self.replaced += 1
                old, self._client = self._client, AdminClient(self._settings)
                # It ends with the last call that is in it, and never in the way of this one.
                threading.Thread(
                    target=_forget, args=([old],), name="perdure-kafka-end", daemon=True
                ).start()
            return self._client

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

    def validate_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Ask the broker whether it would make topics. Raises LogError with what it says."""
        self._order_topics(specs, is_dry=True)

    def _order_topics(self, specs: Sequence[TopicSpec], *, is_dry: bool) -> None:
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
        made = self._client.create_topics(
            wanted, request_timeout=self._timeout_s, validate_only=is_dry
        )
        for name, future in made.items():
            self._ask(
                f"make topic {name!r}",
                partial(self._result, future),
                unknown=frozenset({KafkaError.TOPIC_ALREADY_EXISTS}),
            )

    def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Make topics that do not exist, and wait until they can be used."""
        self._order_topics(specs, is_dry=False)
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
            self._asking()
            try:
                found = call()
            except KafkaException as error:
                cause: KafkaError = error.args[0]
                if not is_away(cause):
                    self._silent_since = None
                if cause.code() in unknown:
                    return None
                waited = time.monotonic() - started
                if cause.code() not in PASSING_ANSWERS or waited > self._timeout_s:
                    refusal = self._refusal() if is_away(cause) else ""
                    raise log_error(
                        f"cannot {what}", self._address, waited, cause, also=refusal
                    ) from error
                time.sleep(_AGAIN_S)
                self._look_afresh()
            except TimeoutError as error:
                waited = time.monotonic() - started
                raise LogUnavailableError(
                    f"cannot {what}: no answer from the Kafka broker at {self._address} "
                    f"for {waited:.1f} s: is it running, and is the address right?"
                ) from error
            else:
                self._silent_since = None
                return found

    def _look_afresh(self) -> None:
        """Fetch metadata: a client goes on with the leader, and its epoch, that it knew."""
        try:
            self._client.list_topics(timeout=METADATA_S)
        except KafkaException as error:
            _LOG.debug("metadata of %s: %s", self._address, error)


def _forget(clients: list[AdminClient]) -> None:
    """Let go of a client, however long its end takes."""
    clients.clear()
