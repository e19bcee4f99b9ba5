"""User values to payloads and back: None, bytes, and JSON for everything else; never pickle.

The encoding names are Temporal's, so a payload written by one of its converters reads here. What
a user may pass: None, bytes, dataclasses, attrs classes, TypedDict, NamedTuple, msgspec Structs,
pydantic models, containers of these, and the usual scalars.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, get_origin

import msgspec

from perdure_schemas.contexts import SerializationContext
from perdure_schemas.likenesses import (
    UnlikeError,
    has_odd_keys,
    key_of,
    likeness_of,
    made_of,
)
from perdure_schemas.payloads import Payload
from perdure_schemas.transfer_types import as_asked, to_be_read, to_be_written
from perdure_schemas.unions import Convert, walked

NULL_ENCODING = "binary/null"
BYTES_ENCODING = "binary/plain"
JSON_ENCODING = "json/plain"
READERS_MAX = 4096
RAW = "__perdure_raw__"
"""On a class whose values are payloads as they are; this room does not know the class itself."""
RAW_RECORD = "__perdure_record__"
"""Its method that gives the payload."""
ACCEPTED = (
    "None, bytes, str, int, float, bool, datetime, date, time, timedelta, Decimal, UUID, enum, "
    "dataclass, attrs, TypedDict, NamedTuple, msgspec.Struct or pydantic model, "
    "and list, tuple, set, dict and other iterables and mappings of these"
)

Reader = Callable[[bytes], Any]


class PayloadConverter(ABC):
    """What turns the values users pass into payloads and back, in their order."""

    @property
    def is_contextual(self) -> bool:
        """Whether it wants to know whose values it converts; if not, no context need be made."""
        return False

    def with_context(self, context: SerializationContext) -> PayloadConverter:
        """The converter as it works in a context."""
        return self

    @abstractmethod
    def to_payloads(self, values: Sequence[Any], *, names: Sequence[str] = ()) -> list[Payload]:
        """A payload for each value. The names, where known, make errors readable.

        Raises TypeError for a value of a type that cannot be written, ValueError for a value
        that cannot; both name the argument.
        """

    @abstractmethod
    def from_payloads(
        self,
        payloads: Sequence[Payload],
        type_hints: Sequence[Any] | None = None,
        *,
        names: Sequence[str] = (),
    ) -> list[Any]:
        """The value of each payload, as its type hint where there is one.

        Raises ValueError for a payload that does not hold such a value, TypeError for a hint
        that cannot be read; both name the argument.
        """

    def to_payload(self, value: Any, *, what: str = "the value") -> Payload:
        """The payload of one value. Raises as to_payloads does, naming it `what`."""
        return self.to_payloads((value,), names=(what,))[0]

    def from_payload(
        self, payload: Payload, type_hint: Any = None, *, what: str = "the value"
    ) -> Any:
        """The value of one payload. Raises as from_payloads does, naming it `what`."""
        hints = None if type_hint is None else (type_hint,)
        return self.from_payloads((payload,), hints, names=(what,))[0]

    def check_hint(self, type_hint: Any) -> None:  # noqa: B027 - a user's converter takes any
        """Refuse a type hint that nothing can be read as.

        Raises TypeError, saying which type and why.
        """


class DefaultPayloadConverter(PayloadConverter):
    """None, bytes and JSON, tried in that order."""

    def check_hint(self, type_hint: Any) -> None:
        """Refuse a type hint that no JSON can be read as. Raises TypeError."""
        check_type_hint(type_hint)

    def to_payloads(self, values: Sequence[Any], *, names: Sequence[str] = ()) -> list[Payload]:
        """A payload for each value."""
        return [self._write(value, index, names, len(values)) for index, value in enumerate(values)]

    def from_payloads(
        self,
        payloads: Sequence[Payload],
        type_hints: Sequence[Any] | None = None,
        *,
        names: Sequence[str] = (),
    ) -> list[Any]:
        """The value of each payload, as its type hint where there is one."""
        hinted = len(type_hints) if type_hints else 0
        return [
            _read(
                payload,
                type_hints[index] if type_hints and index < hinted else None,
                index,
                names,
                len(payloads),
            )
            for index, payload in enumerate(payloads)
        ]

    def _write(self, value: Any, index: int, names: Sequence[str], count: int) -> Payload:
        value = to_be_written(value)
        if value is None:
            return Payload(encoding=NULL_ENCODING)
        if hasattr(type(value), RAW):
            raw: Payload = getattr(value, RAW_RECORD)()
            return raw
        if isinstance(value, bytes | bytearray | memoryview):
            return Payload(encoding=BYTES_ENCODING, data=bytes(value))
        try:
            return Payload(data=write_json(value))
        except TypeError as error:
            where = _where(index, names, count)
            message = (
                f"{where} of type {type_name(type(value))} cannot be written as JSON: "
                f"{_first_line(error)}; accepted are {ACCEPTED}"
            )
            raise TypeError(message) from error
        except (ValueError, RecursionError, OverflowError) as error:
            where = _where(index, names, count)
            message = (
                f"{where} of type {type_name(type(value))} cannot be written as JSON: "
                f"{_first_line(error)}"
            )
            raise ValueError(message) from error


def write_json(value: Any) -> bytes:
    """A value as JSON.

    Raises TypeError for a type that JSON cannot hold, ValueError for a value that it cannot.
    """
    try:
        data = _encode(value)
    except UnicodeEncodeError:
        return _write_as_python(value)
    # JSON has no NaN and no infinity, and the encoder writes null for them without a word.
    if b"null" in data and _holds_non_finite(value):
        return _write_as_python(value)
    return data


def read_json(data: bytes, type_hint: Any = None) -> Any:
    """The value of JSON, as the type hint where there is one.

    Raises ValueError when it does not fit, TypeError when the hint cannot be read.
    """
    read = _decode_any if type_hint is None else _reader_of(type_hint)
    try:
        return read(data)
    except ValueError:
        if not _PYTHONS_OWN(data):
            raise
    value = json.loads(data)
    return value if type_hint is None else walked(type_hint, _leaf)(value)


def check_type_hint(type_hint: Any) -> None:
    """Refuse a type hint that no JSON can be read as, so that it is found at registration.

    Raises TypeError, saying which type and why.
    """
    if type_hint is not None and not hasattr(type_hint, RAW):
        _reader_of(to_be_read(type_hint))


def type_name(kind: Any) -> str:
    """A type as an error message shows it."""
    if isinstance(kind, type) and get_origin(kind) is None:
        plain = kind.__module__ in ("builtins", "__main__")
        return kind.__qualname__ if plain else f"{kind.__module__}.{kind.__qualname__}"
    return str(kind).removeprefix("typing.")


def _read(payload: Payload, hint: Any, index: int, names: Sequence[str], count: int) -> Any:
    if hasattr(hint, RAW):
        return hint(payload)
    encoding = payload.encoding
    try:
        if encoding == JSON_ENCODING:
            return as_asked(read_json(payload.data, to_be_read(hint)), hint)
        if encoding == NULL_ENCODING:
            return None
        if encoding == BYTES_ENCODING:
            return as_asked(_read_bytes(payload.data, to_be_read(hint)), hint)
    except TypeError as error:
        raise TypeError(f"{_where(index, names, count)}: {_first_line(error)}") from error
    except (ValueError, RecursionError) as error:
        message = (
            f"{_where(index, names, count)} cannot be read"
            f"{'' if hint is None else f' as {type_name(hint)}'}: {_first_line(error)}"
        )
        raise ValueError(message) from error
    message = (
        f"{_where(index, names, count)} has the encoding {encoding!r}; this converter reads "
        f"{JSON_ENCODING}, {BYTES_ENCODING} and {NULL_ENCODING}: "
        "give client and worker the data converter that wrote it"
    )
    raise ValueError(message)


def _read_bytes(data: bytes, hint: Any) -> Any:
    if hint is bytearray:
        return bytearray(data)
    if isinstance(hint, type) and hint not in (bytes, memoryview, object):
        raise ValueError(f"it holds plain bytes ({len(data)} of them)")
    return data


def _where(index: int, names: Sequence[str], count: int) -> str:
    name = names[index] if index < len(names) else ""
    if name.startswith("the "):
        return name
    position = f"argument {index + 1}" + (f" of {count}" if count > 1 else "")
    return f"{position} ({name})" if name else position


def _first_line(error: BaseException) -> str:
    """What an error says, on one line; pydantic's first three findings, not its heading."""
    if isinstance(error, RecursionError):
        return "it is nested too deep, or holds itself"
    findings = getattr(error, "errors", None)
    if callable(findings):
        found = [
            f"{'.'.join(str(part) for part in item['loc']) or 'value'}: {item['msg']}"
            for item in findings()[:3]
        ]
        return "; ".join(found)
    return str(error).partition("\n")[0] or type(error).__name__


