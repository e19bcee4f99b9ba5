"""A log on Kafka loses its head below a checkpoint where its rule says so, and nobody misses it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from perdure.client import Client, TaskQueueRetention
from perdure.worker import Worker
from perdure_actors.partition import processor
from perdure_actors.partition import scrubber as scrubber_module
from perdure_actors.retention import log_head
from perdure_topics.task_queue_topics import create_topics
from tests.cut_runs import Quick, Waits, heads

pytestmark = [pytest.mark.broker, pytest.mark.timeout(150)]
QUEUE = "cut"


async def test_a_log_on_kafka_is_cut_where_its_rule_says_so(
    kafka_bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "EVERY_BYTES", 2_000)
    monkeypatch.setattr(scrubber_module, "EVERY_MS", 100)
    monkeypatch.setattr(log_head, "AGAIN_MS", 100)
    client = await Client.connect(kafka_bootstrap, namespace="cuts")
    create_topics(client.log, "cuts", QUEUE, partitions=2, replication=1)

    def worker(name: str) -> Worker:
        return Worker(
            client, task_queue=QUEUE, workflows=[Quick, Waits], state_directory=tmp_path / name
        )

    async with asyncio.timeout(120):
        async with worker("first"):
            waits = await client.start_workflow(Waits.run, id="waits", task_queue=QUEUE)
            await waits.signal(Waits.tell, "one")
            for number in range(12):
                await client.execute_workflow(
                    Quick.run, f"{number}", id=f"w-{number}", task_queue=QUEUE
                )
            assert await heads(client, QUEUE) == [0, 0], "nothing is cut unless somebody says so"
            await TaskQueueRetention(client, QUEUE).set(timedelta(days=1), cut_events=True)
            number = 12
            while not all(await heads(client, QUEUE)):
                await client.execute_workflow(
                    Quick.run, f"{number}", id=f"w-{number}", task_queue=QUEUE
                )
                number += 1
        async with worker("made anew"):
            assert (await client.count_workflows()).count == number + 1
            assert await client.get_workflow_handle("w-0", task_queue=QUEUE).result() == "0"
            handle = client.get_workflow_handle_for(Waits.run, "waits", task_queue=QUEUE)
            await handle.signal(Waits.tell, "two")
            assert await handle.result() == ["one", "two"]
    await client.close()
