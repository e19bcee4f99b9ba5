"""The data converter: what a client and its workers agree on to write and read user values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from perdure.api.common.v1 import Payload, Payloads
from perdure.api.failure.v1 import Failure
from perdure.converter.encodings import DefaultPayloadConverter, PayloadCodec, PayloadConverter
from perdure.converter.failures import (
    DefaultFailureConverter,
    FailureConverter,
    RecordsConverter,
    RecordsConverterWithFailures,
)
from perdure_schemas import converters


@dataclass(frozen=True)
class DataConverter:
    """How user values and errors are written and read."""

    payload_converter_class: type[PayloadConverter] = DefaultPayloadConverter
    payload_codec: PayloadCodec | None = None
    failure_converter_class: type[FailureConverter] = DefaultFailureConverter
    payload_converter: PayloadConverter = field(init=False)
    failure_converter: FailureConverter = field(init=False)
    default: ClassVar[DataConverter]

    def __post_init__(self) -> None:
        """Make one converter of each class."""
        object.__setattr__(self, "payload_converter", self.payload_converter_class())
        object.__setattr__(self, "failure_converter", self.failure_converter_class())

    async def encode(self, values: Sequence[Any]) -> list[Payload]:
        """The payloads of values, as they may leave this process."""
        payloads = self.payload_converter.to_payloads(values)
        return await self.payload_codec.encode(payloads) if self.payload_codec else payloads

    async def decode(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """The values of payloads."""
        decoded = await self.payload_codec.decode(payloads) if self.payload_codec else payloads
        return self.payload_converter.from_payloads(decoded, type_hints)

    async def encode_wrapper(self, values: Sequence[Any]) -> Payloads:
        """The payloads of values, as one object."""
        return Payloads(payloads=await self.encode(values))

    async def decode_wrapper(
        self, payloads: Payloads | None, type_hints: list[type] | None = None
    ) -> list[Any]:
        """The values of such an object."""
        return await self.decode(payloads.payloads, type_hints) if payloads else []

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        """Fill a failure from an exception."""
        self._refuse_codec()
        self.failure_converter.to_failure(exception, self.payload_converter, failure)

    async def decode_failure(self, failure: Failure) -> BaseException:
        """The exception of a failure."""
        self._refuse_codec()
        return self.failure_converter.from_failure(failure, self.payload_converter)

    def _refuse_codec(self) -> None:
        if self.payload_codec is not None:
            raise ValueError(
                f"the payload codec {type(self.payload_codec).__name__} would not be applied to "
                "everything that leaves: codecs are not supported by this release; "
                "leave payload_codec out"
            )


DataConverter.default = DataConverter()


def default() -> DataConverter:
    """The data converter that is used unless another is given."""
    return DataConverter.default


def records_converter(data_converter: DataConverter) -> converters.PayloadConverter:
    """A data converter as the rooms below know one; the default's is the fast one.

    Raises ValueError for a payload codec, because leaving one out in silence would leak.
    """
    data_converter._refuse_codec()
    # A subclass may do anything, so only the very classes are taken for what they are.
    if data_converter.failure_converter_class is not DefaultFailureConverter:
        return RecordsConverterWithFailures(
            data_converter.payload_converter, data_converter.failure_converter
        )
    if data_converter.payload_converter_class is not DefaultPayloadConverter:
        return RecordsConverter(data_converter.payload_converter)
    return converters.DefaultPayloadConverter()
