"""Warnings about commands whose payloads are large: they work, and they fill the log."""

from __future__ import annotations

import logging

from perdure._connect_config import PayloadLimitsConfig
from perdure_schemas.payloads import Payload, Record

logger = logging.getLogger("perdure.client")


def warn_large(what: str, command: Record, limits: PayloadLimitsConfig) -> None:
    """Log which fields of a command hold more than the limits say."""
    for name in command.__struct_fields__:
        held = getattr(command, name)
        if not held or not isinstance(held, list | dict | Payload):
            continue
        limit = limits.memo_warn_size if name == "memo" else limits.payloads_warn_size
        size = _size_of(held)
        if 0 < limit < size:
            logger.warning(
                "%s: its %s takes %d bytes, more than the %d from which on a warning is logged;"
                " keep large values in a store (ExternalStorage) and pass where they are",
                what,
                name,
                size,
                limit,
            )


def _size_of(held: object) -> int:
    """The bytes of payloads; 0 of anything else."""
    if isinstance(held, Payload):
        return len(held.data)
    if isinstance(held, dict):
        return sum(map(_size_of, held.values()))
    return sum(map(_size_of, held)) if isinstance(held, list) else 0
