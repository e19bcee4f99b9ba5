"""Granting rights on a Kafka broker that has an authorizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from perdure_topics.kafka.settings import admin_settings, log_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from perdure_topics.rights import Right

TIMEOUT_S: Final = 10.0
_RESOURCES: Final[dict[str, Any]] = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}


def grant(
    bootstrap: str, settings: Mapping[str, str], rights: Iterable[Right], principal: str
) -> None:
    """Allow a principal each right, from any host. Granting twice changes nothing.

    Raises LogError when the broker refuses.
    """
    admin = AdminClient(admin_settings(bootstrap, dict(settings)))
    bindings = [_binding(right, principal) for right in rights]
    for future in admin.create_acls(bindings, request_timeout=TIMEOUT_S).values():
        try:
            future.result(TIMEOUT_S + 1.0)
        except KafkaException as error:
            what = f"cannot grant rights to {principal}"
            raise log_error(what, bootstrap, TIMEOUT_S, error.args[0]) from error


def _binding(right: Right, principal: str) -> AclBinding:
    return AclBinding(
        _RESOURCES[right.resource],
        right.name,
        ResourcePatternType[right.pattern.upper()],
        principal,
        "*",
        AclOperation[right.operation],
        AclPermissionType.ALLOW,
    )
