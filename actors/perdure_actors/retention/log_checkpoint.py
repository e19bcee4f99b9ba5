"""Checkpoints in the log: the rows of a table, written in slices between turns and folded by all.

Slice 1 is appended when nothing is in flight, so it stands right behind the state that the slices
hold: a log may begin with it, once all slices are there. It is a header; the others have rows.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Final, Protocol

from msgspec.structs import replace

from perdure_actors import table_layout
from perdure_actors.table_layout import OpenCheckpoint, WholeCheckpoint
from perdure_schemas.partition_events import CheckpointSlice
from perdure_topics.ports import TableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sized

    from perdure_actors.table_layout import Meta
    from perdure_schemas.transition import Transition
    from perdure_topics.fold import Cursor
    from perdure_topics.ports import Table, TableSnapshot

logger = logging.getLogger("perdure.host")
SLICE_BYTES: Final = 256 * 1024
SLICE_ROWS: Final = 2_000
SCANNED: Final = 64
"""So many rows are read at once: one of them may be large."""
EVERY_BYTES: Final = 64 * 1024 * 1024
"""A checkpoint is written when the log has grown by so much, and by twice the one before."""
EVERY_BYTES_ALONE: Final = 2 * 1024 * 1024
"""The same on a log that is one directory, where room counts, and by once the one before."""
AGAIN_MS: Final = 60_000
"""After one that could not be written."""
DRAIN_MS: Final = 2_000
"""So long nothing is decided at most, to come to a moment when nothing is in flight."""
_TOP: Final = b"\xff" * 64
_NOT_OF_THE_LOG: Final = (table_layout.META, table_layout.VERIFIED)


def note_slice(meta: Meta, one: CheckpointSlice, offset: int, envelope: Transition) -> None:
    """A slice of a checkpoint counts: how far the log has it whole, alike for owner and reader.

    `offset` and envelope are those of its last part.
    """
    before = envelope.part - 1
    if one.number == 1:
        meta.open_checkpoint = OpenCheckpoint(
            first_offset=offset - before,
            epoch=envelope.epoch,
            pseq=envelope.pseq - before,
            log_bytes=meta.log_bytes,
        )
        return
    begun = meta.open_checkpoint
    meta.open_checkpoint = None
    if begun is None or begun.epoch != envelope.epoch or one.number != begun.number + 1:
        return
    size = begun.size + slice_bytes(one)
    if one.is_last:
        meta.checkpoint = WholeCheckpoint(begun.first_offset, offset, begun.pseq, size)
        meta.log_bytes -= begun.log_bytes
    else:
        meta.open_checkpoint = replace(begun, number=one.number, size=size)


def slice_bytes(one: CheckpointSlice) -> int:
    """What the rows of a slice take."""
    return sum(map(len, one.keys)) + sum(map(len, one.values))


class RowDigest:
    """A digest over rows in their order, and how many they are."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)
        self.rows = 0

    def take(self, keys: list[bytes], values: list[bytes]) -> None:
        """Take some more rows in."""
        for key, value in zip(keys, values, strict=True):
            self._digest.update(b"%d:%d:" % (len(key), len(value)))
            self._digest.update(key)
            self._digest.update(value)
        self.rows += len(keys)

    def value(self) -> bytes:
        """The digest so far."""
        return self._digest.digest()


