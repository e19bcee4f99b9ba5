"""Payloads encrypted with AES-GCM under named keys. Needs the extra `encryption`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from perdure.api.common.v1 import Payload
from perdure.converter import CodecError, PayloadCodec
from perdure.converter._external_storage import payload_bytes, payload_from_bytes

__all__ = ["EncryptionCodec", "generate_key"]

ENCODING: Final = b"binary/encrypted"
CIPHER: Final = b"AES-GCM"
NONCE_BYTES: Final = 12
KEY_BYTES: Final = (16, 24, 32)
KEY_ID_BYTES_MAX: Final = 200


def generate_key() -> bytes:
    """A new random key of 256 bits. Keep it where the log is not."""
    return AESGCM.generate_key(256)


class EncryptionCodec(PayloadCodec):
    """Encrypts payloads, metadata included, and names the key in clear.

    To change keys: give all processes the new key as well, then make it the one that encrypts, and
    keep the old one as long as anything may be read that it encrypted. What was written without
    encryption is still read.

    Args:
        keys: The keys by their ids: 16, 24 or 32 random bytes each.
        key_id: The id of the key that encrypts; not needed where there is one key.

    Raises:
        ValueError: For a key of another size, an id that no metadata can hold, or no key to
            encrypt with.
    """

    def __init__(self, keys: Mapping[str, bytes], *, key_id: str | None = None) -> None:
        if not keys:
            raise ValueError("EncryptionCodec has no keys: give at least one, by its id")
        if key_id is None and len(keys) > 1:
            raise ValueError(
                f"there are several keys ({', '.join(keys)}): say by key_id which one encrypts"
            )
        chosen = next(iter(keys)) if key_id is None else key_id
        if chosen not in keys:
            raise ValueError(f"key_id is {chosen!r}, and the keys are {', '.join(keys)}")
        for name, key in keys.items():
            if not 0 < len(name.encode()) <= KEY_ID_BYTES_MAX:
                raise ValueError(f"the key id {name!r} is not of 1 to {KEY_ID_BYTES_MAX} bytes")
            if len(key) not in KEY_BYTES:
                raise ValueError(f"key {name!r} has {len(key)} bytes: give 16, 24 or 32")
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}
        self._key_id = chosen

    hides_failures = True

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads, encrypted."""
        return [self._encrypt(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads as they were; those that are not encrypted as they are.

        Raises CodecError when the key is not here, or what was encrypted has been changed.
        """
        return [self._decrypt(payload) for payload in payloads]

    def _encrypt(self, payload: Payload) -> Payload:
        nonce = os.urandom(NONCE_BYTES)
        name = self._key_id.encode()
        data = self._ciphers[self._key_id].encrypt(nonce, payload_bytes(payload), name)
        return Payload(
            metadata={
                "encoding": ENCODING,
                "encryption-cipher": CIPHER,
                "encryption-key-id": name,
            },
            data=nonce + data,
        )

    def _decrypt(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        name = payload.metadata.get("encryption-key-id", b"")
        cipher = self._ciphers.get(name.decode(errors="replace"))
        if cipher is None:
            raise CodecError(
                f"a payload is encrypted with the key {name.decode(errors='replace')!r}, and this"
                f" process has {', '.join(map(repr, self._ciphers))}: add the key to"
                " EncryptionCodec(keys=...)"
            )
        nonce, data = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        try:
            return payload_from_bytes(cipher.decrypt(nonce, data, name))
        except (InvalidTag, ValueError) as error:
            raise CodecError(
                f"a payload cannot be decrypted with the key {name.decode()!r}: this is another"
                " key of that id, or the payload has been changed"
            ) from error
