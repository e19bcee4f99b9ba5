"""The one table of rights: what each kind of process must be allowed on a broker, and no more."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final, NamedTuple

from perdure_topics.names import group_name, topic_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROLES: Final = ("client", "host", "worker", "gateway", "insights", "relay", "triggers", "reader")


class Right(NamedTuple):
    """An operation that a principal may do on a topic, group or transactional id."""

    resource: str
    """topic, group or transactional-id."""
    name: str
    pattern: str
    """literal or prefixed."""
    operation: str
    """As Kafka spells it: READ, WRITE, DESCRIBE, DESCRIBE_CONFIGS, CREATE, DELETE."""


# Role of the topic -> operations, by role of the process. A Read or Write implies a Describe.
_TOPICS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "client": {
        "commands": ("WRITE", "DESCRIBE_CONFIGS"),
        "replies": ("READ", "DESCRIBE_CONFIGS"),
    },
    "host": {
        "commands": ("READ", "WRITE", "DESCRIBE_CONFIGS"),
        # Only hosts write events: whoever may is believed.
        "events": ("READ", "WRITE", "DESCRIBE_CONFIGS"),
        "tasks": ("WRITE", "DESCRIBE_CONFIGS"),
        "dead": ("WRITE", "DESCRIBE_CONFIGS"),
        "replies": ("WRITE", "DESCRIBE_CONFIGS"),
        "findings": ("DESCRIBE", "DESCRIBE_CONFIGS"),
    },
    "worker": {
        "commands": ("WRITE", "DESCRIBE_CONFIGS"),
        "events": ("DESCRIBE", "DESCRIBE_CONFIGS"),
        "tasks": ("READ", "DESCRIBE_CONFIGS"),
        "dead": ("DESCRIBE", "DESCRIBE_CONFIGS"),
        "replies": ("READ", "DESCRIBE_CONFIGS"),
        "findings": ("DESCRIBE", "DESCRIBE_CONFIGS"),
    },
    "gateway": {
        "commands": ("WRITE", "DESCRIBE_CONFIGS"),
        "events": ("READ", "DESCRIBE_CONFIGS"),
        "dead": ("READ", "DESCRIBE_CONFIGS"),
        "replies": ("READ", "DESCRIBE_CONFIGS"),
        "findings": ("READ", "DESCRIBE_CONFIGS"),
    },
    "insights": {
        "events": ("READ", "DESCRIBE_CONFIGS"),
        "findings": ("WRITE", "DESCRIBE_CONFIGS"),
    },
    "relay": {
        "events": ("READ", "DESCRIBE_CONFIGS"),
        "dead": ("WRITE",),
        "findings": ("WRITE", "DESCRIBE_CONFIGS"),
        "marks": ("READ", "WRITE", "CREATE", "DESCRIBE_CONFIGS"),
    },
    "triggers": {
        "commands": ("WRITE", "DESCRIBE_CONFIGS"),
        "replies": ("READ", "DESCRIBE_CONFIGS"),
    },
    "reader": {
        "events": ("READ", "DESCRIBE_CONFIGS"),
        "findings": ("READ", "DESCRIBE_CONFIGS"),
    },
}
# Group -> operations.
_GROUPS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "host": {"hosts": ("READ",), "workers": ("DESCRIBE",)},
    "worker": {"workers": ("READ",)},
    "gateway": {"hosts": ("DESCRIBE",), "workers": ("DESCRIBE",)},
    "client": {"hosts": ("DESCRIBE",), "workers": ("DESCRIBE",)},
    "triggers": {"hosts": ("DESCRIBE",), "workers": ("DESCRIBE",)},
}
# What a role does with topics that are users' own.
_USERS: Final = {
    "relay": ("WRITE", "DESCRIBE_CONFIGS"),
    "triggers": ("READ", "DESCRIBE_CONFIGS"),
}
# Groups, transactions and topics that a role names itself, below this prefix of the queue's.
_OWN: Final = {"insights": "insights", "relay": "relay"}


def rights_of(
    role: str,
    namespace: str,
    task_queue: str,
    *,
    group: str = "",
    topics: Iterable[str] = (),
    cuts_events: bool = False,
) -> list[Right]:
    """What a process of a role must be allowed, for one task queue.

    Kafka has one right for deleting records and for deleting their topic. So a host has it only
    with `cuts_events`, where its task queue's retention cuts the log of events.

    `topics` are users' own: those that workflows emit to, for the relay, and those that triggers
    read, whose bad records go to `<topic>.dead`. `group` is the name of the triggers.

    Raises ValueError for a role that is none, or that has no business with users' topics or a group
    of its own; InvalidNameError as names do.
    """
    if role not in ROLES:
        raise ValueError(f"{role!r} is no role: give one of {', '.join(ROLES)}")
    found = [
        Right("topic", topic_name(topic, namespace, task_queue), "literal", operation)
        for topic, operations in _TOPICS[role].items()
        for operation in operations
    ]
    found += [
        Right("group", group_name(group, namespace, task_queue), "literal", operation)
        for group, operations in _GROUPS.get(role, {}).items()
        for operation in operations
    ]
    if cuts_events:
        if role != "host":
            raise ValueError(f"a {role} cuts no events: hosts do")
        events = topic_name("events", namespace, task_queue)
        found.append(Right("topic", events, "literal", "DELETE"))
    found += _of_users(role, group, topics)
    if role in _OWN:
        prefix = group_name(_OWN[role], namespace, task_queue)
        found.append(Right("group", prefix, "prefixed", "READ"))
        if role == "relay":
            found += [
                Right("transactional-id", prefix, "prefixed", operation)
                for operation in ("WRITE", "DESCRIBE")
            ]
        else:
            found += [
                Right("topic", prefix, "prefixed", operation)
                for operation in ("READ", "WRITE", "CREATE", "DESCRIBE_CONFIGS")
            ]
    return found


def _of_users(role: str, group: str, topics: Iterable[str]) -> Iterator[Right]:
    """What a role needs beyond the engine's own topics."""
    if group:
        if role != "triggers":
            raise ValueError(f"a {role} has no group of its own: --group is for triggers")
        yield Right("group", group, "literal", "READ")
    for topic in topics:
        if role not in _USERS:
            raise ValueError(f"a {role} touches no topics of yours: they are for relay, triggers")
        yield from (Right("topic", topic, "literal", one) for one in _USERS[role])
        if role == "triggers":
            yield Right("topic", f"{topic}.dead", "literal", "WRITE")
            yield Right("topic", f"{topic}.dead", "literal", "DESCRIBE_CONFIGS")


def acl_commands(
    rights: Iterable[Right], principal: str, bootstrap: str, *, command_config: str = ""
) -> list[str]:
    """The same as lines for Kafka's own kafka-acls.sh.

    `command_config` is the properties file by which that reaches a listener with TLS or SASL.
    """
    way = ["--command-config", command_config] if command_config else []
    lines = []
    for right in rights:
        words = ["kafka-acls.sh", "--bootstrap-server", bootstrap, *way, "--add"]
        words += ["--allow-principal", principal, "--operation", right.operation.title()]
        words += [f"--{right.resource}", right.name, "--resource-pattern-type", right.pattern]
        if "_" in right.operation:
            words[words.index(right.operation.title())] = "".join(
                part.title() for part in right.operation.split("_")
            )
        lines.append(shlex.join(words))
    return lines
