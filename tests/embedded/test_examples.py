"""The examples of children, cron and schedules do what they say."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from examples.children.app import Delivery, Round
from examples.schedules.app import TASK_QUEUE, Figures, Report, make_schedule
from perdure.client import Client
from perdure.worker import Worker

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(60)]


async def test_a_round_delivers_what_does_not_break(tmp_path: Path) -> None:
    client = await Client.connect(f"file:{tmp_path}")
    async with Worker(client, task_queue="parcels", workflows=[Round, Delivery]):
        told = await client.execute_workflow(
            Round.run, ["a", "fragile b", "fragile c"], id="monday", task_queue="parcels"
        )
    await client.close()

    assert told == ["a to the door", "Broken: fragile b broke", "fragile c to the baker"]


async def test_reports_count_by_cron_and_by_schedule(tmp_path: Path) -> None:
    client = await Client.connect(f"file:{tmp_path}")
    async with Worker(client, task_queue=TASK_QUEUE, workflows=[Report]):
        cron = await client.start_workflow(
            Report.run, id="by-cron", task_queue=TASK_QUEUE, cron_schedule="@every 1s"
        )
        first = await cron.describe()
        handle = await make_schedule(client, timedelta(seconds=1))
        while len((found := await handle.describe()).info.recent_actions) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        while (await cron.describe()).run_id == first.run_id:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await handle.pause()
        ids = [getattr(one.action, "workflow_id", "") for one in found.info.recent_actions[:2]]
        made = [await client.get_workflow_handle(i, result_type=Figures).result() for i in ids]
        await cron.terminate()
    await client.close()

    assert [one.number for one in made] == [1, 2]
    assert made[0].made_for == "the board"
