"""Confluent's framing: a zero byte, the id of a schema in a registry, then the Avro body.

A schema from a registry is data from outside. It is never compiled as it came: what fits one of our
commands is written anew in our own words, and anything else is refused with what does not fit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from perdure_schemas.avro import (
    COMMAND_BYTES_MAX,
    COMMAND_MODULES,
    UnreadableRecordError,
    decode_body,
    framed_records,
    record_classes,
    schema_text,
)
from perdure_schemas.codec import Compiler
from perdure_schemas.payloads import Record

MAGIC: Final = b"\x00"
FRAME_BYTES: Final = 5
SCHEMA_CHARS_MAX: Final = 256 * 1024
READERS_MAX: Final = 256
_SAME: Final = {"int": "long"}
"""Avro writes both alike."""


class UnfitSchemaError(UnreadableRecordError):
    """A schema that is none of our commands', or not as ours has it."""


def schema_id_of(data: bytes | None) -> int | None:
    """The id of the schema that Confluent-framed bytes name; None for bytes framed otherwise.

    Example:
        >>> schema_id_of(bytes([0, 0, 0, 0, 7]))
        7
    """
    if data is None or len(data) < FRAME_BYTES or not data.startswith(MAGIC):
        return None
    return int.from_bytes(data[1:FRAME_BYTES])


def decode_confluent(data: bytes, text: str, *, bytes_max: int = COMMAND_BYTES_MAX) -> Record:
    """The command that Confluent-framed bytes hold, written with the schema of a text.

    Raises UnfitSchemaError when the schema is not one of ours, UnreadableRecordError for bytes
    that it does not describe or that are more than `bytes_max`.
    """
    if len(data) > bytes_max:
        msg = f"the record has {len(data)} bytes; at most {bytes_max} are read"
        raise UnreadableRecordError(msg)
    cls, reader = _reader_of(text)
    return decode_body(cls, reader, data, FRAME_BYTES)


def fitting(text: str) -> type[Record]:
    """The command that a schema's text describes. Raises UnfitSchemaError when there is none."""
    return _reader_of(text)[0]


@lru_cache(READERS_MAX)
def _reader_of(text: str) -> tuple[type[Record], Any]:
    """What a schema writes and how it is read; a function of its text and of this release only."""
    if len(text) > SCHEMA_CHARS_MAX:
        raise UnfitSchemaError(f"the schema has over {SCHEMA_CHARS_MAX} characters")
    try:
        theirs = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnfitSchemaError(f"the schema is no Avro schema: {error}") from error
    commands = _commands()
    name = _full_name(theirs, "") if _is_record(theirs) else ""
    if name not in commands:
        raise UnfitSchemaError(
            f"the schema describes {name or 'no record'}, which is no command of ours;"
            f" those are {', '.join(sorted(commands))}"
        )
    cls = commands[name]
    ours = json.loads(schema_text(cls.__name__))
    try:
        fitted = _Fitting(theirs, ours).fitted
    except RecursionError as error:
        raise UnfitSchemaError("the schema is nested too deep") from error
    return cls, Compiler().compile(fitted, record_classes())[1]


@lru_cache(1)
def _commands() -> Mapping[str, type[Record]]:
    modules = {module.__name__ for module in COMMAND_MODULES}
    return {f"perdure.{c.__name__}": c for c in framed_records() if c.__module__ in modules}


def _is_record(kind: Any) -> bool:
    return isinstance(kind, dict) and kind.get("type") == "record"


def _full_name(kind: Mapping[str, Any], space: str) -> str:
    name, own = str(kind.get("name", "")), kind.get("namespace", space)
    return name if "." in name or not own else f"{own}.{name}"


