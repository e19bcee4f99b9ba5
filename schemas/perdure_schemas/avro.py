"""Records to bytes and back: Avro single-object framing over a closed set of schemas.

Two rules of the room: a writer's schema never comes with the data, and nothing is decoded before
its size is known to be within bounds.
"""

from __future__ import annotations

import struct
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from perdure_schemas import (
    child_commands,
    child_events,
    commands,
    events,
    fact_events,
    findings,
    message_commands,
    message_events,
    operator_commands,
    operator_events,
    partition_events,
    payloads,
    replies,
    tasks,
    transition,
)
from perdure_schemas.codec import Compiler
from perdure_schemas.fingerprints import AVSC, fingerprint_of, kept, read_schema
from perdure_schemas.payloads import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from perdure_schemas.fingerprints import Kept

MAGIC = b"\xc3\x01"
FRAME_BYTES = 10
COMMAND_BYTES_MAX = 1024 * 1024
RECORD_BYTES_MAX = 8 * 1024 * 1024
EVENT_BYTES_MAX = 2 * RECORD_BYTES_MAX
"""An event, which never is a record of its own."""
BODY_BYTES_MAX = 64 * 7 * 1024 * 1024
"""The body of a transition, whose parts are records of their own: 64 of 7 MiB."""

COMMAND_MODULES = (commands, message_commands, operator_commands, child_commands)
EVENT_MODULES = (
    *(events, message_events, child_events),
    *(operator_events, fact_events, partition_events),
)
_EVENT_MODULE_NAMES = frozenset(module.__name__ for module in EVENT_MODULES)
RECORD_MODULES = (*COMMAND_MODULES, *EVENT_MODULES, tasks, replies, findings, transition)
"""Where records that stand alone are: by what they are, and by noun."""

R = TypeVar("R", bound=Record)


class UnreadableRecordError(ValueError):
    """Bytes that are no record of ours, or one that this release cannot read."""


class UnknownSchemaError(UnreadableRecordError):
    """A framed record whose fingerprint this release does not know: a newer release wrote it."""


def framed_records() -> Iterator[type[Record]]:
    """Every record class that stands alone on a topic or inside another record's bytes."""
    for module in RECORD_MODULES:
        for value in vars(module).values():
            is_record = isinstance(value, type) and issubclass(value, Record)
            if is_record and value.__module__ == module.__name__:
                yield value


def schema_text(name: str) -> str:
    """The published .avsc of a record, as text.

    Raises FileNotFoundError when there is no such record.
    """
    return (AVSC / f"{name}.avsc").read_text("utf-8")


def frame(schema: Any) -> bytes:
    """The ten bytes before a record: the magic, then the schema's fingerprint."""
    return MAGIC + fingerprint_of(schema)


class _Codec:
    """How one record class meets one schema: today's, or the one an earlier release wrote with.

    A released schema needs no resolution: fields are only ever added, with defaults, so what it
    lacks takes today's default. It is compiled when it is first needed.
    """

    __slots__ = (
        "_compiler",
        "_escaping",
        "_read",
        "bytes_max",
        "cls",
        "decode",
        "encode",
        "prefix",
    )

    def __init__(
        self, cls: type[Record], fingerprint: bytes, read: Callable[[], Any], compiler: Compiler
    ) -> None:
        self.cls = cls
        self.prefix = MAGIC + fingerprint
        self._read = read
        self._compiler = compiler
        self._escaping: Any = None
        self.bytes_max = RECORD_BYTES_MAX
        if cls is transition.TransitionBody:
            self.bytes_max = BODY_BYTES_MAX
        elif cls.__module__ in _EVENT_MODULE_NAMES:
            self.bytes_max = EVENT_BYTES_MAX
        self.encode: Any = self._encode_first
        self.decode: Any = self._decode_first

    def _compile(self) -> None:
        self.encode, self.decode = self._compiler.compile(self._read(), record_classes())

    def encode_escaped(self, record: Record, append: Any) -> None:
        """Encode a record of which some text is no UTF-8: that is written with backslashes."""
        if self._escaping is None:
            compiler = Compiler(text_errors="backslashreplace")
            self._escaping = compiler.compile(self._read(), record_classes())[0]
        self._escaping(record, append)

    def compile_head(self, wanted: Collection[str]) -> Any:
        """A decoder that stops behind the last of these fields, and of those without a default."""
        needed = {*wanted, *(one.name for one in msgspec.structs.fields(self.cls) if one.required)}
        schema = self._read()
        fields = schema["fields"]
        end = max(n for n, field in enumerate(fields, 1) if field["name"] in needed)
        head = {**schema, "fields": fields[:end]}
        return Compiler().compile(head, record_classes())[1]

    def _encode_first(self, record: Record, append: Any) -> None:
        self._compile()
        self.encode(record, append)

    def _decode_first(self, data: bytes, at: int) -> tuple[Record, int]:
        self._compile()
        decoded: tuple[Record, int] = self.decode(data, at)
        return decoded


