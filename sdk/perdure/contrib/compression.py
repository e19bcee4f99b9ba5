"""Payloads compressed with Zstandard. Needs the extra `zstd`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import zstandard

from perdure.api.common.v1 import Payload
from perdure.converter import CodecError, PayloadCodec
from perdure.converter._external_storage import payload_bytes, payload_from_bytes

__all__ = ["ZstdCodec"]

ENCODING: Final = b"binary/zstd"
LEVEL_DEFAULT: Final = 3
MIN_SIZE_DEFAULT: Final = 1024
DECOMPRESSED_BYTES_MAX: Final = 64 * 1024 * 1024
TOGETHER_BYTES_MAX: Final = 256 * 1024 * 1024


class ZstdCodec(PayloadCodec):
    """Compresses payloads from a size on, where that makes them smaller.

    Args:
        min_size: Payloads of fewer bytes are left as they are.
        level: From 1, fast, to 22, small.
        max_decompressed_size: What one payload may grow to; more is refused, because a few
            bytes can hold gigabytes of zeros.
        max_together_size: What the payloads that are decoded at once may grow to together: those
            of a record, or of the part of a history that is replayed.

    Raises:
        ValueError: For a level or a size that there is not.
    """

    def __init__(
        self,
        *,
        min_size: int = MIN_SIZE_DEFAULT,
        level: int = LEVEL_DEFAULT,
        max_decompressed_size: int = DECOMPRESSED_BYTES_MAX,
        max_together_size: int = TOGETHER_BYTES_MAX,
    ) -> None:
        if not 1 <= level <= zstandard.MAX_COMPRESSION_LEVEL:
            raise ValueError(f"level is {level}: give 1 to {zstandard.MAX_COMPRESSION_LEVEL}")
        if min_size < 0 or min(max_decompressed_size, max_together_size) < 1:
            raise ValueError("min_size is 0 or more bytes, the other sizes 1 or more")
        self._min_size = min_size
        self._level = level
        self._size_max = max_decompressed_size
        self._together_max = max_together_size

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads, the large ones compressed."""
        return [self._compress(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads as they were. Raises CodecError for what is damaged or too large."""
        self._check_together(payloads)
        return [self._decompress(payload) for payload in payloads]

    def _check_together(self, payloads: Sequence[Payload]) -> None:
        """Refuse many that would fill the memory, before the first of them is decompressed."""
        size = 0
        for payload in payloads:
            if payload.metadata.get("encoding") == ENCODING:
                with suppress(zstandard.ZstdError):
                    size += max(zstandard.frame_content_size(payload.data), 0)
        if size > self._together_max:
            raise CodecError(
                f"{len(payloads)} payloads say that they hold {size} bytes together; at most"
                f" {self._together_max} are taken: see max_together_size of ZstdCodec"
            )

    def _compress(self, payload: Payload) -> Payload:
        if len(payload.data) < self._min_size:
            return payload
        plain = payload_bytes(payload)
        # A compressor is not for several threads at once, so each call has its own.
        data = zstandard.ZstdCompressor(level=self._level).compress(plain)
        if len(data) >= len(plain):
            return payload
        return Payload(metadata={"encoding": ENCODING}, data=data)

    def _decompress(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        try:
            size = zstandard.frame_content_size(payload.data)
            if not 0 <= size <= self._size_max:
                raise CodecError(
                    f"a compressed payload says it holds {size} bytes; at most {self._size_max} are"
                    " taken: see max_decompressed_size of ZstdCodec"
                )
            plain = zstandard.ZstdDecompressor().decompress(payload.data, max_output_size=size)
            return payload_from_bytes(plain)
        except CodecError:
            raise
        except (zstandard.ZstdError, ValueError) as error:
            raise CodecError(f"a compressed payload is damaged: {error}") from error
