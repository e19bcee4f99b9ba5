"""Leases and heartbeats: who is alive, who is lost, and what is forgotten with them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from perdure_actors.core.decision import Ignored
from perdure_actors.core.liveness import LEASE_MS_DEFAULT, Heard, Lease, Leased, Left, Liveness
from perdure_schemas.commands import ClaimActivity, WorkerLease
from perdure_schemas.replies import WorkerOrders
from tests.unit.core_world import NOW_MS, CoreWorld

LEASE = WorkerLease(
    worker_id="w1",
    identity="me",
    task_queue="orders",
    reply_partition=5,
    lease_ms=3_000,
    slots=8,
    slots_used=2,
    version="v1",
)


def lease(worker_id: str = "w1", seen_ms: int = NOW_MS) -> Lease:
    return Lease(worker_id, "me", "orders", 5, 3_000, seen_ms, 8, 2, "v1")


@pytest.fixture
def liveness() -> Liveness:
    return Liveness(NOW_MS)


def test_a_lease_is_remembered_until_its_worker_stops() -> None:
    world = CoreWorld()

    assert world.do(LEASE) == Ignored("", liveness=(Leased(lease()),))
    assert world.liveness.leases == {"w1": lease()}
    stopping = WorkerLease(
        worker_id="w1", task_queue="orders", reply_partition=5, lease_ms=3_000, stopping=True
    )
    for _ in range(2):
        assert world.do(stopping) == Ignored("", liveness=(Left("w1"),))
        assert world.liveness.leases == {}


def test_a_lease_is_told_nothing_of_attempts_that_ended_or_go_on() -> None:
    world = CoreWorld()
    run = world.start()
    world.schedule(run)
    world.do(world.report(ClaimActivity, run))
    world.liveness.hold("w1", "run-1", "9")
    world.liveness.hold("w1", "run-9", "1")

    assert world.do(LEASE) == Ignored("", liveness=(Leased(lease()),))


def test_a_worker_never_heard_of_has_the_time_of_a_lease_after_a_take_over(
    liveness: Liveness,
) -> None:
    liveness.hold("w1", "run-1", "1")

    assert liveness.lease_ends_ms("w1") == NOW_MS + LEASE_MS_DEFAULT
    assert liveness.lost_workers(NOW_MS + LEASE_MS_DEFAULT - 1) == []
    assert liveness.lost_workers(NOW_MS + LEASE_MS_DEFAULT) == ["w1"]


@pytest.mark.parametrize(
    ("seen_ms", "ends_ms"), [(NOW_MS + 50, NOW_MS + 3_050), (NOW_MS - 50, NOW_MS + 3_000)]
)
def test_a_lease_runs_from_when_it_was_seen_or_taken_over(
    liveness: Liveness, seen_ms: int, ends_ms: int
) -> None:
    liveness.leases["w1"] = lease(seen_ms=seen_ms)

    assert liveness.lease_ends_ms("w1") == ends_ms


def test_only_leases_of_workers_that_hold_nothing_are_dropped(liveness: Liveness) -> None:
    liveness.leases = {"w1": lease(), "w2": lease("w2"), "w3": lease("w3", NOW_MS + 1)}
    liveness.hold("w1", "run-1", "1")

    liveness.drop_expired(NOW_MS + 3_000)

    assert set(liveness.leases) == {"w1", "w3"}


def test_what_is_forgotten_is_one_attempt_of_one_worker(liveness: Liveness) -> None:
    liveness.hold("w1", "run-1", "1")
    liveness.hold("w1", "run-1", "2")
    liveness.hold("w2", "run-1", "2")
    liveness.take([Heard("run-1", "1", 1), Heard("run-1", "2", 2)])

    liveness.forget("w1", "run-1", "2")
    assert liveness.attempts_of("w1") == {("run-1", "1")}
    assert liveness.attempts_of("w2") == {("run-1", "2")}
    assert (liveness.heartbeat_ms("run-1", "1"), liveness.heartbeat_ms("run-1", "2")) == (1, 2)

    liveness.forget("w1", "run-1", "1")
    assert liveness.attempts_of("w1") == frozenset()
    assert liveness.attempts_of("w2") == {("run-1", "2")}
    assert (liveness.heartbeat_ms("run-1", "1"), liveness.heartbeat_ms("run-1", "2")) == (0, 2)

    liveness.forget("w9", "run-1", "1")
    liveness.forget("w9", "run-1", "2")
    assert liveness.heartbeat_ms("run-1", "2") == 2


@pytest.mark.parametrize(
    ("others", "waiting", "elsewhere"),
    [
        ({"w2": (8, 6)}, 5, 2),
        ({"w2": (8, 2), "w3": (8, 8)}, 5, 5),
        ({"w2": (8, 8), "w3": (4, 6)}, 5, 0),
        ({"w2": (8, 0)}, 0, 0),
        ({}, 5, 0),
    ],
)
def test_who_asks_is_told_how_many_slots_others_have(
    others: dict[str, tuple[int, int]], waiting: int, elsewhere: int
) -> None:
    world = CoreWorld()
    for worker_id, (slots, used) in others.items():
        world.do(replace(LEASE, worker_id=worker_id, slots=slots, slots_used=used))

    verdict = world.do(replace(LEASE, waiting=waiting))

    assert isinstance(verdict, Ignored)
    assert (verdict.answer.elsewhere if isinstance(verdict.answer, WorkerOrders) else 0) == (
        elsewhere
    )


def test_of_workers_of_another_queue_one_at_a_time_is_tried() -> None:
    verdict = CoreWorld().do(replace(LEASE, task_queue="another", waiting=9))

    assert isinstance(verdict, Ignored)
    assert verdict.answer == WorkerOrders(elsewhere=1)


def test_a_host_that_stood_still_hears_everybody_anew_once_a_minute(liveness: Liveness) -> None:
    liveness.hold("w1", "run-1", "1")
    liveness.leases["w1"] = lease(seen_ms=NOW_MS)
    at_ms = NOW_MS
    for _ in range(400):
        at_ms += 200
        liveness.leases["w1"] = lease(seen_ms=at_ms)
        liveness.turned(at_ms)
    assert liveness.taken_over_ms == NOW_MS

    at_ms += 9_000
    liveness.turned(at_ms)
    assert liveness.lost_workers(at_ms) == []
    assert liveness.lease_ends_ms("w1") == at_ms + 3_000

    # It stands still again and again, and the worker is gone.
    at_ms += 9_000
    liveness.turned(at_ms)
    assert liveness.lost_workers(at_ms) == ["w1"]