@cache
def record_classes() -> dict[str, type[Record]]:
    """Every record class by name, nested ones too."""
    nested = {
        name: value
        for name, value in vars(payloads).items()
        if isinstance(value, type) and issubclass(value, Record)
    }
    return nested | {cls.__name__: cls for cls in framed_records()}


class _Registry:
    """The closed set: today's codec of each class, and one of each schema ever released."""

    def __init__(self) -> None:
        self.by_class: dict[type[Record], _Codec] = {}
        self.by_prefix: dict[bytes, _Codec] = {}
        compiler, all_kept = Compiler(), kept()
        for cls in framed_records():
            name = cls.__name__
            fingerprint, checksum = all_kept[name]
            codec = _Codec(cls, fingerprint, partial(read_schema, name, checksum), compiler)
            self.by_class[cls] = codec
            self.by_prefix[codec.prefix] = codec
        for name, fingerprint, read in released_schemas(all_kept):
            # A compiler of its own: records nested in it are of its release too.
            codec = _Codec(record_classes()[name], fingerprint, read, Compiler())
            self.by_prefix.setdefault(codec.prefix, codec)


def released_schemas(
    all_kept: Mapping[str, Kept],
) -> Iterator[tuple[str, bytes, Callable[[], Any]]]:
    """Every schema ever released: record name, fingerprint, and what reads it."""
    for path, (fingerprint, checksum) in all_kept.items():
        if path.startswith("released/"):
            name = path.rpartition("/")[2]
            yield name, fingerprint, partial(read_schema, path, checksum)


_MALFORMED = (ValueError, IndexError, TypeError, struct.error)

_REGISTRY = _Registry()
_BY_CLASS = _REGISTRY.by_class
_BY_PREFIX = _REGISTRY.by_prefix


def encode(record: Record) -> bytes:
    """The framed bytes of a record; text that is no UTF-8 is written escaped.

    Raises ValueError or TypeError when a field does not fit its schema.
    """
    codec = _BY_CLASS[type(record)]
    parts = [codec.prefix]
    try:
        codec.encode(record, parts.append)
    except UnicodeEncodeError:
        parts = [codec.prefix]
        codec.encode_escaped(record, parts.append)
    except (TypeError, AttributeError) as error:
        raise TypeError(misfit(record) or str(error)) from error
    return b"".join(parts)


def write(record: R) -> tuple[R, bytes]:
    """A record as whoever reads it will have it, and its framed bytes.

    It is the very same record unless some of its text is no UTF-8. Raises as `encode` does.
    """
    codec = _BY_CLASS[type(record)]
    parts = [codec.prefix]
    try:
        codec.encode(record, parts.append)
    except UnicodeEncodeError:
        parts = [codec.prefix]
        codec.encode_escaped(record, parts.append)
        data = b"".join(parts)
        read: R = codec.decode(data, FRAME_BYTES)[0]
        return read, data
    return record, b"".join(parts)


def misfit(record: Record) -> str:
    """Which field of a record does not fit its schema, and how; empty where that cannot be said."""
    try:
        msgspec.convert(msgspec.to_builtins(record, builtin_types=(bytes,)), type(record))
    except msgspec.ValidationError as error:
        return f"{type(record).__name__}: {error}"
    except (TypeError, ValueError, OverflowError, RecursionError):
        return ""
    return ""


