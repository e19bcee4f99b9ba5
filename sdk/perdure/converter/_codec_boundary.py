"""Payload codecs of a data converter: its codec and its external storage, in one."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.api.common.v1 import Payload
from perdure.converter._data_converter import DataConverter
from perdure.converter._external_storage import (
    ExternalStorage,
    Target,
    retrieve_large,
    store_large,
    target_of,
)
from perdure.converter._payload_codecs import PayloadCodec, payload_of, payload_record
from perdure.converter._payload_converters import cares
from perdure_actors.definitions.payload_codecs import CodecError, text_of
from perdure_schemas import payloads as records
from perdure_schemas.contexts import SerializationContext, in_context


class DataCodecs:
    """Encodes by the codec, then keeps what is large elsewhere; decodes the other way around."""

    def __init__(
        self,
        codec: PayloadCodec | None,
        storage: ExternalStorage | None,
        *,
        headers: bool = False,
        is_settled: bool = False,
        target: Target = None,
    ) -> None:
        self._codec = codec
        self._target = target
        self._storage = storage
        self._headers = headers
        # A codec that somebody has put into a context stays in it.
        # A storage's drivers are told whose payloads they keep.
        self._cares = (cares(codec) or storage is not None) and not is_settled

    @property
    def is_contextual(self) -> bool:
        """Whether the codec, or the storage, wants to know whose payloads it has."""
        return self._cares

    def with_context(self, context: SerializationContext) -> DataCodecs:
        """The same with codec and storage in a context."""
        codec, storage = in_context(self._codec, context), in_context(self._storage, context)
        return DataCodecs(codec, storage, headers=self._headers, target=target_of(context))

    @property
    def headers(self) -> bool:
        """Whether headers go through it as well."""
        return self._headers

    async def encode(self, payloads: Sequence[records.Payload]) -> list[records.Payload]:
        """As many payloads, as they may leave."""
        made: Sequence[Payload] = [payload_of(payload) for payload in payloads]
        if self._codec is not None:
            try:
                made = await self._codec.encode(made)
            except Exception as error:
                raise CodecError(f"{type(self._codec).__name__}: {text_of(error)}") from error
        if self._storage is not None:
            made = await store_large(made, self._storage, target=self._target)
        return [payload_record(payload) for payload in made]

    async def decode(self, payloads: Sequence[records.Payload]) -> list[records.Payload]:
        """As many payloads, as they were before `encode`."""
        made = await retrieve_large([payload_of(payload) for payload in payloads], self._storage)
        if self._codec is not None:
            try:
                made = await self._codec.decode(made)
            except Exception as error:
                raise CodecError(f"{type(self._codec).__name__}: {text_of(error)}") from error
        return [payload_record(payload) for payload in made]


def codecs_of(
    data_converter: DataConverter, *, headers: bool = False, is_settled: bool = False
) -> DataCodecs | None:
    """The payload codecs of a data converter; None when there are none.

    One that is settled stays in the context that its data converter was put into.
    """
    if data_converter.payload_codec is None and data_converter.external_storage is None:
        return None
    codec, storage = data_converter.payload_codec, data_converter.external_storage
    return DataCodecs(codec, storage, headers=headers, is_settled=is_settled)
