"""Tasks that a host hands to its process's worker: slots, fairness, and where outcomes go."""

from __future__ import annotations

from typing import Any

import pytest

from perdure_actors.partition.eager_mailbox import (
    LETTERS_MAX,
    OUTCOME_BYTES_MAX,
    TaskMailbox,
)
from perdure_actors.worker.eager_intake import EagerIntake
from perdure_schemas.commands import ClaimActivity, CompleteActivity, FailActivity
from perdure_schemas.payloads import Payload
from tests.unit.desk_world import World, payload
from tests.unit.worker_world import make_task


class Eager:
    """A desk, what a host hands over to it, and the mailbox of one of the host's partitions."""

    def __init__(self, **fields: Any) -> None:
        self.rings = 0
        self.intake = EagerIntake(["work"])
        self.world = World(eager=self.intake, **fields)
        self.intake.open(wake=self.world._wake)
        self.mailbox = TaskMailbox(self._ring)
        self.world.desk.turn()

    def _ring(self) -> None:
        self.rings += 1

    def offer(self, number: int, **fields: Any) -> bool:
        return self.intake.offer(make_task(number, **fields), (), self.mailbox)

    def letters(self) -> list[tuple[bytes, str]]:
        """What is in the mailbox: whose it is, and what."""
        left = [*self.mailbox._letters]
        return [(one.token, type(one.outcome).__name__) for one in left]

    def begin(self, number: int, **fields: Any) -> None:
        assert self.offer(number, **fields)
        self.world.desk.turn()


def test_what_is_handed_over_runs_and_its_result_comes_back_without_the_log() -> None:
    eager = Eager()
    eager.begin(1)
    (attempt,) = eager.world.hand.started

    eager.world.desk.completed(attempt, payload(7))
    eager.world.settle()

    (letter,) = eager.mailbox._letters
    assert isinstance(letter.outcome, CompleteActivity)
    assert letter.outcome.result == payload(7)
    assert letter.outcome.token == letter.token == b"token-1"
    assert eager.world.host.reports() == []
    assert eager.rings == 1
    assert eager.world.desk.slots_used == 0


def test_no_more_is_taken_than_there_are_free_slots() -> None:
    eager = Eager(slots=2)

    assert [eager.offer(number) for number in (1, 2, 3)] == [True, True, False]


def test_what_finds_its_slot_taken_is_declined() -> None:
    eager = Eager(slots=2)
    eager.world.host.send(make_task(8))
    assert eager.offer(1)
    assert eager.offer(2)
    # The slots were free when they were offered; a supplier may think otherwise by now.
    eager.world.desk._slots.take("work", 0)
    eager.world.desk.turn()

    assert [attempt.token for attempt in eager.world.hand.started] == [b"token-1"]
    assert eager.letters() == [(b"token-2", "NoneType")]


def test_a_type_that_the_worker_does_not_have_is_not_taken() -> None:
    assert not Eager().offer(1, activity_type="other")


def test_tasks_that_wait_for_a_slot_come_first() -> None:
    eager = Eager(slots=2)
    for number in (1, 2, 3):
        eager.world.host.send(make_task(number))
    eager.world.desk.turn()
    assert not eager.offer(4)

    eager.world.end(eager.world.hand.started[0])
    eager.world.desk.turn()

    assert [attempt.token for attempt in eager.world.hand.started] == [
        b"token-1",
        b"token-2",
        b"token-3",
    ]
    assert not eager.offer(4)
    eager.world.end(eager.world.hand.started[1])
    eager.world.desk.turn()
    assert eager.offer(4)


def test_the_rate_counts_what_is_handed_over() -> None:
    eager = Eager(rate=1.0)
    eager.begin(1)

    assert not eager.offer(2)
    eager.world.pass_ms(1_100)
    eager.world.desk.turn()
    assert eager.offer(2)


def test_a_long_attempt_is_promoted_and_reported_on_the_log() -> None:
    eager = Eager()
    eager.begin(1)
    eager.world.pass_ms(1_000)
    (claim,) = eager.world.host.commands(ClaimActivity)
    eager.world.end(eager.world.hand.started[0])
    eager.world.settle()

    assert claim.token == b"token-1"
    assert [type(report) for report in eager.world.host.reports()] == [
        ClaimActivity,
        CompleteActivity,
    ]
    assert eager.letters() == []


def test_a_failure_comes_back_the_same_way() -> None:
    eager = Eager()
    eager.begin(1)
    eager.world.desk.stopped(eager.world.hand.started[0])
    eager.world.settle()

    assert eager.letters() == [(b"token-1", "FailActivity")]
    assert eager.world.host.reports() == []