# JSON, with the two hooks that know pydantic by what its classes carry, never by importing it.


def _enc_hook(value: Any) -> Any:
    serializer = getattr(type(value), "__pydantic_serializer__", None)
    if serializer is not None:
        return msgspec.Raw(serializer.to_json(value, by_alias=True))
    return _likeness(value)


def _likeness(value: Any) -> Any:
    try:
        if value is None or isinstance(value, bool | tuple | frozenset):
            # These are asked for here only as the keys of a dict.
            return key_of(value)
        return likeness_of(value)
    except UnlikeError as error:
        if isinstance(value, tuple | frozenset):
            raise TypeError(f"a dict with {type_name(type(value))} keys") from error
        raise TypeError(f"it holds a value of type {type_name(type(value))}") from error


def _builtin_hook(value: Any) -> Any:
    serializer = getattr(type(value), "__pydantic_serializer__", None)
    if serializer is not None:
        return serializer.to_python(value, mode="json", by_alias=True)
    return _likeness(value)


def _write_as_python(value: Any) -> bytes:
    """JSON as Python's own json writes it: NaN, Infinity, and half characters as escapes."""
    plain = msgspec.to_builtins(value, enc_hook=_builtin_hook)
    return json.dumps(plain, separators=(",", ":")).encode()


def _dec_hook(kind: type, value: Any) -> Any:
    validator = getattr(kind, "__pydantic_validator__", None)
    if validator is not None:
        # Written again, because pydantic reads JSON and Python values by different rules.
        try:
            return validator.validate_json(_encode(value))
        except ValueError as error:
            raise ValueError(_first_line(error)) from error
    try:
        return made_of(kind, value, _convert)
    except UnlikeError as error:
        if get_origin(kind) is None and isinstance(value, kind):
            return value
        text = f"no JSON is read as {type_name(kind)}; accepted are {ACCEPTED}"
        raise ValueError(text) from error


