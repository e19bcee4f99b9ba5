"""A Kafka broker with TLS, SASL and an authorizer on: who is not allowed may do nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import trustme
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.broker.kafka_broker import KafkaBroker, free_port

USERS: Final = (
    "client",
    "host",
    "worker",
    "gateway",
    "insights",
    "relay",
    "triggers",
    "reader",
    "nobody",
    "maker",
)
PASSWORD: Final = "a long secret: 'quoted' # and so on"


class SecuredBroker:
    """A broker with an open door for the test itself, and one of TLS and SASL."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.ca = directory / "ca.pem"
        directory.mkdir(parents=True, exist_ok=True)
        authority.cert_pem.write_to_path(str(self.ca))
        issued = authority.issue_cert("localhost", "127.0.0.1")
        chain = "".join(pem.bytes().decode() for pem in issued.cert_chain_pems)
        self.directory = directory
        self.port = free_port()
        secure = free_port(taken={self.port})
        controller = free_port(taken={self.port, secure})
        self.secure = f"127.0.0.1:{secure}"
        self.broker = KafkaBroker(
            directory / "kafka",
            port=self.port,
            settings={
                "listeners": (
                    f"PLAINTEXT://127.0.0.1:{self.port},SECURE://127.0.0.1:{secure},"
                    f"CONTROLLER://127.0.0.1:{controller}"
                ),
                "advertised.listeners": (
                    f"PLAINTEXT://127.0.0.1:{self.port},SECURE://{self.secure}"
                ),
                "controller.quorum.voters": f"1@127.0.0.1:{controller}",
                "listener.security.protocol.map": (
                    "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL"
                ),
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                # The open door is the broker's own and the test's.
                "super.users": "User:ANONYMOUS",
                "allow.everyone.if.no.acl.found": "false",
                "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512,OAUTHBEARER",
                **_jaas(),
                "ssl.keystore.type": "PEM",
                "ssl.keystore.certificate.chain": _one_line(chain),
                "ssl.keystore.key": _one_line(_pkcs8(issued.private_key_pem.bytes())),
            },
        )

    def start(self) -> None:
        """Start it, and make its users."""
        self.broker.start()
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap, "log_level": 0})
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        users: list[Any] = [
            UserScramCredentialUpsertion(user, info, PASSWORD.encode()) for user in USERS
        ]
        for future in admin.alter_user_scram_credentials(users).values():
            future.result(20.0)

    def stop(self) -> None:
        """Stop it."""
        self.broker.stop()

    def config(self, user: str, *, password: str = PASSWORD, **more: str) -> Path:
        """A configuration of a user, as an operator writes it."""
        path = self.directory / f"{user}-{len(more)}.toml"
        secret = self.directory / f"{user}.secret"
        secret.write_text(password + "\n", "utf-8")
        settings: Mapping[str, str] = {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "ssl.ca.location": str(self.ca),
            **more,
        }
        lines = [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in settings.items()]
        lines += [f"sasl.password.file = {json.dumps(secret.name)}"]
        path.write_text("\n".join(["[kafka]", *lines, ""]), "utf-8")
        return path


def _jaas() -> dict[str, str]:
    """What the broker holds of each mechanism; SCRAM's users are made later."""
    modules = "org.apache.kafka.common.security"
    door = "listener.name.secure"
    quoted = PASSWORD.replace('"', '\\"')
    plain = " ".join(f'user_{user}="{quoted}"' for user in USERS)
    return {
        f"{door}.plain.sasl.jaas.config": (f"{modules}.plain.PlainLoginModule required {plain};"),
        f"{door}.scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
        f"{door}.oauthbearer.sasl.jaas.config": (
            f"{modules}.oauthbearer.OAuthBearerLoginModule required"
            ' unsecuredLoginStringClaim_sub="broker";'
        ),
    }


def _one_line(pem: str) -> str:
    """A PEM as a properties file takes it."""
    return pem.strip().replace("\n", "\\n")


def _pkcs8(pem: bytes) -> str:
    """A key in the form that Kafka reads."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(pem, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
