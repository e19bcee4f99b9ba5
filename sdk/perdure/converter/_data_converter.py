"""The data converter: payload converter, failure converter, codec, external storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from perdure.api.common.v1 import Payload, Payloads
from perdure.api.failure.v1 import Failure
from perdure.converter._external_storage import ExternalStorage, retrieve_large, store_large
from perdure.converter._failure_converter import (
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    FailureConverter,
    RecordsConverter,
    RecordsConverterWithFailures,
)
from perdure.converter._payload_codecs import PayloadCodec, payload_of, payload_record
from perdure.converter._payload_converters import DefaultPayloadConverter, PayloadConverter
from perdure.converter._protobufs import RecordsConverterWithMessages
from perdure_schemas import converters
from perdure_schemas.contexts import SerializationContext, WithSerializationContext, in_context
from perdure_schemas.transfer_types import all_as_asked, hints_to_be_read, to_be_written


@dataclass(frozen=True)
class DataConverter(WithSerializationContext):
    """How user values and errors are written and read."""

    payload_converter_class: type[PayloadConverter] = DefaultPayloadConverter
    payload_codec: PayloadCodec | None = None
    failure_converter_class: type[FailureConverter] = DefaultFailureConverter
    external_storage: ExternalStorage | None = None
    payload_converter: PayloadConverter = field(init=False)
    failure_converter: FailureConverter = field(init=False)
    default: ClassVar[DataConverter]

    def __post_init__(self) -> None:
        """Make one converter of each class."""
        object.__setattr__(self, "payload_converter", self.payload_converter_class())
        failures, codec = self.failure_converter_class, self.payload_codec
        # What an error says may be as secret as the values it is about.
        if failures is DefaultFailureConverter and codec is not None and codec.hides_failures:
            failures = DefaultFailureConverterWithEncodedAttributes
        object.__setattr__(self, "failure_converter", failures())

    def with_context(self, context: SerializationContext) -> Self:
        """The same as it works in a context; itself when nothing of it cares.

        Clients, workers and workflows do this themselves; call it only to convert values by hand.
        """
        parts: dict[str, object] = {
            name: getattr(self, name)
            for name in (
                "payload_converter",
                "payload_codec",
                "failure_converter",
                "external_storage",
            )
        }
        made = {name: in_context(part, context) for name, part in parts.items()}
        if all(made[name] is part for name, part in parts.items()):
            return self
        other = replace(self)
        for name, part in made.items():
            object.__setattr__(other, name, part)
        return other

    async def encode(self, values: Sequence[Any]) -> list[Payload]:
        """The payloads of values, as they may leave this process."""
        payloads = self.payload_converter.to_payloads([to_be_written(one) for one in values])
        if self.payload_codec is not None:
            payloads = await self.payload_codec.encode(payloads)
        if self.external_storage is not None:
            payloads = await store_large(payloads, self.external_storage)
        return payloads

    async def decode(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """The values of payloads."""
        plain = await retrieve_large(payloads, self.external_storage)
        if self.payload_codec is not None:
            plain = await self.payload_codec.decode(plain)
        found = self.payload_converter.from_payloads(plain, hints_to_be_read(type_hints))
        return all_as_asked(found, type_hints)

    async def encode_wrapper(self, values: Sequence[Any]) -> Payloads:
        """The payloads of values, as one object."""
        return Payloads(payloads=await self.encode(values))

    async def decode_wrapper(
        self, payloads: Payloads | None, type_hints: list[type] | None = None
    ) -> list[Any]:
        """The values of such an object."""
        return await self.decode(payloads.payloads, type_hints) if payloads else []

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        """Fill a failure from an exception, its payloads as they may leave this process."""
        self.failure_converter.to_failure(exception, self.payload_converter, failure)
        if self.payload_codec is not None:
            await self.payload_codec.encode_failure(failure)

    async def decode_failure(self, failure: Failure) -> BaseException:
        """The exception of a failure."""
        if self.payload_codec is not None:
            await self.payload_codec.decode_failure(failure)
        return self.failure_converter.from_failure(failure, self.payload_converter)


DataConverter.default = DataConverter()


def default() -> DataConverter:
    """The data converter that is used unless another is given."""
    return DataConverter.default


class FacingConverter(PayloadConverter):
    """What the rooms below convert with, as users know a converter."""

    def __init__(self, converter: converters.PayloadConverter) -> None:
        self._converter = converter

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """A payload for each value."""
        return [payload_of(record) for record in self._converter.to_payloads(values)]

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """The value of each payload, as its type hint where there is one."""
        given = [payload_record(payload) for payload in payloads]
        return self._converter.from_payloads(given, type_hints)


def records_converter(data_converter: DataConverter) -> converters.PayloadConverter:
    """A data converter's values as the rooms below convert them; the default's way is fast.

    The codec and the external storage are not part of it: they are payload codecs.
    """
    # A subclass may do anything, so only the very classes are taken for what they are.
    if type(data_converter.failure_converter) is not DefaultFailureConverter:
        return RecordsConverterWithFailures(
            data_converter.payload_converter, data_converter.failure_converter
        )
    if data_converter.payload_converter_class is not DefaultPayloadConverter:
        return RecordsConverter(data_converter.payload_converter)
    return RecordsConverterWithMessages()