def test_a_large_result_goes_by_the_log() -> None:
    eager = Eager()
    eager.begin(1)
    large = Payload(data=b"x" * (OUTCOME_BYTES_MAX + 1))
    eager.world.desk.completed(eager.world.hand.started[0], large)
    eager.world.settle()

    assert eager.letters() == []
    assert [type(report) for report in eager.world.host.reports()] == [CompleteActivity]


def test_a_result_that_the_log_would_not_take_is_a_failure() -> None:
    eager = Eager()
    eager.begin(1)
    eager.world.desk.completed(eager.world.hand.started[0], Payload(data=b"x" * (2 << 20)))
    eager.world.settle()

    assert [type(report) for report in eager.world.host.reports()] == [FailActivity]


def test_a_full_mailbox_sends_outcomes_by_the_log() -> None:
    eager = Eager()
    outcome = CompleteActivity(
        workflow_id="w", run_id="r", activity_id="1", attempt=1, token=b"t", result=None
    )
    for number in range(LETTERS_MAX):
        assert eager.mailbox.deliver(b"%d" % number, outcome, 1)
    eager.begin(1)
    eager.world.end(eager.world.hand.started[0])
    eager.world.settle()

    assert [type(report) for report in eager.world.host.reports()] == [CompleteActivity]
    assert eager.intake.is_settled


def test_an_owner_that_is_no_more_is_told_by_the_log_what_it_was_told_here() -> None:
    eager = Eager()
    eager.begin(1)
    eager.world.desk.completed(eager.world.hand.started[0], payload(7))
    left = [letter.token for letter in eager.mailbox.close()]
    assert not eager.intake.is_settled

    eager.intake.lose(eager.mailbox, left)
    eager.world.desk.turn()

    (report,) = eager.world.host.commands(CompleteActivity)
    assert report.token == b"token-1"
    assert report.result == payload(7)
    assert eager.intake.is_settled


def test_an_owner_that_is_no_more_leaves_a_claim_and_an_outcome_on_the_log() -> None:
    eager = Eager()
    eager.begin(1)
    eager.mailbox.close()
    eager.intake.lose(eager.mailbox, [])
    eager.world.desk.turn()
    eager.world.end(eager.world.hand.started[0])
    eager.world.settle()

    assert [type(report) for report in eager.world.host.reports()] == [
        ClaimActivity,
        CompleteActivity,
    ]


def test_what_was_offered_by_an_owner_that_is_no_more_does_not_begin() -> None:
    eager = Eager()
    assert eager.offer(1)
    eager.mailbox.close()
    eager.world.desk.turn()

    assert eager.world.hand.started == []


def test_a_worker_that_stops_declines_what_has_not_begun() -> None:
    eager = Eager()
    assert eager.offer(1)
    # It may never turn again.
    eager.world.desk.stop_taking()

    assert eager.world.hand.started == []
    assert eager.letters() == [(b"token-1", "NoneType")]
    assert eager.rings == 1
    assert not eager.offer(2)
    eager.world.desk.turn()
    assert not eager.offer(3)


def test_a_loop_that_stands_still_begins_nothing_and_holds_nothing_back() -> None:
    eager = Eager()
    assert eager.offer(1)
    eager.world.desk.turn(begins=False)

    assert eager.letters() == [(b"token-1", "NoneType")]
    assert not eager.offer(2)
    eager.world.desk.turn()
    assert eager.offer(2)


def test_a_turn_of_either_side_wakes_the_other_once() -> None:
    eager = Eager()
    woken = eager.world.woken
    later: list[Any] = []
    eager.intake.open(wake=eager.world._wake, later=later.append)
    assert eager.offer(1)
    assert eager.offer(2)
    eager.intake.flush()
    eager.intake.flush()
    assert eager.world.woken == woken + 1

    eager.world.desk.turn()
    for attempt in eager.world.hand.started:
        eager.world.end(attempt)
    for call in later:
        call()

    assert len(later) == 1
    assert eager.rings == 1


def test_heartbeat_details_go_before_their_failure() -> None:
    eager = Eager()
    eager.begin(1)
    (attempt,) = eager.world.hand.started
    eager.world.desk.heartbeat(attempt, [payload(1)])
    eager.world.desk.stopped(attempt)
    eager.world.settle()

    assert [type(report).__name__ for report in eager.world.host.reports()] == [
        "HeartbeatActivity",
        "FailActivity",
    ]


@pytest.mark.parametrize("is_acked", [True, False])
def test_a_task_that_comes_again_is_kept_until_the_log_has_its_outcome(is_acked: bool) -> None:
    world = World()
    world.host.send(make_task(1))
    world.desk.turn()
    if not is_acked:
        world.log.holds_reports = True
    world.end(world.hand.started[0])
    if is_acked:
        world.settle()
    world.host.send(make_task(1, wants_claim=True))
    world.settle()

    assert world.committed == (2 if is_acked else 0)