class _Fitting:
    """Holds a foreign record against ours, and writes it anew in our words.

    It may leave out what has a default and order fields as it likes; a field that we do not know
    asks for something that would silently not be done, so it does not fit.
    """

    def __init__(self, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
        self._theirs: dict[str, Mapping[str, Any]] = {}
        self._ours = dict(_records_in(ours))
        self.fitted = self._record(theirs, ours, "", ours["name"])

    def _record(
        self, theirs: Mapping[str, Any], ours: Mapping[str, Any], space: str, place: str
    ) -> dict[str, Any]:
        name = _full_name(theirs, space)
        self._theirs[name] = theirs
        known = {field["name"]: field for field in ours["fields"]}
        fields: list[dict[str, Any]] = []
        for field in _fields_of(theirs, place):
            mine = known.pop(field["name"], None)
            here = f"{place}.{field['name']}"
            if mine is None:
                raise UnfitSchemaError(
                    f"the schema's field {here} is not ours, or is there twice: a newer release"
                    " may know it; this one would not do what it asks for"
                )
            kind = self._kind(field["type"], mine["type"], name.rpartition(".")[0], here)
            fields.append({"name": mine["name"], "type": kind})
        for missing in known.values():
            if "default" not in missing:
                raise UnfitSchemaError(f"the schema lacks the field {place}.{missing['name']}")
        return {"type": "record", "name": ours["name"], "fields": fields}

    def _kind(self, theirs: Any, ours: Any, space: str, place: str) -> Any:
        """Their type in our words. Raises UnfitSchemaError where it is another one."""
        if isinstance(ours, list):
            if not isinstance(theirs, list):
                return self._kind(theirs, ours[1], space, place)
            if len(theirs) == 2 and theirs[0] == "null":
                return ["null", self._kind(theirs[1], ours[1], space, place)]
        elif isinstance(ours, dict) and ours["type"] in ("array", "map"):
            inner = "items" if ours["type"] == "array" else "values"
            if isinstance(theirs, dict) and theirs.get("type") == ours["type"]:
                kind = self._kind(theirs.get(inner), ours[inner], space, f"{place}[]")
                return {"type": ours["type"], inner: kind}
        elif isinstance(ours, dict) or "." in ours:
            mine = ours if isinstance(ours, dict) else self._ours[ours]
            name = f"perdure.{mine['name']}"
            if _is_record(theirs) and _full_name(theirs, space) == name:
                return self._record(theirs, mine, space, place)
            if isinstance(theirs, str) and name in (theirs, f"{space}.{theirs}"):
                known = self._theirs.get(name)
                if known is not None:
                    return self._record(known, mine, space, place)
        else:
            plain = theirs.get("type") if isinstance(theirs, dict) else theirs
            if isinstance(plain, str) and _SAME.get(plain, plain) == ours:
                return ours
        raise UnfitSchemaError(
            f"the schema's field {place} is {_said(theirs)}, and ours is {_said(ours)}"
        )


def _fields_of(record: Mapping[str, Any], place: str) -> list[Mapping[str, Any]]:
    fields = record.get("fields")
    if not isinstance(fields, list) or not fields:
        raise UnfitSchemaError(f"the schema's record {place} has no fields")
    for field in fields:
        if not isinstance(field, dict) or not isinstance(field.get("name"), str):
            raise UnfitSchemaError(f"the schema's record {place} has a field without a name")
        if "type" not in field:
            raise UnfitSchemaError(f"the schema's field {place}.{field['name']} has no type")
    return fields


def _records_in(kind: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every record that a schema of ours defines, by full name."""
    if isinstance(kind, list):
        for one in kind:
            yield from _records_in(one)
    elif isinstance(kind, dict):
        if kind["type"] == "record":
            yield f"perdure.{kind['name']}", kind
            for field in kind["fields"]:
                yield from _records_in(field["type"])
        else:
            yield from _records_in(kind.get("items") or kind.get("values"))


def _said(kind: Any) -> str:
    text = json.dumps(kind) if not _is_record(kind) else f"record {kind.get('name')}"
    return text if len(text) <= 80 else f"{text[:77]}..."
