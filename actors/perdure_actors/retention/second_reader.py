"""A second reader: folds the log by itself up to a checkpoint, and holds its rows against that.

It makes its rows of what the log says from its head on, never of the owner's table, and reads the
checkpoint as anybody would who begins with it. Only what it has found the same may be cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from perdure_actors import table_layout
from perdure_actors.retention.checkpoint_reader import (
    CheckpointReader,
    NoCheckpointError,
    slices_in,
)
from perdure_actors.retention.log_checkpoint import rows_of_log
from perdure_topics.fold import Accepted, fold_record
from perdure_topics.ports import LogError, PositionLostError, TableError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from perdure_actors.table_layout import Meta, Verified, WholeCheckpoint
    from perdure_schemas.transition import Transition
    from perdure_topics.fold import Cursor
    from perdure_topics.ports import StoredRecord, Table, Tail

    Turns = Generator[None, None, None]

READ_A_TURN: Final = 64
COMPARED_A_TURN: Final = 500
_TOP: Final = b"\xff" * 64


class CheckpointWrongError(Exception):
    """What a checkpoint holds is not what the log makes; the message says where."""


class Folds(Protocol):
    """Folds records into a table."""

    cursor: Cursor
    next_offset: int

    def take(self, record: StoredRecord) -> None:
        """Fold one record."""

    def finish(self) -> Meta:
        """Write the rest."""


class Scratch(Protocol):
    """A table of the second reader's own, for as long as it reads."""

    def open(self) -> Table:
        """An empty one. Raises TableError when there can be none."""

    def drop(self) -> None:
        """Let go of it, and of what is in it."""


class SecondReader:
    """One look at one checkpoint, some records a turn."""

    def __init__(
        self,
        whole: WholeCheckpoint,
        *,
        tail: Tail,
        place: tuple[str, int],
        scratch: Scratch,
        fold: Callable[[Table, Meta, Verified], Folds],
        fresh: Meta,
        age_ms_max: int,
        wrong: tuple[type[Exception], ...] = (),
    ) -> None:
        """`fresh` is the beginning of a table, `wrong` what a fold raises for a log that is not.

        Request ids are compared that are `age_ms_max` old at most.
        """
        self._whole = whole
        self._tail = tail
        self._topic, self._partition = place
        self._scratch = scratch
        self._fold = fold
        self._fresh = fresh
        self._age_ms_max = age_ms_max
        self._errors: tuple[type[Exception], ...] = (CheckpointWrongError, *wrong)
        self.is_done = False
        self.wrong = ""
        """Why the checkpoint may not be relied on."""
        self._turns = self._read()

    def step(self) -> None:
        """One turn. Raises LogError or TableError when it cannot go on: another begins anew."""
        try:
            next(self._turns)
        except StopIteration:
            self.is_done = True
        except self._errors as error:
            self.wrong, self.is_done = str(error), True

    def close(self) -> None:
        """Let go of everything."""
        self._turns.close()
        self._tail.close()
        self._scratch.drop()

    def _read(self) -> Turns:
        probe = self._tail.probe_end(self._topic, self._partition)
        while (span := probe.span()) is None:
            yield
        table = self._scratch.open()
        begun = yield from self._begin(table, span[0])
        recovery = self._fold(table, *begun)
        first = self._whole.first_offset
        self._tail.assign(self._topic, self._partition, recovery.next_offset)
        while recovery.next_offset < first:
            for record in self._tail.take(self._topic, self._partition, READ_A_TURN):
                if record.offset < first:
                    recovery.take(record)
                if record.offset >= first - 1:
                    break
            yield
        recovery.finish()
        yield from self._compare(table, recovery.cursor)

    def _begin(self, table: Table, start: int) -> Generator[None, None, tuple[Meta, Verified]]:
        """Where its own fold begins: offset 0, or the checkpoint that the log begins with."""
        if not start:
            return self._fresh, table_layout.Verified()
        fresh = self._fresh
        reader = CheckpointReader(table, fresh.cluster_id, fresh.events_topic_id)
        self._tail.assign(self._topic, self._partition, start)
        while True:
            for record in self._tail.take(self._topic, self._partition, READ_A_TURN):
                try:
                    loaded = reader.take(record)
                except NoCheckpointError as error:
                    raise CheckpointWrongError(f"the log's own beginning: {error}") from error
                if loaded is not None:
                    return loaded
            yield

    def _compare(self, table: Table, cursor: Cursor) -> Turns:
        """Hold the slices in the log against the rows that the fold has made."""
        place = (self._topic, self._partition)
        self._tail.assign(*place, self._whole.first_offset)
        mine = rows_of_log(table.scan(b"", _TOP))
        header: Transition | None = None
        offset = -1
        while offset < self._whole.last_offset:
            for record in self._tail.take(*place, READ_A_TURN):
                offset = record.offset
                if offset > self._whole.last_offset:
                    break
                cursor, verdict = fold_record(cursor, record)
                if not isinstance(verdict, Accepted):
                    continue
                header = header or verdict.envelope
                for one in slices_in(verdict):
                    theirs = iter(zip(one.keys, one.values, strict=True))
                    yield from self._hold(mine, theirs, header, is_last=one.is_last)
            yield

    def _hold(
        self,
        mine: Iterator[tuple[bytes, bytes]],
        theirs: Iterator[tuple[bytes, bytes]],
        header: Transition,
        *,
        is_last: bool,
    ) -> Turns:
        compared = 0
        for row in theirs:
            if self._is_passed_over(*row, header):
                continue
            own = self._next(mine, header)
            if own != row:
                raise CheckpointWrongError(f"{_named(row)} where the log makes {_named(own)}")
            compared += 1
            if compared % COMPARED_A_TURN == 0:
                yield
        left = self._next(mine, header) if is_last else None
        if left is not None:
            raise CheckpointWrongError(f"{_named(left)} is missing")

    def _next(
        self, mine: Iterator[tuple[bytes, bytes]], header: Transition
    ) -> tuple[bytes, bytes] | None:
        return next((row for row in mine if not self._is_passed_over(*row, header)), None)

    def _is_passed_over(self, key: bytes, value: bytes, header: Transition) -> bool:
        """Whether no promise hangs on a row: owners drop such in their own time."""
        if key.startswith(table_layout.EFFECTS):
            # They go one by one as they are acknowledged; before a cut all of them have.
            return True
        if key.startswith(table_layout.REQUESTS):
            row = table_layout.decode_request(value)
            return row.time_ms < header.time_ms - self._age_ms_max
        return False


def _named(row: tuple[bytes, bytes] | None) -> str:
    if row is None:
        return "nothing"
    return f"row {row[0][:120]!r} ({len(row[1])} bytes)"


CANNOT_GO_ON: Final = (LogError, PositionLostError, TableError)
