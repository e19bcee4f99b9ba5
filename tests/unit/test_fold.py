"""The acceptance rule, sentence by sentence, and over any interleaving of two owners."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure_schemas.avro import UnknownSchemaError, UnreadableRecordError, encode
from perdure_schemas.events import TimerFired
from perdure_schemas.transition import EpochBump, Transition
from perdure_topics.fold import (
    CHECKPOINT_KIND,
    PARTS_MAX,
    Accepted,
    Bumped,
    Cursor,
    Partial,
    Stale,
    Verdict,
    fold,
    fold_record,
    read_envelope,
)
from perdure_topics.ports import StoredRecord


def bump(epoch: int, nonce: bytes = b"a", topic: str = "T") -> EpochBump:
    return EpochBump(epoch=epoch, nonce=nonce, input_topic_id=topic, owner="host", time_ms=0)


def record(pseq: int, after: int, upto: int, **fields: Any) -> Transition:
    made = {
        "epoch": 1,
        "nonce": b"a",
        "dispatched": 0,
        "time_ms": 0,
        "body": b"%d" % pseq,
        **fields,
    }
    return Transition(pseq=pseq, after=after, upto=upto, **made)


def fold_all(*envelopes: EpochBump | Transition, start: Cursor | None = None) -> Cursor:
    cursor = start or Cursor()
    for envelope in envelopes:
        cursor, _ = fold(cursor, envelope)
    return cursor


def verdict_of(cursor: Cursor, envelope: EpochBump | Transition) -> Verdict:
    after, verdict = fold(cursor, envelope)
    if isinstance(verdict, Stale):
        assert after is cursor, "a stale record changes nothing"
    return verdict


OWNED = fold_all(bump(1))


def test_a_bump_makes_an_owner_and_takes_no_pseq() -> None:
    cursor, verdict = fold(Cursor(), bump(5, b"n", "T"))

    assert verdict == Bumped(bump(5, b"n", "T"))
    assert cursor == Cursor(epoch=5, nonce=b"n", input_topic_id="T", bumps=1)


def test_an_owners_records_count_in_order() -> None:
    cursor, verdict = fold(OWNED, record(1, -1, 3, dispatched=0, time_ms=50))

    assert verdict == Accepted(record(1, -1, 3, time_ms=50), b"1")
    assert (cursor.pseq, cursor.upto, cursor.time_ms, cursor.bumps) == (1, 3, 50, 0)
    assert fold_all(record(2, 3, 3), record(3, 3, 9), start=cursor).upto == 9


@pytest.mark.parametrize(
    ("stale", "reason"),
    [
        (record(3, 3, 4, epoch=2), "epoch"),
        (record(3, 3, 4, epoch=0), "epoch"),
        (record(3, 3, 4, nonce=b"b"), "epoch"),
        (record(2, 3, 4), "pseq"),
        (record(4, 3, 4), "pseq"),
        (record(3, 2, 4), "after"),
        (record(3, 4, 5), "after"),
        (record(3, 3, 3, part=1, parts=0), "part"),
        (record(3, 3, 3, part=2, parts=2), "part"),
        (record(3, 3, 3, part=0, parts=2), "part"),
        (record(3, 3, 3, part=1, parts=PARTS_MAX + 1), "part"),
        (record(3, 3, 4, part=1, parts=2), "part: only the last part covers inputs"),
        (record(3, 3, 3, epoch=9, kind=CHECKPOINT_KIND), "epoch"),
        (bump(1, b"b"), "bump"),
        (bump(0, b"b"), "bump"),
    ],
)
def test_anything_else_is_stale_and_says_why(stale: Transition | EpochBump, reason: str) -> None:
    cursor = fold_all(record(1, -1, 1), record(2, 1, 3), start=OWNED)

    verdict = verdict_of(cursor, stale)

    assert isinstance(verdict, Stale)
    assert verdict.reason.startswith(reason)


def test_nothing_counts_before_the_first_bump() -> None:
    assert isinstance(verdict_of(Cursor(), record(1, -1, 0)), Stale)
    assert isinstance(verdict_of(Cursor(), record(1, -1, 0, epoch=0, nonce=b"x")), Stale)


def test_a_deposed_owner_writes_in_vain() -> None:
    cursor = fold_all(record(1, -1, 1), bump(2, b"b"), start=OWNED)

    assert isinstance(verdict_of(cursor, record(2, 1, 2)), Stale)
    assert isinstance(verdict_of(cursor, record(2, 1, 2, epoch=2, nonce=b"b")), Accepted)


def test_of_two_bumps_of_one_epoch_the_first_wins() -> None:
    cursor = fold_all(bump(7, b"a"), bump(7, b"b"))

    assert cursor.nonce == b"a"
    assert isinstance(verdict_of(cursor, record(1, -1, 0, epoch=7, nonce=b"b")), Stale)


def test_a_take_over_keeps_what_was_covered() -> None:
    before = fold_all(record(1, -1, 4, dispatched=1, time_ms=9), start=OWNED)

    after = fold_all(bump(2, b"b"), bump(3, b"c"), start=before)

    assert (after.pseq, after.upto, after.dispatched, after.time_ms) == (1, 4, 1, 9)
    assert after.bumps == 2


def test_another_input_topic_is_read_from_its_start() -> None:
    before = fold_all(record(1, -1, 4), start=OWNED)

    after = fold_all(bump(2, b"b", "another"), start=before)

    assert (after.upto, after.pseq, after.input_topic_id) == (-1, 1, "another")
    assert isinstance(verdict_of(after, record(2, -1, 0, epoch=2, nonce=b"b")), Accepted)


def test_dispatched_and_time_never_go_back() -> None:
    cursor = fold_all(
        record(1, -1, 1, dispatched=0, time_ms=100),
        record(2, 1, 2, dispatched=1, time_ms=90),
        record(3, 2, 3, dispatched=0, time_ms=95),
        start=OWNED,
    )

    assert (cursor.dispatched, cursor.time_ms) == (1, 100)


def parts_of(count: int, *, pseq: int = 1, upto: int = 5) -> list[Transition]:
    return [
        record(
            pseq + part - 1,
            -1,
            upto if part == count else -1,
            part=part,
            parts=count,
            body=b"<%d>" % part,
        )
        for part in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", [2, 3, PARTS_MAX])
def test_parts_count_with_the_last_as_one_body(count: int) -> None:
    cursor = OWNED
    *first, last = parts_of(count)
    for part in first:
        cursor, verdict = fold(cursor, part)
        assert verdict == Partial()
        assert cursor.upto == -1

    cursor, verdict = fold(cursor, last)

    whole = b"".join(b"<%d>" % part for part in range(1, count + 1))
    assert verdict == Accepted(last, whole)
    assert (cursor.pseq, cursor.upto, cursor.parts, cursor.parts_from) == (count, 5, (), 0)


def test_a_bump_drops_open_parts_and_their_pseqs() -> None:
    one = fold_all(record(1, -1, 2), start=OWNED)
    opened = fold_all(record(2, 2, 2, part=1, parts=3), record(3, 2, 2, part=2, parts=3), start=one)
    assert (opened.pseq, opened.parts_from, len(opened.parts)) == (3, 2, 2)

    after = fold_all(bump(2, b"b"), start=opened)

    assert (after.pseq, after.parts, after.parts_from) == (1, (), 0)
    assert isinstance(verdict_of(after, record(2, 2, 3, epoch=2, nonce=b"b")), Accepted)
    assert isinstance(verdict_of(after, record(4, 2, 3, part=3, parts=3)), Stale)


def test_between_parts_only_the_next_part_counts() -> None:
    opened = fold_all(parts_of(3)[0], start=OWNED)

    assert isinstance(verdict_of(opened, record(2, -1, 4)), Stale)
    assert isinstance(verdict_of(opened, record(2, -1, -1, part=1, parts=3)), Stale)
    assert isinstance(verdict_of(opened, record(2, -1, -1, part=3, parts=3)), Stale)
    assert isinstance(verdict_of(opened, parts_of(3)[1]), Partial)


def test_a_log_that_was_cut_starts_with_its_checkpoint() -> None:
    checkpoint = record(100, 50, 50, epoch=9, nonce=b"z", kind=CHECKPOINT_KIND, time_ms=7)

    cursor, verdict = fold(Cursor(), checkpoint)

    assert isinstance(verdict, Accepted)
    assert (cursor.epoch, cursor.nonce, cursor.pseq, cursor.upto) == (9, b"z", 100, 50)
    assert isinstance(verdict_of(cursor, record(101, 50, 51, epoch=9, nonce=b"z")), Accepted)


def test_a_checkpoint_may_come_in_parts() -> None:
    first = record(100, 50, 50, epoch=9, nonce=b"z", kind=CHECKPOINT_KIND, part=1, parts=2)
    last = record(101, 50, 50, epoch=9, nonce=b"z", kind=CHECKPOINT_KIND, part=2, parts=2)

    cursor, verdict = fold(fold_all(first), last)

    assert verdict == Accepted(last, b"100101")
    assert cursor.pseq == 101


@pytest.mark.parametrize(
    "fields", [{"part": 2, "parts": 2}, {"part": 1, "parts": 65}, {"part": 1, "parts": 0}]
)
def test_a_log_does_not_start_with_half_a_checkpoint(fields: dict[str, int]) -> None:
    half = record(100, 50, 50, epoch=9, nonce=b"z", kind=CHECKPOINT_KIND, **fields)

    assert isinstance(verdict_of(Cursor(), half), Stale)


def test_a_checkpoint_inside_a_log_is_a_record_like_others() -> None:
    assert isinstance(verdict_of(OWNED, record(1, -1, -1, kind=CHECKPOINT_KIND)), Accepted)
    assert isinstance(verdict_of(OWNED, record(9, -1, -1, kind=CHECKPOINT_KIND)), Stale)


def stored(value: bytes | None) -> StoredRecord:
    return StoredRecord("e", 0, 0, None, value, (), 0)


def test_stored_records_are_folded_as_their_envelopes() -> None:
    cursor, verdict = fold_record(Cursor(), stored(encode(bump(1))))
    assert isinstance(verdict, Bumped)
    cursor, verdict = fold_record(cursor, stored(encode(record(1, -1, 0))))
    assert isinstance(verdict, Accepted)
    assert cursor == fold_all(bump(1), record(1, -1, 0))


@pytest.mark.parametrize("value", [None, b"", b"hello", b"\xc3", b"\0\0\0\0\5avro"])
def test_only_what_lacks_our_magic_is_skipped(value: bytes | None) -> None:
    assert read_envelope(value) is None
    cursor, verdict = fold_record(OWNED, stored(value))
    assert isinstance(verdict, Stale)
    assert verdict.reason.startswith("foreign")
    assert cursor is OWNED


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (encode(record(1, -1, 0))[:-1], UnreadableRecordError),
        (encode(record(1, -1, 0)) + b"\0", UnreadableRecordError),
        (b"\xc3\x01", UnreadableRecordError),
        (b"\xc3\x01" + b"\0" * 20, UnknownSchemaError),
        (encode(TimerFired(timer_id="1")), UnreadableRecordError),
    ],
)
def test_what_bears_our_magic_and_cannot_be_read_stops_the_reader(
    value: bytes, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        fold_record(OWNED, stored(value))


class Owner:
    """An honest owner: it proposes on top of what it believes, and may be wrong."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.believes = Cursor()
        self.nonce = b""
        self.in_flight: list[Transition | EpochBump] = []

    def take_over(self, log: list[Transition | EpochBump], draw: Any, number: int) -> None:
        highest = max((entry.epoch for entry in log), default=0)
        # A bump may be no higher than another's: both looked at the same time.
        self.nonce = b"%s%d" % (self.name, number)
        topic = draw(st.sampled_from(["T", "T", "U"]))
        higher = draw(st.sampled_from([1, 1, 1, 0]))
        log.append(bump(max(1, highest + higher), self.nonce, topic))
        self.in_flight = []
        self.believes = fold_all(*log)

    def propose(self, draw: Any) -> None:
        if self.believes.nonce != self.nonce:
            return
        count = draw(st.sampled_from([1, 1, 2, 3]))
        upto = self.believes.upto + draw(st.integers(0, 3))
        for part in range(1, count + 1):
            made = record(
                self.believes.pseq + 1,
                self.believes.upto,
                upto if part == count else self.believes.upto,
                epoch=self.believes.epoch,
                nonce=self.nonce,
                part=part,
                parts=count,
                body=self.nonce,
            )
            self.believes, verdict = fold(self.believes, made)
            assert not isinstance(verdict, Stale), "an owner takes its own records"
            self.in_flight.append(made)


