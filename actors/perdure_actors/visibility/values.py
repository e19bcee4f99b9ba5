"""Values as runs are found by them: what an attribute holds, and bytes that sort as values do."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from perdure_schemas.payloads import Payload

Value = str | int | float | bool
"""A text, a number, a truth value; a point in time is a number of nanoseconds."""

INDEXED_BYTES_MAX: Final = 256
"""So much of a text stands in an index; what is longer is told apart by reading the run."""
ELEMENTS_MAX: Final = 1_000
"""So many words of a list or a text are indexed; the run then stands under REST as well."""

WORD: Final = b"t"
NUMBER: Final = b"n"
TIME: Final = b"d"
TRUTH: Final = b"b"
PART: Final = b"w"
"""A word of a text."""
REST: Final = b"z"
"""Stands for the words that are too many to be indexed, and for no words."""

_U64 = struct.Struct(">Q")
_DOUBLE = struct.Struct(">d")
_SIGN: Final = 1 << 63
_TOP: Final = (1 << 64) - 1
_NS: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Attribute(msgspec.Struct, frozen=True, gc=False):
    """A search attribute's value: its elements, and how they are compared."""

    tag: bytes
    values: tuple[Value, ...]


def attribute_of(payload: Payload) -> Attribute | None:
    """What an attribute holds; None for what cannot be found by, as an unknown encoding."""
    if payload.encoding != "json/plain":
        return None
    try:
        value = msgspec.json.decode(payload.data)
    except (ValueError, RecursionError):
        return None
    kind = payload.metadata.get("type", b"")
    if kind == b"Text":
        return Attribute(PART, words_of(value)) if isinstance(value, str) else None
    if kind == b"Datetime":
        time_ns = time_ns_of(value) if isinstance(value, str) else None
        return None if time_ns is None else Attribute(TIME, (time_ns,))
    if isinstance(value, list):
        return Attribute(WORD, tuple(one for one in value if isinstance(one, str)))
    return _plain(value)


def _plain(value: object) -> Attribute | None:
    if isinstance(value, bool):
        return Attribute(TRUTH, (value,))
    if isinstance(value, int | float):
        return Attribute(NUMBER, (value,))
    if isinstance(value, str):
        return Attribute(WORD, (value,))
    return None


def words_of(text: str) -> tuple[str, ...]:
    """The words that a text is found by."""
    cleaned = "".join(sign if sign.isalnum() else " " for sign in text.casefold())
    return tuple(dict.fromkeys(cleaned.split()))


def time_ns_of(text: str) -> int | None:
    """Nanoseconds since 1970 of an ISO 8601 time, UTC where it names no zone; None for no time."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    past = found - _EPOCH
    return (past.days * 86_400 + past.seconds) * _NS + past.microseconds * 1000


def sortable(tag: bytes, value: Value) -> bytes:
    """Bytes that sort as the values of a tag do, none the beginning of another.

    Large numbers and long texts share them with their neighbours.
    """
    if isinstance(value, str):
        cut = value.encode("utf-8", "surrogatepass")[:INDEXED_BYTES_MAX]
        return tag + cut.replace(b"\0", b"\0\xff") + b"\0\0"
    if isinstance(value, bool):
        return tag + (b"\1" if value else b"\0")
    if tag == TIME and isinstance(value, int):
        return tag + _U64.pack(min(max(value + _SIGN, 0), _TOP))
    return tag + _number(value)


def _number(value: float) -> bytes:
    try:
        double = float(value) + 0.0
    except OverflowError:
        double = float("inf") if value > 0 else float("-inf")
    bits: int = _U64.unpack(_DOUBLE.pack(double))[0]
    return _U64.pack(bits ^ (_TOP if bits & _SIGN else _SIGN))


def index_values(attribute: Attribute) -> list[bytes]:
    """The values that a run with an attribute is indexed under: at least one."""
    found = [sortable(attribute.tag, value) for value in attribute.values[:ELEMENTS_MAX]]
    return found if 0 < len(attribute.values) <= ELEMENTS_MAX else [*found, REST]


def is_told_apart(value: Value) -> bool:
    """Whether no other value shares the sortable bytes of this one."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass")) < INDEXED_BYTES_MAX
    return isinstance(value, bool) or abs(value) < 1 << 53


def position(start_ms: int, run_id: str) -> bytes:
    """Where a run stands among others, newest first."""
    return _U64.pack(_TOP - max(start_ms, 0)) + run_id.encode()


def run_at(place: bytes) -> str:
    """The run id of a position."""
    return place[8:].decode()


def first_since(start_ms: int) -> bytes:
    """Where those end that started at a time or later."""
    return _U64.pack(_TOP - min(max(start_ms, 1) - 1, _TOP))


def first_upto(start_ms: int) -> bytes:
    """Where those begin that started at a time or earlier."""
    return _U64.pack(_TOP - min(max(start_ms, 0), _TOP))


def inverted(key: bytes) -> bytes:
    """Bytes that sort the other way round, where no key is the beginning of another."""
    return key.translate(_INVERSE)


_INVERSE: Final = bytes(255 - number for number in range(256))
