"""The journal against an appender whose reports are written down beforehand: what counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from perdure_actors import table_layout
from perdure_actors.partition import journal as journal_module
from perdure_actors.partition.fence import AppendFailedError
from perdure_actors.partition.journal import Entry, Journal, pack_parts
from perdure_actors.partition.log_time import LogTime
from perdure_schemas.avro import decode_as, encode
from perdure_schemas.events import InputTrying
from perdure_schemas.transition import EpochBump, Transition, TransitionBody
from perdure_topics.clock import ManualClock
from perdure_topics.fold import Cursor
from perdure_topics.ports import LogError, Report
from perdure_topics.tables.memory_tables import MemoryTableStore

NONCE = b"n" * 16
BUMP_OFFSET = 9
"""Where the own bump is: the first record of this owner comes behind it."""
BODY = encode(TransitionBody())


class ScriptedAppender:
    """Takes what it is given, and reports what the test says."""

    def __init__(self) -> None:
        self.taken: list[Transition] = []
        self.to_report: list[Report] = []
        self.refuses = False

    def append(self, _topic: str, _partition: int, value: bytes, **more: Any) -> None:
        if self.refuses:
            raise LogError("away")
        envelope = decode_as(Transition, value)
        assert more["tag"] == envelope.pseq
        self.taken.append(envelope)

    def reports(self) -> list[Report]:
        found, self.to_report = self.to_report, []
        return found

    def report(self, pseq: int, offset: int | None, error: str | None = None) -> None:
        self.to_report.append(report_of(pseq, offset, error))


def report_of(tag: object, offset: int | None, error: str | None = None) -> Report:
    return Report(tag=tag, offset=offset, timestamp_ms=5_000, error=error)


class Sent:
    """Whoever sends effects."""

    def __init__(self) -> None:
        self.done: list[tuple[int, int]] = []
        self.dispatched = 3


class Shown:
    """Whoever shows what was accepted."""

    shown = 4


class Desk:
    """A journal on a table in memory, as an owner has it behind its bump."""

    def __init__(self, appender: ScriptedAppender) -> None:
        self.appender = appender
        self.table = MemoryTableStore().open("t")
        self.sent = Sent()
        cursor = Cursor(epoch=7, nonce=NONCE, pseq=20, upto=100)
        self.meta = table_layout.Meta(offset=BUMP_OFFSET, cursor=cursor)
        self.journal: Journal[Entry] = Journal(
            appender,  # type: ignore[arg-type]  # it only appends, and reports
            ("ns.q.events", 0),
            self.table,
            self.meta,
            log_time=LogTime(ManualClock(), 1_000, 1_000),
            entry=Entry,
            sent=self.sent,
            shown=Shown(),
        )

    def saved(self) -> table_layout.Meta:
        data = self.table.get(table_layout.META)
        assert data is not None
        return table_layout.decode_meta(data)


@pytest.fixture
def desk() -> Desk:
    return Desk(ScriptedAppender())


def test_a_record_says_who_wrote_it_and_which_inputs_it_covers(desk: Desk) -> None:
    desk.journal.upto = 103
    desk.journal.append(BODY, b"k", covers=False)
    desk.journal.append(BODY, None, covers=True)

    first, second = desk.appender.taken
    assert (first.epoch, first.nonce, first.pseq) == (7, NONCE, 21)
    assert (first.after, first.upto) == (100, 100)
    assert (second.pseq, second.after, second.upto) == (22, 100, 103)
    assert second.dispatched == 3
    assert desk.journal.uncovered == 0


def test_nothing_is_in_the_table_before_the_log_has_acknowledged_it(desk: Desk) -> None:
    entry = desk.journal.append(BODY, None, covers=True)
    entry.ops[b"row"] = b"1"
    entry.history_key = b"history"

    assert desk.journal.accept() == []
    assert list(desk.table.scan(b"", b"\xff")) == []

    desk.appender.report(21, BUMP_OFFSET + 1)
    assert desk.journal.accept() == [entry]
    assert desk.table.get(b"row") == b"1"
    assert desk.table.get(b"history") is not None


def test_one_batch_has_the_rows_and_how_far_the_log_is_in_them(desk: Desk) -> None:
    kept = table_layout.effect_key(18, 0)
    desk.table.write([(kept, b"effect"), (b"old", b"1")], ())
    desk.sent.done.append((18, 0))
    entry = desk.journal.append(BODY, None, covers=True)
    entry.ops[b"old"] = None
    desk.appender.report(21, BUMP_OFFSET + 1)
    desk.journal.accept()

    saved = desk.saved()
    assert (saved.offset, saved.cursor.pseq) == (BUMP_OFFSET + 1, 21)
    assert (saved.dispatched, saved.shown, saved.transitions) == (3, 4, 1)
    assert desk.table.get(b"old") is None
    assert desk.table.get(kept) is None, "an acknowledged effect is kept no more"


def test_the_report_of_the_own_bump_is_passed_over(desk: Desk) -> None:
    entry = desk.journal.append(BODY, None, covers=True)
    bump = EpochBump(
        epoch=7, nonce=NONCE, input_topic_id="", owner="", time_ms=0, code_version="", partitions=1
    )
    desk.appender.to_report.append(report_of(bump, BUMP_OFFSET))
    desk.appender.report(21, BUMP_OFFSET + 1)
    assert desk.journal.accept() == [entry]


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (lambda to: to.report(21, None, "timed out"), "timed out"),
        (lambda to: to.report(21, None), "unknown fate"),
        (lambda to: to.report(22, BUMP_OFFSET + 1), "out of order"),
        (lambda to: to.report(21, BUMP_OFFSET + 2), "a gap"),
        (lambda to: to.report(21, BUMP_OFFSET), "a gap"),
    ],
    ids=["an error", "no offset", "another record", "a gap", "an offset that was taken"],
)
def test_anything_but_the_next_acknowledgement_ends_the_incarnation(
    desk: Desk, what: Callable[[ScriptedAppender], None], says: str
) -> None:
    desk.journal.append(BODY, None, covers=True).ops[b"row"] = b"1"
    desk.journal.append(BODY, None, covers=True)
    what(desk.appender)
    with pytest.raises(AppendFailedError, match=says):
        desk.journal.accept()
    assert list(desk.table.scan(b"", b"\xff")) == []


def test_a_success_behind_a_failure_does_not_count(desk: Desk) -> None:
    desk.journal.append(BODY, None, covers=True)
    desk.journal.append(BODY, None, covers=True).ops[b"row"] = b"2"
    desk.appender.report(21, None, "timed out")
    desk.appender.report(22, BUMP_OFFSET + 1)
    with pytest.raises(AppendFailedError):
        desk.journal.accept()
    assert desk.table.get(b"row") is None


def test_a_report_of_a_record_that_nobody_appended_ends_the_incarnation(desk: Desk) -> None:
    desk.appender.report(21, BUMP_OFFSET + 1)
    with pytest.raises(AppendFailedError):
        desk.journal.accept()


def test_a_record_that_the_fold_refuses_ends_the_incarnation(desk: Desk) -> None:
    desk.journal.append(BODY, None, covers=True)
    desk.journal.cursor = Cursor(epoch=8, nonce=b"o" * 16, pseq=20, upto=100)
    desk.appender.report(21, BUMP_OFFSET + 1)
    with pytest.raises(AppendFailedError, match="the fold refuses"):
        desk.journal.accept()


def test_a_number_is_spent_once_the_log_has_taken_its_record(desk: Desk) -> None:
    desk.appender.refuses = True
    with pytest.raises(AppendFailedError, match="away"):
        desk.journal.append(BODY, None, covers=True)
    assert desk.journal.next_pseq == 21
    assert not desk.journal.in_flight


def test_a_long_body_is_accepted_with_its_last_part(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "PART_BYTES_MAX", 4)
    desk.journal.upto = 101
    last = desk.journal.append(b"abcdefghij", None, covers=True)
    last.ops[b"row"] = b"1"

    assert [(one.pseq, one.part, one.upto) for one in desk.appender.taken] == [
        (21, 1, 100),
        (22, 2, 100),
        (23, 3, 101),
    ]
    assert last.first_pseq == 21
    desk.appender.report(21, BUMP_OFFSET + 1)
    desk.appender.report(22, BUMP_OFFSET + 2)
    desk.journal.accept()
    assert desk.table.get(b"row") is None
    desk.appender.report(23, BUMP_OFFSET + 3)
    assert desk.journal.accept() == [last]
    assert desk.table.get(b"row") == b"1"
    assert desk.journal.cursor.upto == 101


def test_a_body_of_too_many_parts_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "PART_BYTES_MAX", 1)
    with pytest.raises(ValueError, match="is the most"):
        pack_parts({"pseq": 1, "after": 0, "upto": 0}, b"x" * (journal_module.PARTS_MAX + 1))


def test_a_mark_of_doubt_is_kept_once_it_is_accepted(desk: Desk) -> None:
    entry = desk.journal.append(BODY, None, covers=False)
    entry.mark = InputTrying(offset=101)
    assert desk.meta.marks == {}
    desk.appender.report(21, BUMP_OFFSET + 1)
    desk.journal.accept()
    assert desk.saved().marks == {"101": 1}
