"""The header by which a sender says how old a record is as it leaves, and how long it will wait.

Points in time that a client writes are by its own clock, which may be days off, or may step from
one sending to the next. What has passed, a machine counts rightly whatever its clock says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

AGE: Final = "perdure-age"
_DIGITS_MAX = 15


class Sending(NamedTuple):
    """What a sender says of one sending of a record."""

    age_ms: int
    """How long ago it was first sent."""
    left_ms: int
    """How long its sender waits for an answer from now on; -1: it has not said."""


def age_header(age_ms: int, left_ms: int = -1) -> tuple[str, bytes]:
    """The header of a record that is sent now."""
    left = b"%d" % left_ms if left_ms >= 0 else b""
    return AGE, b"%d|%b" % (max(age_ms, 0), left)


def sending_in(headers: Iterable[tuple[str, bytes]] | None) -> Sending | None:
    """What the sender of a record said; None for one that did not."""
    for name, value in headers or ():
        if name == AGE:
            age, _, left = value.partition(b"|")
            return Sending(_number(age, 0), _number(left, -1))
    return None


def _number(digits: bytes, otherwise: int) -> int:
    if digits.isdigit() and len(digits) <= _DIGITS_MAX:
        return int(digits)
    return otherwise
