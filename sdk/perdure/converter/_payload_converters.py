"""Payload converters that users extend: one class an encoding, tried in order."""

from __future__ import annotations

import dataclasses
import json
import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NewType, Self, get_origin

import msgspec

from perdure.api.common.v1 import Payload, Payloads
from perdure_schemas.contexts import SerializationContext, WithSerializationContext, in_context
from perdure_schemas.converters import (
    ACCEPTED,
    BYTES_ENCODING,
    JSON_ENCODING,
    NULL_ENCODING,
    RAW,
    read_json,
    type_name,
    write_json,
)
from perdure_schemas.likenesses import UnlikeError, made_of
from perdure_schemas.transfer_types import as_asked, to_be_read, to_be_written


class PayloadConverter(ABC):
    """What turns values into payloads and back, in their order."""

    default: ClassVar[PayloadConverter]

    @abstractmethod
    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """A payload for each value."""

    @abstractmethod
    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """The value of each payload, as its type hint where there is one."""

    def to_payloads_wrapper(self, values: Sequence[Any]) -> Payloads:
        """The payloads of values, as one object."""
        return Payloads(payloads=self.to_payloads(values))

    def from_payloads_wrapper(self, payloads: Payloads | None) -> list[Any]:
        """The values of such an object."""
        return self.from_payloads(payloads.payloads) if payloads else []

    def to_payload(self, value: Any) -> Payload:
        """The payload of one value."""
        return self.to_payloads([value])[0]

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """The value of one payload."""
        return self.from_payloads([payload], [type_hint] if type_hint is not None else None)[0]


class EncodingPayloadConverter(ABC):
    """Writes and reads one encoding; a composite tries several."""

    @property
    @abstractmethod
    def encoding(self) -> str:
        """The name that stands in the payload's metadata."""

    @abstractmethod
    def to_payload(self, value: Any) -> Payload | None:
        """The payload of a value; None leaves it to the next converter."""

    @abstractmethod
    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """The value of a payload of this encoding."""


class CompositePayloadConverter(PayloadConverter, WithSerializationContext):
    """Tries its converters in order to write; reads by the encoding's name."""

    converters: dict[bytes, EncodingPayloadConverter]

    def __init__(self, *converters: EncodingPayloadConverter) -> None:
        self.converters = {converter.encoding.encode(): converter for converter in converters}

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """A payload for each value, by the first converter that takes it."""
        payloads = []
        for number, value in enumerate(values, 1):
            try:
                payloads.append(self._write(value))
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(
                    f"argument {number} of type {type_name(type(value))} cannot be written: {error}"
                ) from error
        return payloads

    def _write(self, value: Any) -> Payload:
        if hasattr(type(value), RAW):
            raw: Payload = value.payload
            return raw
        value = to_be_written(value)
        for converter in self.converters.values():
            payload = converter.to_payload(value)
            if payload is not None:
                return payload
        names = ", ".join(name.decode() for name in self.converters)
        raise TypeError(f"no converter takes it; there are {names}")

    def get_converters_with_context(
        self, context: SerializationContext
    ) -> list[EncodingPayloadConverter]:
        """Its converters as they work in a context."""
        return [in_context(converter, context) for converter in self.converters.values()]

    def with_context(self, context: SerializationContext) -> Self:
        """The same with its converters in a context; itself when none of them cares.

        A subclass must be made without arguments, or override this.
        """
        converters = self.get_converters_with_context(context)
        if all(map(operator.is_, converters, self.converters.values())):
            return self
        made = type(self)()
        made.converters = {converter.encoding.encode(): converter for converter in converters}
        return made

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """The value of each payload, as its type hint where there is one."""
        values = []
        for index, payload in enumerate(payloads):
            hint = type_hints[index] if type_hints and index < len(type_hints) else None
            if hasattr(hint, RAW):
                made: Any = hint
                values.append(made(payload))
                continue
            encoding = payload.metadata.get("encoding", b"<unknown>")
            converter = self.converters.get(encoding)
            if converter is None:
                names = ", ".join(name.decode() for name in self.converters)
                raise ValueError(
                    f"argument {index + 1} has the encoding {encoding.decode(errors='replace')!r}; "
                    f"this converter reads {names}"
                )
            try:
                found = converter.from_payload(payload, to_be_read(hint))
                values.append(as_asked(found, hint))
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"argument {index + 1} cannot be read: {error}") from error
        return values


def cares(thing: object) -> bool:
    """Whether a converter or a codec wants to know whose values it has."""
    if not isinstance(thing, WithSerializationContext):
        return False
    if isinstance(thing, CompositePayloadConverter):
        own = type(thing).with_context is not CompositePayloadConverter.with_context
        return own or any(map(cares, thing.converters.values()))
    return True


class BinaryNullPayloadConverter(EncodingPayloadConverter):
    """None."""

    @property
    def encoding(self) -> str:
        """binary/null."""
        return NULL_ENCODING

    def to_payload(self, value: Any) -> Payload | None:
        """A payload for None only."""
        return Payload(metadata={"encoding": NULL_ENCODING.encode()}) if value is None else None

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """None."""
        return None


