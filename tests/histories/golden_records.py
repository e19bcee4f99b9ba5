"""One of each record, every field set, as files: the corpus that every later release must read.

`make records` keeps today's schemas and writes the corpus, both as today's version's. What a
version that is out has left is never written again.
"""

from __future__ import annotations

import json
import typing
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import msgspec

from perdure_schemas.avro import encode, framed_records, schema_text
from perdure_schemas.payloads import Record
from perdure_schemas.release import keep
from perdure_schemas.version import VERSION

CORPUS = Path(__file__).parent / "records"


def full(cls: type[Record], salt: str = "") -> Record:
    """A record with a value that is not the default in every field, the same at each call."""
    hints = typing.get_type_hints(cls)
    return cls(**{name: _value(hints[name], f"{salt}{name}") for name in cls.__struct_fields__})


def _value(kind: Any, name: str) -> Any:
    if get_origin(kind) is UnionType:
        return _value(get_args(kind)[0], name)
    if get_origin(kind) is list:
        return [_value(get_args(kind)[0], f"{name}-{number}") for number in (1, 2)]
    if get_origin(kind) is dict:
        return {f"{name}-ü": _value(get_args(kind)[1], name), "": _value(get_args(kind)[1], "")}
    if isinstance(kind, type) and issubclass(kind, Record):
        return full(kind, f"{name}.")
    small = sum(name.encode())
    values: dict[Any, Any] = {
        str: f"{name} äöü 🜁",
        bytes: b"\x00\xff" + name.encode() * 9,
        int: (small * 2**40 + small) * (-1 if small % 2 else 1),
        bool: True,
        float: small / 7,
    }
    return values[kind]


def write(version: str = VERSION) -> Path:
    """Write a version's corpus: each record's bytes, and beside them what they hold, as JSON."""
    folder = CORPUS / version
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    for cls in framed_records():
        record = full(cls)
        (folder / f"{cls.__name__}.bin").write_bytes(encode(record))
        fields = json.loads(schema_text(cls.__name__))["fields"]
        held = {field["name"]: getattr(record, field["name"]) for field in fields}
        text = msgspec.json.format(msgspec.json.encode(held), indent=1)
        (folder / f"{cls.__name__}.json").write_bytes(text + b"\n")
    return folder


if __name__ == "__main__":
    print(f"schemas kept in {keep()}, records in {write()}")