def rows_of_log(found: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Of the rows of a table those that its log made; not how far it has been read."""
    return ((key, value) for key, value in found if key not in _NOT_OF_THE_LOG)


class Slices:
    """The rows of a table as it was at one moment, as slices behind the header."""

    def __init__(self, snapshot: TableSnapshot) -> None:
        self._snapshot = snapshot
        self._digest = RowDigest()
        self._start = b""
        self.number = 1
        """That of the newest slice."""

    def next(self) -> CheckpointSlice:
        """The next slice; the last is marked. Raises TableError when the table is closed."""
        keys: list[bytes] = []
        values: list[bytes] = []
        size, is_last = 0, False
        while size < SLICE_BYTES and len(keys) < SLICE_ROWS:
            room = min(SCANNED, SLICE_ROWS - len(keys))
            found = self._snapshot.scan(self._start, _TOP, limit=room)
            for key, value in rows_of_log(found):
                keys.append(key)
                values.append(value)
                size += len(key) + len(value)
            if len(found) < room:
                is_last = True
                break
            self._start = found[-1][0] + b"\0"
        self.number += 1
        self._digest.take(keys, values)
        return CheckpointSlice(
            number=self.number,
            layout=table_layout.LAYOUT,
            keys=keys,
            values=values,
            is_last=is_last,
            rows=self._digest.rows if is_last else 0,
            digest=self._digest.value() if is_last else b"",
        )

    def close(self) -> None:
        """Let go of the table."""
        self._snapshot.close()


class Proposes(Protocol):
    """Whoever makes records of what happens."""

    is_held: bool

    @property
    def has_room(self) -> bool:
        """Whether more may be decided before what is proposed is accepted."""

    def propose_slice(self, one: CheckpointSlice) -> None:
        """Propose a part of a checkpoint."""


class Written(Protocol):
    """What an owner writes, and how much of it counts."""

    meta: Meta
    cursor: Cursor

    @property
    def in_flight(self) -> Sized:
        """What is not accepted yet."""

    def write(self, ops: dict[bytes, bytes | None]) -> None:
        """Write rows, and how far the log is in them."""


class CheckpointWriter:
    """Writes checkpoints of one owner's table into its log, now and then, a slice a turn."""

    def __init__(
        self,
        table: Table,
        journal: Written,
        proposes: Proposes,
        *,
        every: int,
        share: int,
        is_wanted: Callable[[], bool],
    ) -> None:
        """One each `every` bytes of the log, and each `share` times the one before; 0 for none."""
        self._is_wanted = is_wanted
        self._table = table
        self._journal = journal
        self._proposes = proposes
        self._every = every
        self._share = share
        self._slices: Slices | None = None
        self._wanted_ms = -1
        self._again_ms = 0

    @property
    def is_due(self) -> bool:
        """Whether the log has grown by enough."""
        meta = self._journal.meta
        before = meta.checkpoint.size if meta.checkpoint is not None else 0
        begun = meta.open_checkpoint
        if begun is not None and begun.epoch == self._journal.cursor.epoch:
            # Its last slice is on its way.
            return False
        return bool(self._every) and meta.log_bytes >= max(self._every, self._share * before)

    def step(self, mono_ms: int) -> bool:
        """One turn, behind what has just been accepted; whether there is more to do at once."""
        if self._slices is not None:
            return self._write(self._slices, mono_ms)
        if self._wanted_ms < 0:
            if not self.is_due or mono_ms < self._again_ms:
                return False
            if not self._is_wanted():
                self._again_ms = mono_ms + AGAIN_MS
                return False
            self._wanted_ms = mono_ms
        if len(self._journal.in_flight):
            self._proposes.is_held = mono_ms - self._wanted_ms < DRAIN_MS
            if not self._proposes.is_held:
                self._give_up(mono_ms)
            return False
        self._begin(mono_ms)
        return True

    def _begin(self, mono_ms: int) -> None:
        """Nothing is in flight: the table is the fold of the log up to here."""
        self._wanted_ms = -1
        self._proposes.is_held = False
        self._journal.write({})
        meta = self._journal.meta
        try:
            self._slices = Slices(self._table.snapshot())
        except TableError as error:
            logger.warning("no checkpoint in the log for now: %s", error)
            self._give_up(mono_ms)
            return
        self._proposes.propose_slice(
            CheckpointSlice(
                number=1,
                layout=table_layout.LAYOUT,
                partitions=meta.partitions,
                meta=table_layout.encode(meta),
            )
        )

    def _write(self, slices: Slices, mono_ms: int) -> bool:
        begun = self._journal.meta.open_checkpoint
        if not self._proposes.has_room or begun is None or begun.number < slices.number:
            # One slice at a time: those who wait behind it do not wait for two.
            return False
        try:
            one = slices.next()
        except TableError:
            # It was closed and opened again, as where the disk was full: begun anew some time.
            self._give_up(mono_ms)
            return False
        try:
            self._proposes.propose_slice(one)
        except ValueError as error:
            # One row is so large that no record takes it: the log stays as it is.
            logger.warning("no checkpoint in the log for now: %s", error)
            self._give_up(mono_ms)
            return False
        if one.is_last:
            self.close()
        return False

    def _give_up(self, mono_ms: int) -> None:
        self.close()
        self._wanted_ms = -1
        self._again_ms = mono_ms + AGAIN_MS

    def close(self) -> None:
        """Let go of the table; what is written of a checkpoint so far is none."""
        self._proposes.is_held = False
        if self._slices is not None:
            self._slices.close()
            self._slices = None
