"""The table of rights: only hosts write events, and every role has what it needs and no more."""

from __future__ import annotations

import pytest

from perdure_topics.rights import ROLES, Right, acl_commands, rights_of


def test_only_hosts_write_events() -> None:
    writers = [
        role
        for role in ROLES
        if Right("topic", "shop.orders.events", "literal", "WRITE")
        in rights_of(role, "shop", "orders")
    ]

    assert writers == ["host"]


def test_no_role_may_alter_topics_or_settings() -> None:
    operations = {right.operation for role in ROLES for right in rights_of(role, "shop", "orders")}

    assert operations <= {"READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS", "DELETE", "CREATE"}


def test_a_role_makes_topics_of_its_own_only() -> None:
    made = {
        right
        for role in ROLES
        for right in rights_of(role, "shop", "orders")
        if right.operation == "CREATE"
    }

    assert made == {
        Right("topic", "shop.orders.insights", "prefixed", "CREATE"),
        Right("topic", "shop.orders.marks", "literal", "CREATE"),
    }


def test_an_unknown_role_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="'boss' is no role: give one of client, host, worker"):
        rights_of("boss", "shop", "orders")


def test_the_script_is_what_kafkas_own_command_takes() -> None:
    lines = acl_commands(rights_of("relay", "shop", "orders"), "User:the relay", "kafka:9092")

    assert lines[1] == (
        "kafka-acls.sh --bootstrap-server kafka:9092 --add --allow-principal 'User:the relay'"
        " --operation DescribeConfigs --topic shop.orders.events --resource-pattern-type literal"
    )
    assert lines[-1] == (
        "kafka-acls.sh --bootstrap-server kafka:9092 --add --allow-principal 'User:the relay'"
        " --operation Describe --transactional-id shop.orders.relay"
        " --resource-pattern-type prefixed"
    )


def test_relay_and_triggers_need_rights_on_topics_of_users() -> None:
    relay = set(rights_of("relay", "shop", "orders", topics=["sales"]))
    triggers = set(rights_of("triggers", "shop", "orders", group="intake", topics=["placed"]))

    assert Right("topic", "sales", "literal", "WRITE") in relay
    assert Right("topic", "placed", "literal", "READ") in triggers
    assert Right("topic", "placed.dead", "literal", "WRITE") in triggers
    assert Right("group", "intake", "literal", "READ") in triggers
    with pytest.raises(ValueError, match="a host touches no topics of yours"):
        rights_of("host", "shop", "orders", topics=["sales"])
    with pytest.raises(ValueError, match="a relay has no group of its own"):
        rights_of("relay", "shop", "orders", group="intake")


def test_the_script_reaches_a_secured_listener_by_a_file() -> None:
    (line, *_) = acl_commands(
        rights_of("reader", "shop", "orders"),
        "User:r",
        "kafka:9093",
        command_config="a b.properties",
    )

    assert "--bootstrap-server kafka:9093 --command-config 'a b.properties' --add" in line


def test_a_host_may_delete_events_only_where_retention_cuts_them() -> None:
    delete = Right("topic", "shop.orders.events", "literal", "DELETE")

    assert not [
        right
        for role in ROLES
        for right in rights_of(role, "shop", "orders")
        if right.operation == "DELETE"
    ]
    assert delete in rights_of("host", "shop", "orders", cuts_events=True)
    with pytest.raises(ValueError, match="a relay cuts no events"):
        rights_of("relay", "shop", "orders", cuts_events=True)
