"""The ground (rule 12): the settings of a topic that the protocol requires, checked before work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from perdure_topics.names import topic_settings
from perdure_topics.ports import TopicMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perdure_topics.ports import Log, TopicInfo

_AT_LEAST: Final = frozenset({"max.message.bytes", "min.insync.replicas"})
# Longer is as good; and without end longer still.
_AT_LEAST_OR_EVER: Final = frozenset({"retention.ms", "retention.bytes"})
REPLICAS_WANTED: Final = 3
FIXED: Final = (
    "The number is fixed when a task queue is made, because keys have other places with another."
    " Kafka cannot lower it again: make a task queue with the number you want, perdure topics"
    " create --task-queue NAME --partitions N, and begin new workflows there"
)
"""What is wrong with another number of partitions, and what to do."""
IN_SYNC_WANTED: Final = 2


class Mismatch(NamedTuple):
    """A setting that must be mended before the topic can be used."""

    topic: str
    setting: str
    found: str
    wanted: str
    command: str

    def __str__(self) -> str:
        return (
            f"topic {self.topic!r} has {self.setting}={self.found}, wanted {self.wanted}; "
            f"mend it with: {self.command}"
        )


def mismatches(log: Log, role: str, info: TopicInfo) -> list[Mismatch]:
    """What of a topic's settings the engine must refuse, by its role in the names table."""
    wanted = topic_settings(role)
    clustered = log.broker_count() >= REPLICAS_WANTED
    if clustered:
        wanted["min.insync.replicas"] = str(IN_SYNC_WANTED)
    found = [
        Mismatch(info.name, setting, info.settings.get(setting, "(unset)"), value, command)
        for setting, value in wanted.items()
        if not _fits(setting, info.settings.get(setting), value)
        for command in [_alter(log.address, info.name, setting, value)]
    ]
    if clustered and info.replication < REPLICAS_WANTED:
        found.append(
            Mismatch(
                info.name,
                "replication factor",
                str(info.replication),
                str(REPLICAS_WANTED),
                f"kafka-reassign-partitions.sh --bootstrap-server {log.address} --execute "
                "--reassignment-json-file FILE",
            )
        )
    return found


def check_topic(log: Log, role: str, info: TopicInfo) -> None:
    """Refuse a topic whose settings would break a promise.

    Raises TopicMismatchError naming each topic, setting, found and wanted value and the command
    that mends it.
    """
    found = mismatches(log, role, info)
    if found:
        raise TopicMismatchError("\n".join(str(mismatch) for mismatch in found))


def disagreement(task_queue: str, infos: Iterable[TopicInfo]) -> str:
    """What to say of the topics of a task queue, one by one, when their numbers differ."""
    found = sorted(infos, key=lambda info: info.name)
    if len({info.partitions for info in found}) <= 1:
        return ""
    each = ", ".join(f"{info.name} has {info.partitions}" for info in found)
    return (
        f"the topics of task queue {task_queue!r} differ in their number of partitions: {each}."
        f" {FIXED}"
    )


def _fits(setting: str, found: str | None, wanted: str) -> bool:
    if found is None:
        return False
    if setting in _AT_LEAST:
        return int(found) >= int(wanted)
    if setting in _AT_LEAST_OR_EVER:
        return found == "-1" or (wanted != "-1" and int(found) >= int(wanted))
    return found == wanted


def _alter(address: str, topic: str, setting: str, value: str) -> str:
    return (
        f"kafka-configs.sh --bootstrap-server {address} --alter --entity-type topics "
        f"--entity-name {topic} --add-config {setting}={value}"
    )
