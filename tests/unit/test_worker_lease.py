"""When leases are sent: often where attempts are held, seldom elsewhere, at once on the first."""

from __future__ import annotations

from perdure_actors.worker.lease import BUSY_LEASE_MS, LEASE_MS, LeaseBook

COMMANDS = "default.orders.commands"


def test_the_first_held_attempt_shortens_the_lease_at_once() -> None:
    book = LeaseBook(COMMANDS, 2)
    assert {due.lease_ms for due in book.due(0)} == {LEASE_MS}
    assert book.due(100) == []
    before = book.is_urgent

    book.hold(COMMANDS, 1)
    book.hold(COMMANDS, 1)
    assert (before, book.is_urgent) == (False, True)

    (due,) = book.due(200)
    assert (due.partition, due.lease_ms) == (1, BUSY_LEASE_MS)
    assert book.due(300) == []


def test_a_short_lease_is_renewed_before_it_ends_when_nothing_is_held_any_more() -> None:
    book = LeaseBook(COMMANDS, 1)
    book.hold(COMMANDS, 0)
    assert [due.lease_ms for due in book.due(0)] == [BUSY_LEASE_MS]
    book.let_go(COMMANDS, 0)

    assert [due.lease_ms for due in book.due(BUSY_LEASE_MS // 3)] == [LEASE_MS]
    assert book.due(BUSY_LEASE_MS) == []
    assert book.due(BUSY_LEASE_MS // 3 + LEASE_MS // 3)
