"""The one table of topics (name, key, cleanup, writers, readers), and how names are made.

The page docs/topics.md is made from this table. Nothing else may spell a topic's name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from perdure_schemas.avro import COMMAND_BYTES_MAX, RECORD_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME_BYTES_MAX = 200
WORKFLOW_ID_BYTES_MAX = 1000
PARTITIONS_DEFAULT = 8
PARTITIONS_MAX = 10_000
REPLY_PARTITIONS_DEFAULT = 16
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
# Room for the key, the headers and Kafka's own framing above a record's largest value.
_FRAMING_BYTES = 16 * 1024
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")


class TopicRow(NamedTuple):
    """A row of the table. A template may hold {ns} and {queue}."""

    role: str
    template: str
    key: str
    retention_ms: int
    bytes_max: int
    writers: str
    readers: str
    cleanup: str = "delete"


TOPICS: tuple[TopicRow, ...] = (
    TopicRow(
        "commands",
        "{ns}.{queue}.commands",
        "workflow id, murmur2",
        7 * _DAY_MS,
        COMMAND_BYTES_MAX,
        "clients, workers, hosts, anyone",
        "hosts",
    ),
    TopicRow(
        "events",
        "{ns}.{queue}.events",
        "workflow id, as its commands",
        -1,
        RECORD_BYTES_MAX,
        "the owning host only",
        "hosts, insights, anyone",
    ),
    TopicRow(
        "tasks",
        "{ns}.{queue}.tasks",
        "run id, activity id, attempt",
        7 * _DAY_MS,
        RECORD_BYTES_MAX,
        "hosts",
        "activity workers",
    ),
    TopicRow(
        "dead",
        "{ns}.{queue}.commands.dead",
        "as received",
        30 * _DAY_MS,
        RECORD_BYTES_MAX,
        "hosts",
        "people",
    ),
    TopicRow(
        "replies",
        "{ns}.replies",
        "none: the asker names the partition",
        _HOUR_MS,
        RECORD_BYTES_MAX,
        "hosts",
        "askers",
    ),
    TopicRow(
        "findings",
        "{ns}.findings",
        "workflow id",
        30 * _DAY_MS,
        COMMAND_BYTES_MAX,
        "insights, relay",
        "people, alerts",
    ),
    TopicRow(
        "marks",
        "{ns}.{queue}.marks",
        "events topic and partition",
        -1,
        COMMAND_BYTES_MAX,
        "relay",
        "relay",
        "compact",
    ),
)
_BY_ROLE = {row.role: row for row in TOPICS}


class InvalidNameError(ValueError):
    """A namespace, queue or workflow id that cannot be used; the message says why."""


def quote(name: str, what: str) -> str:
    """A namespace or queue as a part of a topic name: percent-encoded, so names cannot collide.

    Kafka allows no percent sign in a topic name, so the escape is an underscore and two
    hexadecimal digits.

    Raises InvalidNameError for a name that is empty, too long or no proper text, TypeError for
    what is no text at all.
    """
    if not name:
        msg = f"the {what} is empty: give it a name"
        raise InvalidNameError(msg)
    quoted = "".join(chr(b) if b in _PLAIN else f"_{b:02X}" for b in _utf8(name, what))
    if len(quoted) > NAME_BYTES_MAX:
        msg = f"the {what} {name[:40]!r}... takes {len(quoted)} bytes; {NAME_BYTES_MAX} is the most"
        raise InvalidNameError(msg)
    return quoted


def _utf8(name: str, what: str) -> bytes:
    if not isinstance(name, str):
        raise TypeError(f"the {what} is a {type(name).__name__}: give a text")
    try:
        return name.encode()
    except UnicodeEncodeError as error:
        msg = f"the {what} {name[:60]!r} cannot be written as UTF-8"
        raise InvalidNameError(msg) from error


def unquote(quoted: str) -> str:
    """The name that `quote` made a topic name part of."""
    out = bytearray()
    at = 0
    while at < len(quoted):
        if quoted[at] == "_":
            out.append(int(quoted[at + 1 : at + 3], 16))
            at += 3
        else:
            out.append(ord(quoted[at]))
            at += 1
    return out.decode()


@lru_cache(maxsize=4096)
def topic_name(role: str, namespace: str, queue: str = "") -> str:
    """The name of a topic by its role in the table.

    Raises InvalidNameError as quote does.
    """
    template = _BY_ROLE[role].template
    ns = quote(namespace, "namespace")
    q = quote(queue, "task queue") if "{queue}" in template else ""
    name = template.format(ns=ns, queue=q)
    if len(name) > 249:
        msg = (
            f"namespace {namespace!r} and task queue {queue!r} make a topic name of {len(name)}"
            " bytes; 249 is the most"
        )
        raise InvalidNameError(msg)
    return name


@lru_cache(maxsize=4096)
def role_of(topic: str) -> str | None:
    """The role of a topic in the table; None for a topic that is none of ours."""
    parts = topic.split(".")
    for row in TOPICS:
        template = row.template.split(".")
        if len(template) == len(parts) and all(
            fixed in ("{ns}", "{queue}") or fixed == part
            for fixed, part in zip(template, parts, strict=True)
        ):
            return row.role
    return None


def task_queues_of(topics: Iterable[str], namespace: str) -> list[str]:
    """The task queues of a namespace among the names of topics."""
    prefix, suffix = f"{quote(namespace, 'namespace')}.", ".commands"
    return sorted(
        unquote(name.removeprefix(prefix).removesuffix(suffix))
        for name in topics
        if name.startswith(prefix) and name.endswith(suffix) and name.count(".") == 2
    )


def group_name(role: str, namespace: str, queue: str) -> str:
    """The name of a consumer group: role is hosts or workers."""
    return f"{quote(namespace, 'namespace')}.{quote(queue, 'task queue')}.{role}"


def topic_settings(role: str) -> dict[str, str]:
    """The settings a topic must have, as Kafka spells them."""
    row = _BY_ROLE[role]
    return {
        "cleanup.policy": row.cleanup,
        "retention.ms": str(row.retention_ms),
        "retention.bytes": "-1",
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(row.bytes_max + _FRAMING_BYTES),
        "unclean.leader.election.enable": "false",
    }


def check_workflow_id(workflow_id: str) -> None:
    """Refuse a workflow id that cannot be kept.

    Raises InvalidNameError when it is empty, too long or holds a control character, TypeError
    when it is no text.
    """
    size = len(_utf8(workflow_id, "workflow id"))
    if not 0 < size <= WORKFLOW_ID_BYTES_MAX:
        msg = f"a workflow id has 1 to {WORKFLOW_ID_BYTES_MAX} bytes; this one has {size}"
        raise InvalidNameError(msg)
    if not workflow_id.isprintable():
        msg = f"the workflow id {workflow_id[:60]!r} holds a character that cannot be printed"
        raise InvalidNameError(msg)


@lru_cache(maxsize=65536)
def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: murmur2 over its bytes, as the Java client does it."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 with its seed, as an unsigned 32-bit number."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    size = len(data)
    h = (0x9747B28C ^ size) & mask
    whole = size - size % 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k ^= k >> 24
        h = (h * m & mask) ^ (k * m & mask)
    rest = data[whole:]
    if rest:
        h ^= int.from_bytes(rest, "little")
        h = h * m & mask
    h ^= h >> 13
    h = h * m & mask
    return h ^ h >> 15