def decode(data: bytes | None, *, bytes_max: int | None = None) -> Record:
    """The record that framed bytes hold, whichever of our schemas wrote it.

    Raises UnreadableRecordError, with what is wrong with them, for any other bytes, and for more
    than `bytes_max`: by itself as many as a record of its kind may have.
    """
    codec = None if data is None else _BY_PREFIX.get(data[:FRAME_BYTES])
    if codec is None or data is None:
        raise _unreadable(data, RECORD_BYTES_MAX if bytes_max is None else bytes_max)
    if len(data) > (codec.bytes_max if bytes_max is None else bytes_max):
        raise _unreadable(data, codec.bytes_max if bytes_max is None else bytes_max)
    # As in `decode_body`, without its call: this is what a take-over does most.
    try:
        record, end = codec.decode(data, FRAME_BYTES)
    except _MALFORMED as error:
        raise _misread(codec.cls, error) from error
    if end != len(data):
        raise _wrong_length(codec.cls, len(data) - end)
    decoded: Record = record
    return decoded


def _unreadable(data: bytes | None, bytes_max: int) -> UnreadableRecordError:
    """Why bytes are not even looked into."""
    if data is None or len(data) < FRAME_BYTES or not data.startswith(MAGIC):
        msg = "not a framed Avro record: it does not begin with C3 01 and a fingerprint"
        return UnreadableRecordError(msg)
    if len(data) > bytes_max:
        msg = f"the record has {len(data)} bytes; at most {bytes_max} are read"
        return UnreadableRecordError(msg)
    msg = (
        f"unknown schema fingerprint {data[2:FRAME_BYTES].hex()}: written by a newer release"
        " or by something else; upgrade this side, or use a published schema"
    )
    return UnknownSchemaError(msg)


def head_reader(heads: Mapping[type[Record], Collection[str]]) -> Callable[[bytes], Record]:
    """A `decode` that reads records of some classes only as far as it takes to know some fields.

    The fields behind those have their defaults. It is for bytes that were decoded whole before,
    when they came in: what follows a head is not looked at.
    """
    known: dict[bytes, Any] = {}

    def read(data: bytes) -> Record:
        prefix = data[:FRAME_BYTES]
        head = known.get(prefix)
        if head is None:
            codec = _BY_PREFIX.get(prefix)
            if codec is None or codec.cls not in heads:
                return decode(data)
            head = known[prefix] = codec.compile_head(heads[codec.cls])
        record: Record = head(data, FRAME_BYTES)[0]
        return record

    return read


def decode_body(cls: type[Record], read: Any, data: bytes, at: int) -> Record:
    """The record of a class that the bytes behind a frame hold, and nothing but it.

    `read` is a compiled decoder of its schema. Raises UnreadableRecordError for other bytes.
    """
    try:
        record, end = read(data, at)
    except _MALFORMED as error:
        raise _misread(cls, error) from error
    if end != len(data):
        raise _wrong_length(cls, len(data) - end)
    decoded: Record = record
    return decoded


def _misread(cls: type[Record], error: Exception) -> UnreadableRecordError:
    return UnreadableRecordError(
        f"a {cls.__name__} record that cannot be read: {type(error).__name__}: {error}"
    )


def _wrong_length(cls: type[Record], left: int) -> UnreadableRecordError:
    return UnreadableRecordError(f"a {cls.__name__} record whose length is off by {left} bytes")


def decode_as(cls: type[R], data: bytes | None, *, bytes_max: int | None = None) -> R:
    """The record of one class that framed bytes hold.

    Raises UnreadableRecordError when they hold another or none.
    """
    record = decode(data, bytes_max=bytes_max)
    if not isinstance(record, cls):
        msg = f"a {type(record).__name__} record where a {cls.__name__} belongs"
        raise UnreadableRecordError(msg)
    return record


def kind_of(data: bytes) -> type[Record] | None:
    """The record class that framed bytes claim to be, without decoding them."""
    codec = _BY_PREFIX.get(data[:FRAME_BYTES])
    return codec.cls if codec else None
