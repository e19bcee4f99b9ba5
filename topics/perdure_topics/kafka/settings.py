"""How librdkafka is set up for each purpose, and what its errors mean to us."""

from __future__ import annotations

import logging
from typing import Any, Final

from confluent_kafka import KafkaError

from perdure_schemas.avro import RECORD_BYTES_MAX
from perdure_topics.kafka.access import OF_GROUPS
from perdure_topics.ports import LogError, LogForbiddenError, LogUnavailableError

Settings = dict[str, Any]

# What the library itself says goes here; without a handler of the user's it goes nowhere.
LIBRARY_LOG: Final = logging.getLogger("perdure_topics.librdkafka")
LIBRARY_LOG.addHandler(logging.NullHandler())
_HEALING: Final = frozenset(
    {
        "FAIL",  # a connection ended: it makes another
        "ERROR",  # of one broker, or of all: it goes on trying
        "REQTMOUT",
        "TIMEOUT",
        "GETPID",
        "SESSTMOUT",
        "HBFAIL",
        "COORD",
        "OFFSET",
        "FETCH",
        "PARTCNT",
        "CONFWARN",  # of an experimental setting, which the protocol rests on
    }
)
_LASTING: Final = ("SASL", "SSL", "certificate", "authenti", "authoriz", "resolve")
"""What no repetition mends, wherever it is said."""


class _Quiet(logging.Filter):
    """Lines of trouble that heals by itself are for who looks closely; our own say what matters."""

    def filter(self, record: logging.LogRecord) -> bool:
        kind = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
        if kind not in _HEALING or any(word in record.getMessage() for word in _LASTING):
            return True
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return LIBRARY_LOG.isEnabledFor(logging.DEBUG)


LIBRARY_LOG.addFilter(_Quiet())

SESSION_TIMEOUT_MS: Final = 6_000
REBOOTSTRAP_MS: Final = 1_000
POLL_INTERVAL_MAX_MS: Final = 30_000
# A host is given 5 s first, so a host that stands still owns nothing after 30 s either.
HOST_POLL_INTERVAL_MAX_MS: Final = 25_000
# The largest record with its key, headers and framing; a request holds at least one of them.
MESSAGE_BYTES_MAX: Final = RECORD_BYTES_MAX + 1024 * 1024
# What one request to write holds of a partition, at most; a larger record goes alone.
REQUEST_RECORDS: Final = 10_000
REQUEST_BYTES: Final = 1_000_000

# Errors of the way to the broker: they say nothing about the record or the topic.
PASSING: Final = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._PURGE_QUEUE,
        KafkaError._PURGE_INFLIGHT,
        KafkaError._RESOLVE,
        KafkaError._FATAL,
        KafkaError._DESTROY,
    }
)
# Answers that the next minute mends: a partition that is moving, or a broker that has just started
# and does not know its own epochs yet. Metadata is fetched before the question is asked again.
PASSING_ANSWERS: Final = frozenset(
    {
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_CONTROLLER,
        # The library's own words while it has lost sight of a topic or a broker.
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._DESTROY_BROKER,
    }
)
_AWAY: Final = PASSING - {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._FATAL}


def shared_settings(bootstrap: str, extra: Settings) -> Settings:
    """What every client has; `extra` (TLS, SASL) wins over ours."""
    way = {
        name: value
        for name, value in extra.items()
        if not name.startswith("schema.registry.") and name not in OF_GROUPS
    }
    return {
        "bootstrap.servers": bootstrap,
        "client.id": "perdure",
        "socket.nagle.disable": True,
        "socket.keepalive.enable": True,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "retry.backoff.ms": 50,
        "topic.metadata.refresh.fast.interval.ms": 100,
        # A broker that wakes from a pause names no brokers at all for a moment, itself included. A
        # client that hears that has nobody left to ask, and began anew with the addresses it was
        # given only after 5 minutes.
        "metadata.recovery.strategy": "rebootstrap",
        "metadata.recovery.rebootstrap.trigger.ms": REBOOTSTRAP_MS,
        "allow.auto.create.topics": False,
        "log.connection.close": False,
        **way,
    }


def admin_settings(bootstrap: str, extra: Settings) -> Settings:
    """For the admin client. It is never polled, so its log lines would only pile up."""
    settings = shared_settings(bootstrap, extra)
    del settings["allow.auto.create.topics"]
    return {**settings, "log_level": 0}


