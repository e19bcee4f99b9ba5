"""Where a client connects to, from files of profiles and from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.client import Client
from perdure.envconfig import ClientConfig, ClientConfigProfile, ClientConfigTLS
from perdure.service import TLSConfig

FILE = """
[profile.default]
address = "kafka:9092"
namespace = "orders"

[profile.secure]
address = "kafka:9093"
api_key = "key"
[profile.secure.tls]
server_ca_cert_path = "{ca}"
client_cert_data = "cert"
[profile.secure.grpc_meta]
who = "me"
[profile.secure.kafka]
"sasl.mechanism" = "PLAIN"
"""
NONE: dict[str, str] = {"XDG_CONFIG_HOME": "/nowhere"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    ca = tmp_path / "ca.pem"
    ca.write_text("root")
    path = tmp_path / "perdure.toml"
    path.write_text(FILE.format(ca=ca))
    return path


def test_without_file_and_environment_it_is_a_broker_here() -> None:
    found = ClientConfig.load_client_connect_config(override_env_vars=NONE)

    assert found == {"target_host": "localhost:9092"}


def test_a_profile_of_the_file_is_what_connect_takes(file: Path) -> None:
    found = ClientConfig.load_client_connect_config(
        "secure", config_file=str(file), override_env_vars=NONE
    )

    assert found == {
        "target_host": "kafka:9093",
        "api_key": "key",
        "tls": TLSConfig(server_root_ca_cert=b"root", client_cert=b"cert"),
        "kafka_config": {"sasl.mechanism": "PLAIN"},
    }


def test_the_environment_names_file_and_profile_and_counts_more(file: Path) -> None:
    variables = {
        "PERDURE_CONFIG_FILE": str(file),
        "PERDURE_PROFILE": "secure",
        "PERDURE_ADDRESS": "other:9093",
        "PERDURE_NAMESPACE": "ns",
        "PERDURE_TLS_SERVER_CA_CERT_DATA": "other root",
    }

    found = ClientConfigProfile.load(override_env_vars=variables)
    plain = ClientConfigProfile.load(disable_file=True, override_env_vars=variables)
    filed = ClientConfigProfile.load(
        config_source=file, disable_env=True, override_env_vars=variables
    )

    assert (found.address, found.namespace, found.api_key) == ("other:9093", "ns", "key")
    assert found.tls == ClientConfigTLS(server_root_ca_cert="other root", client_cert="cert")
    assert found.grpc_meta == {"who": "me"}
    assert (plain.address, plain.api_key, plain.tls) == (
        "other:9093",
        None,
        ClientConfigTLS(server_root_ca_cert="other root"),
    )
    assert filed.address == "kafka:9092"


@pytest.mark.parametrize(
    ("switch", "tls"), [("true", True), ("1", True), ("false", False), ("", None)]
)
def test_tls_is_switched_by_the_environment(switch: str, tls: bool | None) -> None:
    found = ClientConfig.load_client_connect_config(
        override_env_vars=NONE | {"PERDURE_TLS": switch}
    )

    assert found.get("tls") == tls


def test_the_file_of_the_user_is_found(file: Path, tmp_path: Path) -> None:
    home = tmp_path / "perdure"
    home.mkdir()
    file.rename(home / "perdure.toml")

    found = ClientConfig.load(override_env_vars={"XDG_CONFIG_HOME": str(tmp_path)})

    assert list(found.profiles) == ["default", "secure"]


def test_profiles_are_written_as_they_are_read(file: Path) -> None:
    found = ClientConfig.load(config_source=file, override_env_vars=NONE)

    assert ClientConfig.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(
    ("text", "profile", "message"),
    [
        ("[profile.a]", "b", "there is no profile 'b'; there are a"),
        ("[profile.default]\nadress = 'x'", None, "a profile has no 'adress'"),
        ("nonsense", None, "is no TOML"),
        ("[other]", None, "unknown key 'other'"),
        (
            "[profile.default.tls]\nclient_key_path = 'a'\nclient_key_data = 'b'",
            None,
            "both client_key_path and client_key_data",
        ),
    ],
)
def test_bad_files_are_refused(text: str, profile: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClientConfigProfile.load(
            profile, config_source=text, config_file_strict=True, override_env_vars=NONE
        )


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no configuration file .*gone"):
        ClientConfig.load(override_env_vars={"PERDURE_CONFIG_FILE": str(tmp_path / "gone")})
    tls = ClientConfigTLS(client_cert=tmp_path / "gone.pem")
    with pytest.raises(ValueError, match=r"gone\.pem cannot be read: No such file"):
        tls.to_connect_tls_config()


async def test_a_client_connects_by_it(tmp_path: Path) -> None:
    config = ClientConfig.load_client_connect_config(
        override_env_vars=NONE | {"PERDURE_ADDRESS": f"file:{tmp_path}", "PERDURE_NAMESPACE": "ns"}
    )

    client = await Client.connect(**config)

    assert client.namespace == "ns"
    await client.close()
