"""A chain of payload codecs: encoded in order, decoded in reverse."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.api.common.v1 import Payload
from perdure.converter import PayloadCodec

__all__ = ["CodecChain"]


class CodecChain(PayloadCodec):
    """Several codecs as one, such as compression and then encryption.

    Compress first: what is encrypted cannot be compressed.
    """

    def __init__(self, *codecs: PayloadCodec) -> None:
        if not codecs:
            raise ValueError("CodecChain has no codecs: give at least one")
        self._codecs = codecs
        self.hides_failures = any(codec.hides_failures for codec in codecs)  # type: ignore[misc]

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads after the last codec."""
        made = list(payloads)
        for codec in self._codecs:
            made = await codec.encode(made)
        return made

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads as the first codec took them."""
        made = list(payloads)
        for codec in reversed(self._codecs):
            made = await codec.decode(made)
        return made
