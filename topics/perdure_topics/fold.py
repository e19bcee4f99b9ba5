"""Acceptance (rule 2): which records of an events partition count. Nothing else may decide that.

One pure function, the same for the owner, a trailing reader, a projection, the relay and anyone
else. It never looks ahead, so acceptance is final, and its cursor is of constant size but for the
parts of one unfinished transition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from perdure_schemas.avro import MAGIC, UnreadableRecordError, decode
from perdure_schemas.transition import EpochBump, Transition

if TYPE_CHECKING:
    from perdure_topics.ports import StoredRecord

PARTS_MAX = 64
CHECKPOINT_KIND = 1


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """How far a fold has come: what it needs to judge the next record, and no more."""

    epoch: int = 0
    nonce: bytes = b""
    pseq: int = 0
    upto: int = -1
    input_topic_id: str = ""
    dispatched: int = 0
    """Every effect of a pseq up to this one is known to be acknowledged."""
    time_ms: int = 0
    """The time the last accepted record bears."""
    parts: tuple[bytes, ...] = ()
    """The parts read so far of a transition that came in several records."""
    parts_from: int = 0
    """The pseq of the first of these parts."""
    bumps: int = 0
    """Bumps since the last accepted record."""


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A transition that counts: its (last) envelope and its whole body."""

    envelope: Transition
    body: bytes


class Bumped(msgspec.Struct, frozen=True, gc=False):
    """A take-over that counts."""

    bump: EpochBump


class Partial(msgspec.Struct, frozen=True, gc=False):
    """A part that counts, of a transition that is not whole yet."""


class Stale(msgspec.Struct, frozen=True, gc=False):
    """A record that does not count: it is skipped, and counted in the metrics."""

    reason: str


Verdict = Accepted | Bumped | Partial | Stale
_PARTIAL = Partial()
_FOREIGN = Stale("foreign: no record of ours")


def read_envelope(value: bytes | None) -> EpochBump | Transition | None:
    """The envelope of a stored record; None when it does not bear our magic.

    Raises UnreadableRecordError for a record that bears our magic and cannot be read: a reader
    must stop there, because another release may count it.
    """
    if value is None or not value.startswith(MAGIC):
        return None
    record = decode(value)
    if isinstance(record, EpochBump | Transition):
        return record
    msg = f"a {type(record).__name__} record in an events topic"
    raise UnreadableRecordError(msg)


def fold_record(cursor: Cursor, record: StoredRecord) -> tuple[Cursor, Verdict]:
    """The fold over a stored record. Raises UnreadableRecordError as read_envelope does."""
    envelope = read_envelope(record.value)
    if envelope is None:
        return cursor, _FOREIGN
    return fold(cursor, envelope)


def fold(cursor: Cursor, envelope: EpochBump | Transition) -> tuple[Cursor, Verdict]:
    """Judge the next record of a partition: the cursor after it, and what it was."""
    if isinstance(envelope, EpochBump):
        return _fold_bump(cursor, envelope)
    start = cursor
    if cursor.epoch == 0 and envelope.kind == CHECKPOINT_KIND and envelope.part == 1:
        # A log that was cut starts with a Checkpoint, which stands for all that was before it.
        start = Cursor(
            epoch=envelope.epoch,
            nonce=envelope.nonce,
            pseq=envelope.pseq - 1,
            upto=envelope.after,
            input_topic_id=envelope.input_topic_id,
        )
    after, verdict = _fold_transition(start, envelope)
    return (cursor if isinstance(verdict, Stale) else after), verdict


def _fold_transition(cursor: Cursor, envelope: Transition) -> tuple[Cursor, Verdict]:
    if envelope.epoch != cursor.epoch or envelope.nonce != cursor.nonce:
        return cursor, Stale("epoch: written by an owner that is not the current one")
    if envelope.pseq != cursor.pseq + 1:
        return cursor, Stale(f"pseq: {envelope.pseq} after {cursor.pseq}")
    if envelope.after != cursor.upto:
        return cursor, Stale(f"after: {envelope.after} where inputs are covered to {cursor.upto}")
    if envelope.parts == 1 and not cursor.parts:
        return _accept(cursor, envelope), Accepted(envelope, envelope.body)
    return _fold_part(cursor, envelope)


def _fold_bump(cursor: Cursor, bump: EpochBump) -> tuple[Cursor, Verdict]:
    if bump.epoch <= cursor.epoch:
        return cursor, Stale(f"bump: epoch {bump.epoch} is not above {cursor.epoch}")
    same_input = cursor.input_topic_id in ("", bump.input_topic_id)
    return (
        Cursor(
            epoch=bump.epoch,
            nonce=bump.nonce,
            # Parts of an unfinished transition are dropped with their pseqs.
            pseq=cursor.parts_from - 1 if cursor.parts else cursor.pseq,
            upto=cursor.upto if same_input else -1,
            input_topic_id=bump.input_topic_id,
            dispatched=cursor.dispatched,
            time_ms=cursor.time_ms,
            bumps=cursor.bumps + 1,
        ),
        Bumped(bump),
    )


def _fold_part(cursor: Cursor, envelope: Transition) -> tuple[Cursor, Verdict]:
    """One of several parts: all but the last cover no input (after = upto)."""
    expected = len(cursor.parts) + 1
    if envelope.part != expected or not 1 < envelope.parts <= PARTS_MAX:
        return cursor, Stale(f"part: {envelope.part} of {envelope.parts} where {expected} is due")
    if envelope.part == envelope.parts:
        return _accept(cursor, envelope), Accepted(
            envelope, b"".join([*cursor.parts, envelope.body])
        )
    if envelope.upto != envelope.after:
        return cursor, Stale("part: only the last part covers inputs")
    opened = cursor.parts_from if cursor.parts else envelope.pseq
    parts = (*cursor.parts, envelope.body)
    return (
        msgspec.structs.replace(cursor, pseq=envelope.pseq, parts=parts, parts_from=opened),
        _PARTIAL,
    )


def _accept(cursor: Cursor, envelope: Transition) -> Cursor:
    return Cursor(
        epoch=cursor.epoch,
        nonce=cursor.nonce,
        pseq=envelope.pseq,
        upto=envelope.upto,
        input_topic_id=cursor.input_topic_id,
        dispatched=max(cursor.dispatched, envelope.dispatched),
        time_ms=max(cursor.time_ms, envelope.time_ms),
    )
