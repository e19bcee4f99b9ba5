"""Inputs made of a seed: real records with fields of nonsense, and their bytes bent."""

from __future__ import annotations

import typing
from functools import cache
from random import Random
from types import UnionType
from typing import Any, Final, get_args, get_origin

import msgspec

from perdure_schemas.avro import encode, framed_records
from perdure_schemas.payloads import Record
from tests.histories.golden_records import full

LONGS: Final = (
    *(0, 1, -1, 2, 63, 64, 127, 128, 8191, 8192, 2**31 - 1, 2**31, -(2**31), 2**32, 2**40),
    *(2**53, 2**62, 2**63 - 1, -(2**63), 1_700_000_000_000, 253_402_300_800_000),
)
TEXTS: Final = (
    *("", "a", "w", "\0", "\x1b[2J", "²", "١", "ü" * 300, "x" * 1_000, "x" * 70_000, "\ud7ff"),
    *("🜁" * 200, "../../etc", "q", "ns.q.commands", "0|x|1", "99999999999999999999", "NaN"),
    *("* * * * *", "0 0 31 2 *", "@every 1ns", "CRON_TZ=No/Where 0 0 * * *", "9" * 400),
    *("((((((((((", "NOT " * 300 + "a = 1", "`", "a = 'b", "StartTime > '99999-01-01'"),
    *("terminate_if_running", "allow_duplicate", "completed", "accepted", "use_existing"),
    *("a" * 5_000 + "\n", "{}", "[1", '"', "\u2028", "\ufffe", "\u202e"),
)
BYTES: Final = (
    *(b"", b"\0", b"\xff", b"\xc3\x01", b"x" * 300, b"\xff" * 70_000, b"null", b"[" * 20_000),
    *(b"\x80\x04", b'{"a":' * 500, b"1e999", b"-" * 64, b"9" * 5_000, b"\xed\xa0\x80"),
)
WORKFLOWS: Final = ("w", "w", "open", "ended", "blocked", "none")
"""Ids that a live shard knows, and one that it does not."""
BYTES_MAX: Final = 200_000


@cache
def hints_of(cls: type[Record]) -> dict[str, Any]:
    """The types of a record's fields."""
    return typing.get_type_hints(cls)


@cache
def corpus() -> tuple[bytes, ...]:
    """One of each record that stands alone, as bytes."""
    return tuple(encode(full(cls)) for cls in framed_records())


def any_value(rng: Random, kind: Any, depth: int = 0) -> Any:
    """A value that a field may have."""
    if get_origin(kind) is UnionType:
        return None if rng.random() < 0.3 else any_value(rng, get_args(kind)[0], depth)
    if get_origin(kind) is list:
        many = rng.choice((0, 0, 1, 2, 50)) if depth < 2 else 0
        return [any_value(rng, get_args(kind)[0], depth + 1) for _ in range(many)]
    if get_origin(kind) is dict:
        many = rng.choice((0, 0, 1, 3)) if depth < 2 else 0
        return {
            rng.choice(TEXTS): any_value(rng, get_args(kind)[1], depth + 1) for _ in range(many)
        }
    if isinstance(kind, type) and issubclass(kind, Record):
        return any_record(rng, kind, depth + 1)
    if kind is bool:
        return rng.random() < 0.5
    if kind is int:
        return rng.choice(LONGS) if rng.random() < 0.7 else rng.randrange(-1_000, 100_000)
    if kind is float:
        return rng.choice((0.0, -1.0, 1e308, float("inf"), float("-inf"), float("nan"), 1e-320))
    return rng.choice(TEXTS if kind is str else BYTES)


def any_record(rng: Random, cls: type[Record], depth: int = 0) -> Record:
    """A record of a class: mostly as an honest one, with some fields of nonsense."""
    hints, values = hints_of(cls), {}
    share = rng.choice((0.05, 0.2, 0.6))
    for field in msgspec.structs.fields(cls):
        if field.required or rng.random() < share:
            values[field.name] = any_value(rng, hints[field.name], depth)
    if "workflow_id" in hints and rng.random() < 0.8:
        values["workflow_id"] = rng.choice(WORKFLOWS)
    if "workflow_type" in hints and rng.random() < 0.7:
        values["workflow_type"] = rng.choice(("Quiet", "Busy"))
    if "run_id" in hints and rng.random() < 0.7:
        values["run_id"] = ""
    return cls(**values)


def bent(rng: Random, data: bytes) -> bytes:
    """Bytes with a few of them flipped, cut, doubled or taken from elsewhere."""
    out = bytearray(data[:BYTES_MAX])
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(out) + 1)
        way = rng.randrange(7)
        if way == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif way == 1 and out:
            out[at % len(out)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0xFE))
        elif way == 2:
            del out[at : at + rng.choice((1, 2, 8, 64, 4_096))]
        elif way == 3:
            out[at:at] = rng.randbytes(rng.choice((1, 2, 8, 64)))
        elif way == 4:
            out[at:at] = out[at : at + rng.choice((1, 8, 64))] * rng.choice((1, 2, 100))
        elif way == 5:
            out[at:at] = b"\xff" * rng.choice((9, 10, 11))
        else:
            other = rng.choice(corpus())
            start = rng.randrange(len(other))
            out[at : at + 8] = other[start : start + 32]
        del out[BYTES_MAX:]
    return bytes(out)


def any_bytes(rng: Random, kinds: typing.Sequence[type[Record]]) -> bytes:
    """A record's bytes, as they are or bent; now and then no record at all."""
    way = rng.random()
    if way < 0.1:
        return rng.randbytes(rng.choice((0, 1, 10, 100)))
    if way < 0.3:
        return bent(rng, rng.choice(corpus()))
    data = encode_of(any_record(rng, rng.choice(kinds)))
    return bent(rng, data) if way < 0.5 else data


def encode_of(record: Record) -> bytes:
    """The bytes of a record; of one that cannot be written, none."""
    try:
        return encode(record)
    except ValueError:
        return b""


def any_headers(rng: Random) -> tuple[tuple[str, bytes], ...]:
    """Headers of a record."""
    if rng.random() < 0.7:
        return ()
    names = ("perdure-reply", "traceparent", "tracestate", "", "x" * 300, "perdure-reply")
    values = (
        *(b"0|x|1", b"1|" + b"y" * 300 + b"|2", b"-1|x|", "²|x|1".encode(), b"9" * 400 + b"|x|"),
        *(b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01", b"\xff" * 600, b"", b"|||||"),
    )
    return tuple((rng.choice(names), rng.choice(values)) for _ in range(rng.choice((1, 2, 40))))
