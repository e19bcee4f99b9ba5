"""The way to a broker: from one file and the environment, with every mistake named."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from perdure_topics.kafka.access import (
    HIDDEN,
    AccessError,
    access_settings,
    aiokafka_settings,
    checked_settings,
    hidden,
)
from perdure_topics.kafka.settings import (
    admin_settings,
    group_settings,
    reader_settings,
    writer_settings,
)


def settings_of(text: str, folder: Path, *, name: str = "kafka.toml", **env: str) -> dict[str, str]:
    path = folder / name
    path.write_text(text, "utf-8")
    return access_settings(path, environment=env)


def test_dotted_and_quoted_names_are_the_same(tmp_path: Path) -> None:
    found = settings_of(
        '[kafka]\nsecurity.protocol = "SASL_SSL"\n"sasl.username" = "ada"\n'
        "enable.ssl.certificate.verification = false\nsocket.timeout.ms = 5000\n",
        tmp_path,
    )

    assert found == {
        "security.protocol": "SASL_SSL",
        "sasl.username": "ada",
        "enable.ssl.certificate.verification": "false",
        "socket.timeout.ms": "5000",
    }


def test_properties_are_read_as_librdkafka_and_java_write_them(tmp_path: Path) -> None:
    text = "# a comment\n\nsecurity.protocol=SSL\n sasl.password = a=b \n"

    found = settings_of(text, tmp_path, name="client.properties")

    assert found == {"security.protocol": "SSL", "sasl.password": "a=b"}


def test_secrets_come_from_files_and_variables(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n", "utf-8")
    text = (
        '[kafka]\nsasl.password = {file = "secret"}\n'
        'ssl.key.password = {env = "KEY_PASSWORD"}\nsasl.username = "ada"\n'
    )

    found = settings_of(
        text, tmp_path, KEY_PASSWORD="k3y", PERDURE_KAFKA_SASL_USERNAME="bob", HOME="/nowhere"
    )

    assert found == {
        "sasl.password": "s3cret",
        "ssl.key.password": "k3y",
        "sasl.username": "bob",
    }
    assert hidden(found) == {
        "sasl.password": HIDDEN,
        "ssl.key.password": HIDDEN,
        "sasl.username": "bob",
    }


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "kafka.properties"
    path.write_text("security.protocol=SSL\n", "utf-8")

    assert access_settings(environment={"PERDURE_KAFKA_CONFIG": str(path)}) == {
        "security.protocol": "SSL"
    }
    assert access_settings(environment={}) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[other]\n", r"no table \[kafka\]"),
        ("[kafka", "is no TOML"),
        ('[kafka]\nisolation.level = "read_committed"\n', "isolation.level is not for you to set"),
        ('[kafka]\nsasl.password = {env = "NOT_SET"}\n', "NOT_SET, which is not set"),
        ('[kafka]\nsasl.password = {file = "none"}\n', "sasl.password is in .*none, which cannot"),
        ("[kafka]\nsasl.username = [1]\n", "sasl.username is list"),
        ("[kafka]\nsession.timeout.ms = 60000\n", "give 1000 to 25000"),
        ('[kafka]\nsession.timeout.ms = "long"\n', "give 1000 to 25000"),
        ('[kafka]\ngroup.protocol = "mine"\n', "give classic or consumer"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    text: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(AccessError, match=told) as raised:
        settings_of(text, tmp_path)

    assert str(tmp_path) in str(raised.value)


def test_a_missing_file_and_a_bad_line_are_named(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match=r"nowhere\.toml cannot be read"):
        access_settings(tmp_path / "nowhere.toml", environment={})
    with pytest.raises(AccessError, match="line 2: not of the form name=value"):
        settings_of("security.protocol=SSL\nsasl\n", tmp_path, name="p.properties")


def test_what_the_protocol_rests_on_cannot_be_set_by_code_or_variable() -> None:
    with pytest.raises(AccessError, match="acks is not for you to set"):
        checked_settings({"acks": "1"}, "kafka_config")
    with pytest.raises(AccessError, match=r"PERDURE_KAFKA_ENABLE_IDEMPOTENCE: enable\.idempotence"):
        access_settings(environment={"PERDURE_KAFKA_ENABLE_IDEMPOTENCE": "false"})


def test_aiokafka_takes_the_same_way(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))

    found = aiokafka_settings(
        {
            "security.protocol": "sasl_ssl",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "ada",
            "sasl.password": "s3cret",
            "ssl.ca.location": str(ca),
        }
    )

    context = found.pop("ssl_context")
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert found == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "ada",
        "sasl_plain_password": "s3cret",
    }
    assert aiokafka_settings({}) == {"security_protocol": "PLAINTEXT"}
    with pytest.raises(AccessError, match="OAUTHBEARER is not for Faust"):
        aiokafka_settings({"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER"})


def test_verification_is_off_only_where_it_is_said() -> None:
    way = {"security.protocol": "SSL", "enable.ssl.certificate.verification": "false"}

    assert aiokafka_settings(way)["ssl_context"].verify_mode is ssl.CERT_NONE


def test_how_a_member_stays_one_is_for_groups_and_for_nobody_else(tmp_path: Path) -> None:
    text = "[kafka]\nsession.timeout.ms = 12000\ngroup.instance.id = 'host-1'\nclient.rack = 'a'\n"
    way = settings_of(text, tmp_path)

    member = group_settings("b:9092", way, group="g", protocol="classic")
    assert (member["session.timeout.ms"], member["heartbeat.interval.ms"]) == (12_000, 3_000)
    assert (member["group.instance.id"], member["client.rack"]) == ("host-1", "a")
    for other in (
        reader_settings("b:9092", way, committed=True),
        writer_settings("b:9092", way, timeout_ms=1_000),
        admin_settings("b:9092", way),
    ):
        assert not {"session.timeout.ms", "group.instance.id"} & other.keys()
        assert other["client.rack"] == "a"


def test_by_the_newer_protocol_the_broker_says_how_long_a_silent_member_stays(
    tmp_path: Path,
) -> None:
    way = settings_of("[kafka]\ngroup.protocol = 'consumer'\n", tmp_path)

    member = group_settings("b:9092", way, group="g", protocol="classic")

    assert member["group.protocol"] == "consumer"
    assert not {"session.timeout.ms", "partition.assignment.strategy"} & member.keys()


def test_a_member_is_silent_for_six_seconds_unless_told_otherwise() -> None:
    member = group_settings("b:9092", {}, group="g", protocol="classic")

    assert (member["session.timeout.ms"], member["heartbeat.interval.ms"]) == (6_000, 1_500)
