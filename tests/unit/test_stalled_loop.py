"""A worker whose event loop stands still, because an activity blocks it, is alive to its hosts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from perdure import activity
from perdure_actors.worker import pulse
from perdure_schemas.commands import (
    ClaimActivity,
    CompleteActivity,
    FailActivity,
    HeartbeatActivity,
    WorkerLease,
)
from perdure_schemas.replies import CanceledAttempt, WorkerOrders
from tests.unit.worker_world import WorkerWorld, make_task, value_of, worker_world


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "STANDS_S", 0.2)
    monkeypatch.setattr(pulse, "LOOK_S", 0.02)


class Rude:
    """An activity that blocks the loop until a test has seen what it wants to see, or gave up."""

    def __init__(self) -> None:
        self.world: WorkerWorld | None = None
        self.sees: Callable[[WorkerWorld], Any] = lambda _world: True
        self.seen = False
        self.stands = threading.Event()

    def activity(self) -> Callable[..., Any]:
        @activity.defn(name="rude")
        async def rude() -> None:
            self.stands.set()
            ends = threading.Event()
            for _ in range(1_000):
                assert self.world is not None
                if self.sees(self.world):
                    self.seen = True
                    return
                ends.wait(0.01)

        return rude


async def blocked(world: WorkerWorld, rude: Rude, sees: Callable[[WorkerWorld], Any]) -> None:
    """Block the loop until something has happened beside it."""
    rude.world, rude.sees = world, sees
    world.host.send(make_task(9, "rude", heartbeat_ms=60_000))
    async with asyncio.timeout(30):
        await world.log.until(
            lambda: [
                one for one in world.host.commands(CompleteActivity) if one.token == b"token-9"
            ]
        )
    assert rude.seen, "it did not happen while the loop stood still"


async def test_leases_go_on():
    rude = Rude()
    async with worker_world([rude.activity()]) as world:
        begins = len(world.host.commands(WorkerLease))
        # Busy: one every two seconds.
        await blocked(world, rude, lambda w: len(w.host.commands(WorkerLease)) >= begins + 3)


async def test_what_waits_for_its_loop_is_spoken_for_and_what_blocks_it_is_not():
    rude, begun = Rude(), asyncio.Event()

    @activity.defn
    async def waits() -> str:
        begun.set()
        await asyncio.sleep(1)
        return "well"

    async with worker_world([rude.activity(), waits]) as world:
        world.host.send(make_task(1, "waits", heartbeat_ms=200))
        await begun.wait()

        def beats(w: WorkerWorld) -> int:
            return len([b for b in w.host.commands(HeartbeatActivity) if b.token == b"token-1"])

        await blocked(world, rude, lambda w: beats(w) >= 3)

        of_rude = [b for b in world.host.commands(HeartbeatActivity) if b.token == b"token-9"]
        assert not of_rude
        assert not world.host.commands(FailActivity)


async def test_heartbeats_and_outcomes_of_threads_do_not_wait_for_the_loop():
    rude = Rude()
    begun, may_beat = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @activity.defn
    def counts() -> int:
        loop.call_soon_threadsafe(begun.set)
        may_beat.wait(30)
        activity.heartbeat("half")
        return 7

    def sees(w: WorkerWorld) -> bool:
        may_beat.set()
        return bool(w.host.commands(CompleteActivity))

    async with worker_world([rude.activity(), counts]) as world:
        world.host.send(make_task(1, "counts", heartbeat_ms=60_000))
        await begun.wait()
        await blocked(world, rude, sees)

        (beat,) = [b for b in world.host.commands(HeartbeatActivity) if b.token == b"token-1"]
        assert value_of(beat.details[0]) == "half"
        assert value_of(world.host.commands(CompleteActivity)[0].result) == 7


async def test_an_attempt_that_has_begun_is_claimed_while_the_loop_stands_still():
    """Unclaimed, it would be given to another worker with its partition, and run beside this."""
    rude, begun = Rude(), asyncio.Event()

    @activity.defn
    async def fresh() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with worker_world([rude.activity(), fresh]) as world:
        world.host.send(make_task(1, "fresh"))
        await begun.wait()

        def sees(w: WorkerWorld) -> bool:
            return any(one.token == b"token-1" for one in w.host.commands(ClaimActivity))

        await blocked(world, rude, sees)


async def test_what_is_granted_or_cancelled_meanwhile_begins_or_stops_afterwards():
    rude = Rude()
    ran: list[str] = []
    begun = asyncio.Event()

    @activity.defn
    async def asks() -> str:
        ran.append("asked")
        return "granted"

    @activity.defn
    async def stops() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with worker_world([rude.activity(), asks, stops]) as world:
        world.host.send(make_task(1, "asks", wants_claim=True))
        world.host.send(make_task(2, "stops", heartbeat_ms=60_000))
        claim = await world.host.first(ClaimActivity)
        await begun.wait()
        sent: list[bool] = []

        def sees(w: WorkerWorld) -> bool:
            if not sent:
                sent.append(True)
                w.host.grant(claim)
                lease = w.host.commands(WorkerLease)[-1]
                stop = CanceledAttempt(token=b"token-2", reason="cancel_requested")
                orders = WorkerOrders(canceled=[stop])
                w.host.answer(lease.reply_partition, lease.worker_id, orders)
            return w.worker.counts.get("started", 0) >= 3

        await blocked(world, rude, sees)
        await world.log.until(lambda: len(world.host.commands(CompleteActivity)) == 2)

    assert ran == ["asked"]
    assert world.worker.counts["canceled"] == 1
