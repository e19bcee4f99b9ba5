"""The payload codec that users implement, and payloads as records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar

from perdure.api.common.v1 import Payload, Payloads
from perdure.api.failure.v1 import Failure
from perdure_schemas import payloads as records
from perdure_schemas.payload_places import payloads_in, with_payloads


class PayloadCodec(ABC):
    """Changes payloads on their way out and in: compresses, encrypts.

    It gives one payload for each it was given, in their order. It should leave payloads alone
    that it did not write: old histories and other programs have them.
    """

    hides_failures: ClassVar[bool] = False
    """Whether messages and stack traces of failures go through it unless told otherwise."""

    @abstractmethod
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads as they may leave this process."""

    @abstractmethod
    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads as `encode` took them."""

    async def encode_wrapper(self, payloads: Payloads) -> None:
        """Encode the payloads of such an object in it."""
        payloads.payloads[:] = await self.encode(payloads.payloads)

    async def decode_wrapper(self, payloads: Payloads) -> None:
        """Decode the payloads of such an object in it."""
        payloads.payloads[:] = await self.decode(payloads.payloads)

    async def encode_failure(self, failure: Failure) -> None:
        """Encode all payloads of a failure and of its causes in it."""
        await _through_failure(failure, self.encode)

    async def decode_failure(self, failure: Failure) -> None:
        """Decode all payloads of a failure and of its causes in it."""
        await _through_failure(failure, self.decode)


async def _through_failure(
    failure: Failure, way: Callable[[Sequence[Payload]], Awaitable[list[Payload]]]
) -> None:
    link: Failure | None = failure
    while link is not None:
        if link.encoded_attributes is not None:
            link.encoded_attributes = (await way([link.encoded_attributes]))[0]
        held = payloads_in(link.info)
        if held:
            made = await way([payload_of(record) for record in held])
            link.info = with_payloads(link.info, map(payload_record, made))
        link = link.cause


def payload_record(payload: Payload | records.Payload) -> records.Payload:
    """A user's payload as a record. Raises ValueError when it names no encoding."""
    if isinstance(payload, records.Payload):
        return payload
    metadata = dict(payload.metadata)
    encoding = metadata.pop("encoding", None)
    if encoding is None:
        raise ValueError("a payload was made without metadata['encoding']")
    return records.Payload(encoding=encoding.decode(), data=payload.data, metadata=metadata)


def header_records(
    headers: Mapping[str, Payload | records.Payload],
) -> dict[str, records.Payload]:
    """Headers as records hold them."""
    return {key: payload_record(payload) for key, payload in headers.items()}


def payload_of(record: Payload | records.Payload) -> Payload:
    """A payload as a user's converter knows it."""
    if isinstance(record, Payload):
        return record
    return Payload(
        metadata={**record.metadata, "encoding": record.encoding.encode()}, data=record.data
    )
