"""Protobuf messages as payloads, where protobuf is installed: the extra `protobuf`.

Without it the converters take nothing; a payload of theirs is then an error that says so.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Final

from perdure.api.common.v1 import Payload
from perdure.converter._payload_codecs import payload_of, payload_record
from perdure.converter._payload_converters import (
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    PayloadConverter,
)
from perdure_schemas import converters
from perdure_schemas import payloads as records
from perdure_schemas.transfer_types import as_asked, to_be_read, to_be_written

MESSAGE_TYPE: Final = "messageType"


class _ProtoPayloadConverter(EncodingPayloadConverter):
    """What both encodings share: which values are messages, and which class a payload is of."""

    def to_payload(self, value: Any) -> Payload | None:
        """A payload for protobuf messages only."""
        # Known by what its class carries, so that protobuf is not imported for others' values.
        descriptor = getattr(type(value), "DESCRIPTOR", None)
        if descriptor is None or not hasattr(value, "SerializeToString"):
            return None
        return Payload(
            metadata={
                "encoding": self.encoding.encode(),
                MESSAGE_TYPE: descriptor.full_name.encode(),
            },
            data=self._write(value),
        )

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """The message, as its type hint or else by the name that it was written with.

        Raises ValueError when it cannot be read, or the name is of no message that is imported.
        """
        if type_hint is not None and hasattr(type_hint, "DESCRIPTOR"):
            kind: Any = type_hint
        else:
            kind = _class_of(payload.metadata.get(MESSAGE_TYPE, b"").decode())
        try:
            return self._read(kind, payload.data)
        except Exception as error:
            raise ValueError(f"it is no {kind.DESCRIPTOR.full_name}: {error}") from error

    def _write(self, value: Any) -> bytes:
        raise NotImplementedError

    def _read(self, kind: Any, data: bytes) -> Any:
        raise NotImplementedError


class BinaryProtoPayloadConverter(_ProtoPayloadConverter):
    """Messages in protobuf's binary form; it is read, and written where it is asked for."""

    @property
    def encoding(self) -> str:
        """binary/protobuf."""
        return "binary/protobuf"

    def _write(self, value: Any) -> bytes:
        data: bytes = value.SerializeToString(deterministic=True)
        return data

    def _read(self, kind: Any, data: bytes) -> Any:
        message = kind()
        message.ParseFromString(data)
        return message


class JSONProtoPayloadConverter(_ProtoPayloadConverter):
    """Messages in protobuf's JSON."""

    def __init__(self, ignore_unknown_fields: bool = False) -> None:  # noqa: FBT001, FBT002
        self._ignore_unknown_fields = ignore_unknown_fields

    @property
    def encoding(self) -> str:
        """json/protobuf."""
        return "json/protobuf"

    def _write(self, value: Any) -> bytes:
        text: str = _protobuf("json_format").MessageToJson(value, indent=None)
        return text.encode()

    def _read(self, kind: Any, data: bytes) -> Any:
        return _protobuf("json_format").Parse(
            data, kind(), ignore_unknown_fields=self._ignore_unknown_fields
        )


def _class_of(name: str) -> Any:
    database = _protobuf("symbol_database").Default()
    try:
        descriptor = database.pool.FindMessageTypeByName(name)
    except KeyError:
        raise ValueError(
            f"it holds the protobuf message {name!r}, of which no class is imported: import it, or"
            " give the class as type hint"
        ) from None
    return _protobuf("message_factory").GetMessageClass(descriptor)


def _protobuf(module: str) -> Any:
    try:
        return importlib.import_module(f"google.protobuf.{module}")
    except ImportError as error:
        raise ValueError(
            "it holds a protobuf message, and protobuf is not installed:"
            " pip install 'perdure[protobuf]'"
        ) from error


class RecordsConverterWithMessages(converters.DefaultPayloadConverter):
    """The default converter of the rooms below, which know no protobuf, with messages."""

    _converter = JSONProtoPayloadConverter()
    _binary = BinaryProtoPayloadConverter()

    def from_payloads(
        self,
        payloads: Sequence[records.Payload],
        type_hints: Sequence[Any] | None = None,
        *,
        names: Sequence[str] = (),
    ) -> list[Any]:
        """The value of each payload, as its type hint where there is one."""
        if not any(payload.encoding.endswith("/protobuf") for payload in payloads):
            return super().from_payloads(payloads, type_hints, names=names)
        values = []
        for index, payload in enumerate(payloads):
            hint = type_hints[index] if type_hints and index < len(type_hints) else None
            name = names[index] if index < len(names) else ""
            if not payload.encoding.endswith("/protobuf") or hasattr(hint, converters.RAW):
                hints = None if hint is None else (hint,)
                values += super().from_payloads((payload,), hints, names=(name,))
                continue
            is_json = payload.encoding == self._converter.encoding
            reader = self._converter if is_json else self._binary
            try:
                found = reader.from_payload(payload_of(payload), to_be_read(hint))
                values.append(as_asked(found, hint))
            except ValueError as error:
                where = name or f"argument {index + 1}"
                raise ValueError(f"{where} cannot be read: {error}") from error
        return values

    def _write(self, value: Any, index: int, names: Sequence[str], count: int) -> records.Payload:
        value = to_be_written(value)
        if hasattr(type(value), "DESCRIPTOR"):
            made = self._converter.to_payload(value)
            if made is not None:
                return payload_record(made)
        return super()._write(value, index, names, count)


_null, _plain, _json = DefaultPayloadConverter.default_encoding_payload_converters
# Before JSON, which would refuse a message.
DefaultPayloadConverter.default_encoding_payload_converters = (
    _null,
    _plain,
    JSONProtoPayloadConverter(),
    BinaryProtoPayloadConverter(),
    _json,
)
PayloadConverter.default = DefaultPayloadConverter()
