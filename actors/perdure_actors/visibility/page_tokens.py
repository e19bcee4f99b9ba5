"""Where a list or a count goes on: what a page token holds."""

from __future__ import annotations

import msgspec

TOKEN_BYTES_MAX = 4_096


class BadTokenError(ValueError):
    """A page token that no list gave."""


class Token(msgspec.Struct, array_like=True, frozen=True):
    """The part of the list that was reached, and the last key that was read of it."""

    phase: int = 0
    after: bytes = b""
    began_ms: int = 0
    """When the list was begun: runs that block later stay where they were."""


_decode = msgspec.msgpack.Decoder(Token).decode


def decode_token(data: bytes) -> Token:
    """Read a page token; empty stands for the beginning. Raises BadTokenError."""
    if not data:
        return Token()
    try:
        if len(data) <= TOKEN_BYTES_MAX:
            return _decode(data)
    except ValueError:
        pass
    raise BadTokenError("the page token is of another list: leave it out to begin again")


def encode_token(token: Token) -> bytes:
    """A page token as bytes."""
    return msgspec.msgpack.encode(token)
