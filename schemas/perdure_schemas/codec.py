"""Straight-line Avro encoders and decoders, compiled from a record's .avsc. Nothing else here.

They go straight between bytes and objects, several times faster than by way of dictionaries, and
refuse what a general reader lets pass. fastavro is the authority: tests hold both together.

Bounds: every length is read from the data and checked by where the cursor ends, every item of an
array takes at least a byte, and nothing recurses, so hostile bytes cost no more than their size.
"""

from __future__ import annotations

import struct
from typing import Any

from perdure_schemas.payloads import Record

_SHORT = [bytes([n]) for n in range(128)]
_PAIRS = _SHORT + [bytes([(n & 0x7F) | 0x80, n >> 7]) for n in range(128, 16384)]
_VARINT_BYTES_MAX = 10
_LONG_MAX = 2**63 - 1


class MalformedError(ValueError):
    """Bytes that break Avro's own rules."""


def write_long(value: int) -> bytes:
    """An Avro long: zigzag, then seven bits a byte."""
    z = value << 1 if value >= 0 else ((-value) << 1) - 1
    if z < 16384:
        return _PAIRS[z]
    if 1 << 35 <= z < 1 << 42:
        # Times in ms since 1970 take six bytes, until 2039.
        return bytes(
            (
                z & 127 | 128,
                z >> 7 & 127 | 128,
                z >> 14 & 127 | 128,
                z >> 21 & 127 | 128,
                z >> 28 & 127 | 128,
                z >> 35,
            )
        )
    if not -_LONG_MAX - 1 <= value <= _LONG_MAX:
        msg = f"{value} does not fit an Avro long (64 bits)"
        raise ValueError(msg)
    out = bytearray()
    while z > 127:
        out.append((z & 0x7F) | 0x80)
        z >>= 7
    out.append(z)
    return bytes(out)


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """The long at a position, and the position after it."""
    byte = data[at]
    if byte < 128:
        return (byte >> 1) ^ -(byte & 1), at + 1
    z = byte & 0x7F
    byte = data[at + 1]
    if byte < 128:
        z |= byte << 7
        return (z >> 1) ^ -(z & 1), at + 2
    z |= (byte & 0x7F) << 7
    byte = data[at + 2]
    if byte < 128:
        z |= byte << 14
        return (z >> 1) ^ -(z & 1), at + 3
    # Times in ms since 1970 take six bytes, until 2039.
    six = int.from_bytes(data[at : at + 6], "little")
    if six & 0x8080_8080_8080 == 0x0080_8080_8080:
        z = (
            six & 0x7F
            | six >> 1 & 0x3F80
            | six >> 2 & 0x1F_C000
            | six >> 3 & 0xFE0_0000
            | six >> 4 & 0x7_F000_0000
            | six >> 5 & 0x3F8_0000_0000
        )
        return (z >> 1) ^ -(z & 1), at + 6
    return _read_any(data, at)


def _read_any(data: bytes, at: int) -> tuple[int, int]:
    z = shift = 0
    byte = 0x80
    while byte & 0x80:
        if shift >= 7 * _VARINT_BYTES_MAX:
            msg = "a number of more than ten bytes"
            raise MalformedError(msg)
        byte = data[at]
        at += 1
        z |= (byte & 0x7F) << shift
        shift += 7
    if z >= 1 << 64:
        msg = "a number of more than 64 bits"
        raise MalformedError(msg)
    return (z >> 1) ^ -(z & 1), at


def read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """The length-prefixed bytes at a position, and the position after them."""
    size, at = read_long(data, at)
    end = at + size
    if size < 0 or end > len(data):
        msg = f"a length of {size} where {len(data) - at} bytes are left"
        raise MalformedError(msg)
    return data[at:end], end


def read_count(data: bytes, at: int) -> tuple[int, int]:
    """The length of an array's or a map's next block, and the position after it; 0 ends it."""
    count, at = read_long(data, at)
    if count < 0:
        count = -count
        _, at = read_long(data, at)
    if count > len(data) - at:
        msg = f"{count} items where {len(data) - at} bytes are left"
        raise MalformedError(msg)
    return count, at


