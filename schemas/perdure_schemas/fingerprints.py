"""The CRC-64-AVRO fingerprints of all schemas, kept in a file so that no start computes them.

`make records` writes the file.
"""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

AVSC: Final = Path(__file__).parent / "avsc"
INDEX: Final = AVSC / "fingerprints.json"
_EMPTY: Final = 0xC15D213AA4D7A795


class StaleFingerprintError(RuntimeError):
    """A schema is not the one that the kept fingerprints are of."""


class Kept(NamedTuple):
    """What is kept of a schema."""

    fingerprint: bytes
    checksum: int
    """Of the file that it was computed from."""


def fingerprint_of(schema: Any) -> bytes:
    """The eight bytes that name a schema in a record: little-endian, over its canonical form."""
    # Nobody who writes or reads records comes here, so they do not load fastavro.
    from fastavro.schema import to_parsing_canonical_form

    table, value = _table(), _EMPTY
    for byte in to_parsing_canonical_form(schema).encode():
        value = (value >> 8) ^ table[(value ^ byte) & 0xFF]
    return value.to_bytes(8, "little")


@cache
def _table() -> list[int]:
    return [_row(index) for index in range(256)]


def _row(index: int) -> int:
    for _ in range(8):
        index = (index >> 1) ^ (_EMPTY if index & 1 else 0)
    return index


def kept() -> dict[str, Kept]:
    """The kept fingerprints, by a schema's path below `avsc`, without its ending."""
    return {
        name: Kept(bytes.fromhex(fingerprint), checksum)
        for name, (fingerprint, checksum) in json.loads(INDEX.read_text("utf-8")).items()
    }


def read_schema(name: str, checksum: int) -> Any:
    """A schema by its path below `avsc`.

    Raises StaleFingerprintError when its file has changed since its fingerprint was kept.
    """
    text = (AVSC / f"{name}.avsc").read_bytes()
    if zlib.crc32(text) != checksum:
        raise StaleFingerprintError(f"{name}.avsc is not the one in {INDEX.name}: make records")
    return json.loads(text)


def computed() -> dict[str, tuple[str, int]]:
    """What the file must hold."""
    found = {}
    for file in sorted(AVSC.rglob("*.avsc")):
        text = file.read_bytes()
        name = file.relative_to(AVSC).with_suffix("").as_posix()
        found[name] = (fingerprint_of(json.loads(text)).hex(), zlib.crc32(text))
    return found


def keep() -> Path:
    """Write the file; where it is."""
    lines = (f"{json.dumps(name)}: {json.dumps(one)}" for name, one in computed().items())
    INDEX.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    return INDEX