def writer_settings(bootstrap: str, extra: Settings, *, timeout_ms: int) -> Settings:
    """For a producer."""
    settings = shared_settings(bootstrap, extra)
    del settings["allow.auto.create.topics"]
    return {
        **settings,
        "enable.idempotence": True,
        # A record that fails for good stops the producer instead of letting later ones overtake.
        "enable.gapless.guarantee": True,
        "acks": "all",
        # Connected at once: the first record of a producer took 0.5 s otherwise.
        "enable.sparse.connections": False,
        "linger.ms": 0,
        # Records gather while requests are under way; with 2 instead of 5 on the way more of
        # them do, which cost a quarter less processor time here and at the broker.
        "max.in.flight.requests.per.connection": 2,
        "batch.num.messages": REQUEST_RECORDS,
        "batch.size": REQUEST_BYTES,
        "message.timeout.ms": timeout_ms,
        "message.max.bytes": MESSAGE_BYTES_MAX,
        "queue.buffering.max.messages": 100_000,
        "queue.buffering.max.kbytes": 256 * 1024,
        "logger": LIBRARY_LOG,
    }


def reader_settings(bootstrap: str, extra: Settings, *, committed: bool) -> Settings:
    """For a consumer of hand-assigned partitions."""
    return {
        **shared_settings(bootstrap, extra),
        # The library wants a name; nobody joins this group.
        "group.id": "perdure-unused",
        "enable.auto.commit": False,
        # Connected at once, as writers are.
        "enable.sparse.connections": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed" if committed else "read_uncommitted",
        "enable.partition.eof": True,
        "check.crcs": True,
        "fetch.wait.max.ms": 50,
        "fetch.min.bytes": 1,
        "fetch.error.backoff.ms": 50,
        "fetch.message.max.bytes": 1024 * 1024,
        "receive.message.max.bytes": 100_000_000,
        "queued.min.messages": 10_000,
        "queued.max.messages.kbytes": 16 * 1024,
        "logger": LIBRARY_LOG,
    }


def group_settings(
    bootstrap: str,
    extra: Settings,
    *,
    group: str,
    protocol: str,
    poll_interval_ms: int = POLL_INTERVAL_MAX_MS,
) -> Settings:
    """For a member of a consumer group, by the classic protocol or KIP-848's."""
    settings = {
        **reader_settings(bootstrap, extra, committed=False),
        "group.id": group,
        "enable.partition.eof": False,
        "auto.offset.reset": "earliest",
        "max.poll.interval.ms": poll_interval_ms,
        "queued.min.messages": 500,
        "queued.max.messages.kbytes": 4 * 1024,
    }
    own = {name: value for name, value in extra.items() if name in OF_GROUPS}
    session_ms = int(own.pop("session.timeout.ms", SESSION_TIMEOUT_MS))
    if own.setdefault("group.protocol", protocol) == "consumer":
        # There the broker says how long a silent member stays one, per group.
        return {**settings, **own}
    return {
        **settings,
        **own,
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session_ms,
        "heartbeat.interval.ms": session_ms // 4,
    }


def is_away(error: KafkaError) -> bool:
    """Whether an error says that the broker cannot be reached."""
    return error.code() in _AWAY


_NOT_ALLOWED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)


def remedy_of(error: KafkaError) -> str:
    """What to do about an error that says a right is missing; empty for others."""
    if error.code() not in _NOT_ALLOWED:
        return ""
    return "; the broker's rights do not allow it: `perdure acls ROLE` lists what each role needs"


def log_error(
    what: str, address: str, waited_s: float, error: KafkaError, *, also: str = ""
) -> LogError:
    """What a failed call raises."""
    if is_away(error):
        return LogUnavailableError(
            f"{what}: no answer from the Kafka broker at {address} for {waited_s:.1f} s "
            f"({error.name()}): is it running, and is the address right?{also}"
        )
    # An answer that passes is no answer yet: whoever asked does not know.
    kind = LogUnavailableError if error.code() in PASSING_ANSWERS else LogError
    if error.code() in _NOT_ALLOWED:
        kind = LogForbiddenError
    return kind(
        f"{what}: the Kafka broker at {address} answered {error.name()}: {error.str()}"
        f"{remedy_of(error)}"
    )