class Compiler:
    """Compiles the encoder and decoder of each record, once, and shares the nested ones."""

    def __init__(self, text_errors: str = "strict") -> None:
        """`text_errors`: what becomes of text that is no UTF-8, as `str.encode` calls it."""
        self._encoded = (
            ".encode()" if text_errors == "strict" else f".encode('utf8', {text_errors!r})"
        )
        self.encoders: dict[str, Any] = {}
        self.decoders: dict[str, Any] = {}
        self.names: dict[str, Any] = {}

    def compile(self, schema: dict[str, Any], classes: dict[str, type[Record]]) -> tuple[Any, Any]:
        """encode(record, append) and decode(data, at) -> (record, at) for a record schema."""
        name = schema["name"]
        if name not in self.encoders:
            lines_out = ["def encode(r, a):"]
            lines_in = ["def decode(d, p):"]
            arguments = []
            for number, field in enumerate(schema["fields"]):
                self._field_out(field, lines_out, classes)
                self._field_in(field, f"v{number}", lines_in, classes)
                arguments.append(f"{field['name']}=v{number}")
            lines_in.append(f" return C({', '.join(arguments)}), p")
            space = self._space(classes[name])
            source = "\n".join([*lines_out, *lines_in])
            code = compile(source, f"<avro {name}>", "exec")
            exec(code, space)  # noqa: S102 - made of our own .avsc, as dataclasses makes __init__
            self.encoders[name], self.decoders[name] = space["encode"], space["decode"]
        return self.encoders[name], self.decoders[name]

    def _space(self, cls: type[Record]) -> dict[str, Any]:
        space = {
            "C": cls,
            "L": write_long,
            "RL": read_long,
            "RB": read_bytes,
            "RC": read_count,
            "S": _PAIRS,
            "PD": struct.Struct("<d").pack,
            "UD": struct.Struct("<d").unpack_from,
            "Bad": MalformedError,
        }
        space.update(self.names)
        return space

    def _record(self, kind: Any, classes: dict[str, type[Record]]) -> str | None:
        """The name of a nested record type, compiled on first sight."""
        if isinstance(kind, dict) and kind["type"] == "record":
            encoder, decoder = self.compile(kind, classes)
            self.names[f"E_{kind['name']}"] = encoder
            self.names[f"D_{kind['name']}"] = decoder
            name: str = kind["name"]
            return name
        if isinstance(kind, str) and "." in kind:
            return kind.rpartition(".")[2]
        return None

    def _value_out(self, kind: Any, v: str, classes: dict[str, type[Record]]) -> str:
        """A statement that appends one value; `v` is an expression without side effects."""
        name = self._record(kind, classes)
        if name:
            return f"E_{name}({v}, a)"
        if kind == "string":
            sized = "n = len(b); a(S[n + n] if n < 8192 else L(n)); a(b)"
            return f"b = {v}{self._encoded}; {sized}"
        if kind == "bytes":
            return f"b = {v}; n = len(b); a(S[n + n] if n < 8192 else L(n)); a(b)"
        return {
            "long": f"a(L({v}))",
            "boolean": f"a(b'\\1' if {v} else b'\\0')",
            "double": f"a(PD({v}))",
        }[kind]

    def _field_out(self, field: dict[str, Any], lines: list[str], classes: Any) -> None:
        kind, v = field["type"], f"r.{field['name']}"
        if isinstance(kind, list):
            inner = self._value_out(kind[1], "v", classes)
            lines += [f" v = {v}", " if v is None: a(b'\\0')", f" else: a(b'\\2'); {inner}"]
        elif isinstance(kind, dict) and kind["type"] == "array":
            inner = self._value_out(kind["items"], "v", classes)
            lines += [
                f" s = {v}",
                " if s:",
                "  a(L(len(s)))",
                f"  for v in s: {inner}",
                " a(b'\\0')",
            ]
        elif isinstance(kind, dict) and kind["type"] == "map":
            inner = self._value_out(kind["values"], "v", classes)
            lines += [
                f" s = {v}",
                " if s:",
                "  a(L(len(s)))",
                "  for k, v in s.items():",
                f"   {self._value_out('string', 'k', classes)}",
                f"   {inner}",
                " a(b'\\0')",
            ]
        elif kind in ("string", "bytes"):
            statement = self._value_out(kind, "v", classes)
            lines += [f" v = {v}", f" if v: {statement}", " else: a(b'\\0')"]
        elif kind == "long":
            lines += [f" v = {v}", " a(S[v + v] if 0 <= v < 8192 else L(v))"]
        else:
            lines.append(f" {self._value_out(kind, v, classes)}")

    def _value_in(self, kind: Any, to: str, classes: dict[str, type[Record]]) -> list[str]:
        """Statements that read one value at `p` into a name and move `p`."""
        name = self._record(kind, classes)
        if name:
            return [f"{to}, p = D_{name}(d, p)"]
        if kind in ("string", "bytes"):
            # Lengths below 8,192 take at most two bytes; the cursor's end is checked once, by the
            # caller.
            tail = ".decode()" if kind == "string" else ""
            return [
                "n = d[p]",
                f"if n < 128 and not n & 1: q = p + 1 + (n >> 1); {to} = d[p + 1:q]{tail}; p = q",
                "elif not n & 1 and (m := d[p + 1]) < 128:",
                f" q = p + 2 + (m << 6 | (n & 127) >> 1); {to} = d[p + 2:q]{tail}; p = q",
                f"else: b, p = RB(d, p); {to} = b{tail}",
            ]
        if kind == "long":
            return [
                "n = d[p]",
                f"if n < 128: {to} = (n >> 1) ^ -(n & 1); p += 1",
                "elif (m := d[p + 1]) < 128:",
                f" n = m << 7 | n & 127; {to} = (n >> 1) ^ -(n & 1); p += 2",
                f"else: {to}, p = RL(d, p)",
            ]
        if kind == "boolean":
            return [
                "n = d[p]; p += 1",
                "if n > 1: raise Bad('a boolean that is neither 0 nor 1')",
                f"{to} = n == 1",
            ]
        return [f"{to} = UD(d, p)[0]; p += 8"]

    def _field_in(self, field: dict[str, Any], to: str, lines: list[str], classes: Any) -> None:
        kind = field["type"]
        if isinstance(kind, list):
            lines += [" n = d[p]; p += 1", f" if n == 0: {to} = None", " elif n == 2:"]
            lines += [f"  {line}" for line in self._value_in(kind[1], to, classes)]
            lines.append(" else: raise Bad('a union branch that does not exist')")
        elif isinstance(kind, dict) and kind["type"] in ("array", "map"):
            lines += self._blocks_in(kind, to, classes)
        else:
            lines += [f" {line}" for line in self._value_in(kind, to, classes)]

    def _blocks_in(self, kind: dict[str, Any], to: str, classes: Any) -> list[str]:
        """An array or a map, block by block; nearly all are empty or have one short block."""
        is_map = kind["type"] == "map"
        inner = self._value_in(kind["values" if is_map else "items"], "x", classes)
        if is_map:
            inner = [*self._value_in("string", "k", classes), *inner]
        return [
            f" {to} = {'{}' if is_map else '[]'}",
            " n = d[p]",
            " if n == 0: p += 1",
            " else:",
            *([] if is_map else [f"  o = {to}.append"]),
            "  while True:",
            # A count below 64 needs no check: each item reads a byte, and the bytes end.
            "   if n < 128 and not n & 1: c = n >> 1; p += 1",
            "   else: c, p = RC(d, p)",
            "   if c == 0: break",
            "   for _ in range(c):",
            *(f"    {line}" for line in inner),
            f"    {to}[k] = x" if is_map else "    o(x)",
            "   n = d[p]",
        ]