@st.composite
def logs(draw: Any) -> list[Transition | EpochBump]:
    """What two owners leave in a log: late, lost, repeated and interleaved as may be."""
    log: list[Transition | EpochBump] = []
    owners = [Owner(b"a"), Owner(b"b")]
    kinds = st.sampled_from(["take", *["propose", "land", "land"] * 2])
    steps = draw(st.lists(st.tuples(st.sampled_from(owners), kinds), min_size=20, max_size=60))
    for number, (owner, step) in enumerate(steps):
        if step == "take":
            # What was in flight may still land, after the new bump or never.
            late, owner_late = list(owner.in_flight), draw(st.booleans())
            owner.take_over(log, draw, number)
            if owner_late:
                log += late
        elif step == "propose":
            owner.propose(draw)
        elif owner.in_flight:
            fate = draw(st.sampled_from([*["land"] * 6, "lose", "twice"]))
            landed = owner.in_flight.pop(0)
            log += {"land": [landed], "lose": [], "twice": [landed, landed]}[fate]
    return log


@settings(max_examples=150)
@given(logs(), st.data())
def test_any_interleaving_of_two_owners_folds_to_one_history(
    log: list[Transition | EpochBump], data: st.DataObject
) -> None:
    cursor = Cursor()
    cursors = [cursor]
    verdicts: list[Verdict] = []
    for envelope in log:
        cursor, verdict = fold(cursor, envelope)
        cursors.append(cursor)
        verdicts.append(verdict)

    accepted = [verdict.envelope for verdict in verdicts if isinstance(verdict, Accepted)]
    pseqs = [
        pseq
        for envelope in accepted
        for pseq in range(envelope.pseq - envelope.parts + 1, envelope.pseq + 1)
    ]
    assert pseqs == list(range(1, len(pseqs) + 1)), "dense over all epochs"
    epochs = [verdict.bump.epoch for verdict in verdicts if isinstance(verdict, Bumped)]
    assert epochs == sorted(set(epochs)), "every take-over that counts is higher"
    assert [envelope.epoch for envelope in accepted] == sorted(e.epoch for e in accepted)
    writers: dict[int, set[bytes]] = {}
    for verdict in verdicts:
        if isinstance(verdict, Accepted):
            writers.setdefault(verdict.envelope.epoch, set()).add(verdict.envelope.nonce)
            assert verdict.body == verdict.envelope.body * verdict.envelope.parts
    assert all(len(nonces) == 1 for nonces in writers.values()), "one writer an epoch"
    covered = -1
    topic = ""
    for before, verdict in zip(cursors, verdicts, strict=False):
        if isinstance(verdict, Bumped):
            if topic not in ("", verdict.bump.input_topic_id):
                covered = -1
            topic = verdict.bump.input_topic_id
        elif isinstance(verdict, Accepted):
            assert verdict.envelope.after == covered, "no input twice, none left out"
            covered = verdict.envelope.upto
            assert before.epoch == verdict.envelope.epoch
    # A reader that goes on from any saved cursor comes to the same end.
    cut = data.draw(st.integers(0, len(log)))
    assert fold_all(*log[cut:], start=cursors[cut]) == cursor
