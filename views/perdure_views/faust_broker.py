"""The broker settings of a Faust app, from the settings that all of Perdure uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import faust

SESSION_S: Final = 10.0
"""A process that died has lost its partitions to others after so long; Faust's own is 60 s."""
LIFE_SIGN: Final[Mapping[str, Any]] = {
    "broker_session_timeout": SESSION_S,
    "broker_heartbeat_interval": SESSION_S / 4,
}
"""What an app is told of how it shows the broker that it lives."""


def broker_urls(bootstrap: str) -> list[str]:
    """The servers of a target as Faust names them."""
    servers = (server.strip() for server in bootstrap.split(","))
    return [f"kafka://{server if ':' in server else f'{server}:9092'}" for server in servers]


def credentials(way: Mapping[str, Any]) -> Any:
    """Faust's credentials of aiokafka's keyword arguments; None where nothing is asked for."""
    protocol = way["security_protocol"]
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(way["ssl_context"])
    return faust.SASLCredentials(
        mechanism=way["sasl_mechanism"],
        username=way["sasl_plain_username"],
        password=way["sasl_plain_password"],
        ssl_context=way.get("ssl_context"),
    )
