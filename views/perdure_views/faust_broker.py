"""How a Faust app reaches the broker: the same settings as everything else, in Faust's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import faust


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