def _convert(value: Any, hint: Any) -> Any:
    """What JSON gave, as a type. Raises ValueError when it does not fit."""
    return msgspec.convert(value, hint, dec_hook=_dec_hook, str_keys=True)


_encode = msgspec.json.Encoder(enc_hook=_enc_hook).encode
_decode_any: Reader = msgspec.json.Decoder().decode


def _reader_of(hint: Any) -> Reader:
    try:
        return _cached_reader(hint)
    except TypeError:
        # An unhashable hint, such as Annotated with a list, is not kept; a bad one fails again.
        return _make_reader(hint)


def _make_reader(hint: Any) -> Reader:
    validator = getattr(hint, "__pydantic_validator__", None)
    if validator is not None:
        read: Reader = validator.validate_json
        return read
    try:
        decode = msgspec.json.Decoder(hint, dec_hook=_dec_hook).decode
        return _walked_reader(hint) if has_odd_keys(hint) else decode
    except TypeError as error:
        refused = TypeError(f"the type {type_name(hint)} cannot be read from JSON: {error}")
        refused.__cause__ = error
    try:
        return _walked_reader(hint)
    except TypeError:
        raise refused from refused.__cause__


def _walked_reader(hint: Any) -> Reader:
    convert = walked(hint, _leaf)
    return lambda data: convert(_decode_any(data))


_cached_reader = lru_cache(maxsize=READERS_MAX)(_make_reader)


def _leaf(hint: Any) -> Convert:
    """The conversion of what JSON holds to a type that one pass can read; TypeError for others."""
    validator = getattr(hint, "__pydantic_validator__", None)
    if validator is not None:
        return lambda value: _dec_hook(hint, value)
    msgspec.json.Decoder(hint, dec_hook=_dec_hook)
    if has_odd_keys(hint):
        raise TypeError("its keys are read one by one")
    return lambda value: _convert(value, hint)


def _holds_non_finite(value: Any) -> bool:
    """Whether NaN or infinity is anywhere in a value that has just been written as JSON."""
    try:
        probe = _probe(value)
    except (TypeError, ValueError, OverflowError):
        return _finds_non_finite(value)
    # MessagePack keeps them as they are, and its writer walks the value many times faster than
    # we can; text may hold the same bytes, so a hit is looked at again.
    return _NON_FINITE(probe) is not None and _finds_non_finite(value)


def _finds_non_finite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_finds_non_finite(item) for item in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return any(_finds_non_finite(item) for item in value)
    kind = type(value)
    if hasattr(kind, "__pydantic_serializer__"):
        return any(_finds_non_finite(item) for item in vars(value).values())
    names: Sequence[str] = getattr(kind, "__struct_fields__", ())
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    elif hasattr(kind, "__attrs_attrs__"):
        names = [field.name for field in kind.__attrs_attrs__]
    return any(_finds_non_finite(getattr(value, name, None)) for name in names)


def _probe_hook(value: Any) -> Any:
    if hasattr(type(value), "__pydantic_serializer__"):
        return vars(value)
    raise TypeError("not written here")


_probe = msgspec.msgpack.Encoder(enc_hook=_probe_hook).encode
_PYTHONS_OWN = re.compile(rb"NaN|Infinity|\\u[dD][89a-fA-F]").search
"""What Python's own json may have written that is no JSON: looked for where a reader refuses."""
_NON_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]").search