class BinaryPlainPayloadConverter(EncodingPayloadConverter):
    """Bytes, as they are."""

    @property
    def encoding(self) -> str:
        """binary/plain."""
        return BYTES_ENCODING

    def to_payload(self, value: Any) -> Payload | None:
        """A payload for bytes only."""
        if not isinstance(value, bytes | bytearray | memoryview):
            return None
        return Payload(metadata={"encoding": BYTES_ENCODING.encode()}, data=bytes(value))

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """The bytes."""
        return payload.data


JSONTypeConverterUnhandled = NewType("JSONTypeConverterUnhandled", object)
"""The type of what a JSONTypeConverter gives for a value it leaves to others."""


class JSONTypeConverter(ABC):
    """Reads a type that JSON does not know from what JSON gave."""

    Unhandled: ClassVar[JSONTypeConverterUnhandled] = JSONTypeConverterUnhandled(object())

    @abstractmethod
    def to_typed_value(self, hint: type, value: Any) -> Any:
        """The value as the hinted type; Unhandled leaves it to the next converter."""


class AdvancedJSONEncoder(json.JSONEncoder):
    """A JSON encoder to inherit from: it takes what the default converter takes."""

    def default(self, o: Any) -> Any:
        """What JSON can hold, in place of a value that it cannot."""
        if dataclasses.is_dataclass(o) and not isinstance(o, type):
            # Not deep, so that fields of a subclass's own types come back to it.
            return {field.name: getattr(o, field.name) for field in dataclasses.fields(o)}
        if hasattr(type(o), "__attrs_attrs__"):
            return {field.name: getattr(o, field.name) for field in type(o).__attrs_attrs__}
        if isinstance(o, msgspec.Struct):
            return msgspec.structs.asdict(o)
        if isinstance(o, set | frozenset):
            return list(o)
        try:
            return json.loads(write_json(o))
        except TypeError:
            return super().default(o)


class JSONPlainPayloadConverter(EncodingPayloadConverter):
    """JSON: by msgspec and pydantic, or by an encoder and a decoder of the user's."""

    def __init__(
        self,
        *,
        encoder: type[json.JSONEncoder] | None = None,
        decoder: type[json.JSONDecoder] | None = None,
        encoding: str = JSON_ENCODING,
        custom_type_converters: Sequence[JSONTypeConverter] = (),
    ) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._encoding = encoding
        self._custom_type_converters = custom_type_converters

    @property
    def encoding(self) -> str:
        """json/plain unless given otherwise."""
        return self._encoding

    def to_payload(self, value: Any) -> Payload | None:
        """A payload for any value that JSON can hold."""
        if self._encoder is None:
            data = write_json(value)
        else:
            text = json.dumps(value, cls=self._encoder, separators=(",", ":"), sort_keys=True)
            data = text.encode()
        return Payload(metadata={"encoding": self._encoding.encode()}, data=data)

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """The value of JSON, as its type hint where there is one."""
        if self._decoder is None and not self._custom_type_converters:
            return read_json(payload.data, type_hint)
        value = json.loads(payload.data, cls=self._decoder)
        if type_hint is None:
            return value
        return value_to_type(type_hint, value, self._custom_type_converters)


class DefaultPayloadConverter(CompositePayloadConverter):
    """None, bytes and JSON, tried in that order."""

    default_encoding_payload_converters: ClassVar[tuple[EncodingPayloadConverter, ...]]

    def __init__(self) -> None:
        super().__init__(*DefaultPayloadConverter.default_encoding_payload_converters)


DefaultPayloadConverter.default_encoding_payload_converters = (
    BinaryNullPayloadConverter(),
    BinaryPlainPayloadConverter(),
    JSONPlainPayloadConverter(),
)
PayloadConverter.default = DefaultPayloadConverter()


def value_to_type(
    hint: Any, value: Any, custom_converters: Sequence[JSONTypeConverter] = ()
) -> Any:
    """A value that JSON gave, as a type.

    Raises ValueError when it does not fit.
    """

    def custom(kind: type, found: Any) -> Any:
        for converter in custom_converters:
            typed = converter.to_typed_value(kind, found)
            if typed is not JSONTypeConverter.Unhandled:
                return typed
        validate = getattr(kind, "model_validate", None)
        if validate is not None:
            return validate(found)
        try:
            return made_of(kind, found, convert)
        except UnlikeError:
            if get_origin(kind) is None and isinstance(found, kind):
                return found
        raise ValueError(f"nothing reads it as {type_name(kind)}; accepted are {ACCEPTED}")

    def convert(part: Any, part_hint: Any) -> Any:
        return value_to_type(part_hint, part, custom_converters)

    for converter in custom_converters:
        typed = converter.to_typed_value(hint, value)
        if typed is not JSONTypeConverter.Unhandled:
            return typed
    return msgspec.convert(value, hint, dec_hook=custom, str_keys=True)
