"""The topics of a task queue: their specs by role, making them, and checks before work starts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Final

from perdure_topics.names import (
    PARTITIONS_DEFAULT,
    PARTITIONS_MAX,
    REPLY_PARTITIONS_DEFAULT,
    topic_name,
    topic_settings,
)
from perdure_topics.ports import Log, LogError, TopicInfo, TopicMismatchError, TopicSpec
from perdure_topics.requirements import check_topic, disagreement

QUEUE_ROLES: Final = ("commands", "events", "tasks", "dead")
NAMESPACE_ROLES: Final = ("replies", "findings")
TOPIC_ROLES: Final = (*QUEUE_ROLES, *NAMESPACE_ROLES)
NUMBERED: Final = ("commands", "events", "tasks")
"""The topics of a task queue that have its number of partitions."""
DEAD_PARTITIONS: Final = 1
MARKS_PARTITIONS: Final = 1
FINDINGS_PARTITIONS: Final = 1
"""Few are written, and people read them."""


def topic_specs(
    namespace: str, task_queue: str, *, partitions: int, replication: int = -1
) -> dict[str, TopicSpec]:
    """The topics of a task queue and of its namespace by role, as they must be made."""
    if not 0 < partitions <= PARTITIONS_MAX:
        raise ValueError(f"{partitions} partitions: give 1 to {PARTITIONS_MAX}")
    counts = dict.fromkeys(QUEUE_ROLES, partitions)
    counts |= dict.fromkeys(NAMESPACE_ROLES, REPLY_PARTITIONS_DEFAULT)
    counts |= {"dead": DEAD_PARTITIONS, "findings": FINDINGS_PARTITIONS}
    return {
        role: TopicSpec(
            topic_name(role, namespace, task_queue), count, replication, topic_settings(role)
        )
        for role, count in counts.items()
    }


def create_topics(
    log: Log,
    namespace: str,
    task_queue: str,
    *,
    partitions: int = PARTITIONS_DEFAULT,
    replication: int = -1,
) -> list[TopicSpec]:
    """Make the topics of a task queue that are not there yet, and check those that are.

    Raises TopicMismatchError when one is there with other settings or partitions, LogError when
    one cannot be made.
    """
    missing = missing_topics(
        log, namespace, task_queue, partitions=partitions, replication=replication
    )
    if missing:
        log.create_topics(missing)
    return missing


def missing_topics(
    log: Log,
    namespace: str,
    task_queue: str,
    *,
    partitions: int = PARTITIONS_DEFAULT,
    replication: int = -1,
) -> list[TopicSpec]:
    """The topics of a task queue that are not there yet; those that are are checked.

    Raises TopicMismatchError as create_topics does.
    """
    missing = []
    specs = topic_specs(namespace, task_queue, partitions=partitions, replication=replication)
    for role, spec in specs.items():
        info = log.topic(spec.name)
        if info is None:
            missing.append(spec)
            continue
        check_topic(log, role, info)
        if role in NUMBERED:
            _check_partitions(log, spec, info)
    return missing


def creation_lines(
    specs: Iterable[TopicSpec], bootstrap: str, *, command_config: str = ""
) -> list[str]:
    """Topics as lines for Kafka's own kafka-topics.sh, for whoever may make them."""
    way = ["--command-config", command_config] if command_config else []
    lines = []
    for spec in specs:
        words = ["kafka-topics.sh", "--bootstrap-server", bootstrap, *way, "--create"]
        words += ["--if-not-exists", "--topic", spec.name, "--partitions", str(spec.partitions)]
        if spec.replication > 0:
            words += ["--replication-factor", str(spec.replication)]
        for name, value in spec.settings.items():
            words += ["--config", f"{name}={value}"]
        lines.append(shlex.join(words))
    return lines


def marks_spec(namespace: str, task_queue: str, *, replication: int = -1) -> TopicSpec:
    """The topic of a relay's marks: only a queue that has a relay needs it."""
    name = topic_name("marks", namespace, task_queue)
    return TopicSpec(name, MARKS_PARTITIONS, replication, topic_settings("marks"))


def ensure_marks(log: Log, namespace: str, task_queue: str) -> TopicInfo:
    """The topic of a relay's marks, made where it is missing.

    Raises TopicMismatchError for one that would forget them, LogError when it cannot be made.
    """
    spec = marks_spec(namespace, task_queue)
    info = log.topic(spec.name)
    if info is None:
        log.create_topics([spec])
        info = log.topic(spec.name)
        if info is None:
            raise LogError(f"topic {spec.name} was made on {log.address}, and is not there")
    check_topic(log, "marks", info)
    if info.partitions != MARKS_PARTITIONS:
        _check_partitions(log, spec, info)
    return info


def ensure_topics(
    log: Log, namespace: str, task_queue: str, *, partitions: int = PARTITIONS_DEFAULT
) -> list[TopicInfo]:
    """The topics of a task queue, made where nobody else would: on an embedded log.

    Raises LogError, with the command that makes them, where they are missing on a broker, and as
    check_topics does.
    """
    is_embedded = log.address.startswith(("file:", "http:", "https:"))
    if is_embedded and log.topic(topic_name("commands", namespace, task_queue)) is None:
        create_topics(log, namespace, task_queue, partitions=partitions)
    return check_topics(log, namespace, task_queue)


def check_topics(log: Log, namespace: str, task_queue: str) -> list[TopicInfo]:
    """Refuse topics that do not meet the protocol's requirements; what they are comes back.

    Raises TopicMismatchError with each wrong setting, LogError for a topic that is missing.
    """
    commands = log.topic(topic_name("commands", namespace, task_queue))
    partitions = commands.partitions if commands else PARTITIONS_DEFAULT
    infos = []
    for role, spec in topic_specs(namespace, task_queue, partitions=partitions).items():
        info = log.topic(spec.name)
        if info is None:
            raise missing_topic(log, namespace, task_queue, spec)
        check_topic(log, role, info)
        infos.append(info)
    of_queue = {topic_name(role, namespace, task_queue) for role in NUMBERED}
    text = disagreement(task_queue, [info for info in infos if info.name in of_queue])
    if text:
        raise TopicMismatchError(text)
    return infos


def missing_topic(log: Log, namespace: str, task_queue: str, spec: TopicSpec) -> LogError:
    """The error of a topic that was never made."""
    other = "" if namespace == "default" else f" --namespace {namespace}"
    return LogError(
        f"there is no topic {spec.name} on {log.address}; make it with: perdure topics create"
        f" --broker {log.address}{other} --task-queue {task_queue} --partitions {spec.partitions}"
    )


def _check_partitions(log: Log, spec: TopicSpec, info: TopicInfo) -> None:
    if info.partitions != spec.partitions:
        raise TopicMismatchError(
            f"topic {spec.name} on {log.address} has {info.partitions} partitions where"
            f" {spec.partitions} belong; the number is fixed when the topics are made"
        )
