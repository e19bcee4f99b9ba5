"""The way to a Kafka cluster as users give it: a file, settings, TLS, or all of them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from perdure._connect_config import TLSConfig
from perdure_topics.kafka.access import access_settings, checked_settings


def reach_settings(
    kafka_config: str | os.PathLike[str] | Mapping[str, str] | None,
    tls: bool | TLSConfig | None,  # noqa: FBT001 - Temporal's keyword
) -> dict[str, str] | None:
    """Librdkafka's settings of the way; None leaves them to file and environment.

    Raises ValueError for a file or a setting that cannot be used.
    """
    if kafka_config is None and not tls:
        return None
    if isinstance(kafka_config, Mapping):
        settings = checked_settings(kafka_config, "kafka_config")
    else:
        settings = access_settings(kafka_config)
    if tls:
        settings |= _tls_settings(settings, tls if isinstance(tls, TLSConfig) else TLSConfig())
    return settings


def _tls_settings(settings: Mapping[str, str], tls: TLSConfig) -> dict[str, str]:
    """What TLS adds: the protocol, keeping SASL where it is spoken, and the certificates."""
    is_sasl = settings.get("security.protocol", "").upper().startswith("SASL")
    pems = {
        "ssl.ca.pem": tls.server_root_ca_cert,
        "ssl.certificate.pem": tls.client_cert,
        "ssl.key.pem": tls.client_private_key,
    }
    found = {name: pem.decode() for name, pem in pems.items() if pem is not None}
    return {"security.protocol": "SASL_SSL" if is_sasl else "SSL", **found}
