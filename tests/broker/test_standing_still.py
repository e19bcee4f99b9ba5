"""A host whose thread takes no turns owns nothing: its partitions go to another process."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from perdure.worker import Worker
from perdure_actors.partition.timer_service import TimerService
from tests.broker.orders_app import Chain, Job
from tests.broker.processes import PARTITIONS, QUEUE, Crew, until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]
MOVED_S = 60.0
"""Half a minute until the member leaves, and room for the other to take over."""


async def test_a_host_that_stands_still_loses_its_partitions(
    crew: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands, may_go = threading.Event(), threading.Event()
    fire = TimerService.fire

    def stand_still(self: TimerService, now_ms: int) -> bool:
        if stands.is_set():
            may_go.wait(120)
        return fire(self, now_ms)

    monkeypatch.setattr(TimerService, "fire", stand_still)
    other = crew.host("other")
    crew.worker()
    async with crew.client() as client:
        mine = Worker(
            client, task_queue=QUEUE, workflows=[Chain], state_directory=tmp_path / "mine"
        )
        running = asyncio.create_task(mine.run())
        try:

            async def shared() -> bool:
                return len(set((await crew.owners(client)).values())) == 2

            await until(shared, "two hosts share the partitions", timeout_s=40.0)

            stands.set()

            async def moved() -> bool:
                said = other.said()
                return all(f"partition {n} taken over" in said for n in range(PARTITIONS))

            await until(moved, "the other host owns all partitions", timeout_s=MOVED_S)
            jobs = [Job(f"job-{number}", steps=1) for number in range(12)]
            await asyncio.gather(*(crew.start(client, job) for job in jobs))
            await crew.finish(client, jobs)
        finally:
            may_go.set()
            await mine.shutdown()
            await running
    crew.check()
