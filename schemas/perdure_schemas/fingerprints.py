"""The CRC-64-AVRO fingerprint of a schema, as Avro's specification computes it. Nothing else."""

from __future__ import annotations

from typing import Any

from fastavro.schema import to_parsing_canonical_form

_EMPTY = 0xC15D213AA4D7A795


def _row(index: int) -> int:
    for _ in range(8):
        index = (index >> 1) ^ (_EMPTY if index & 1 else 0)
    return index


_TABLE = [_row(index) for index in range(256)]


def fingerprint_of(schema: Any) -> bytes:
    """The eight bytes that name a schema in a record: little-endian, over its canonical form."""
    value = _EMPTY
    for byte in to_parsing_canonical_form(schema).encode():
        value = (value >> 8) ^ _TABLE[(value ^ byte) & 0xFF]
    return value.to_bytes(8, "little")
