"""The recipe for any producer, run as it is printed, on a real broker without us on its side."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from perdure_schemas import avro
from perdure_topics.names import partition_of, topic_name
from tests.broker.processes import PARTITIONS, QUEUE, Crew, until
from tests.unit.test_pages import WITHOUT_US, recipe


@pytest.mark.broker
async def test_the_recipe_starts_a_workflow_that_completes(standing: Crew, tmp_path: Path) -> None:
    (tmp_path / "StartWorkflow.avsc").write_text(avro.schema_text("StartWorkflow"))
    code = recipe()
    assert "localhost:9092" in code
    code = code.replace("localhost:9092", standing.target)
    topic = topic_name("commands", standing.namespace, QUEUE)
    code = code.replace(topic_name("commands", "default", "orders"), topic)
    command = [sys.executable, "-c", WITHOUT_US + code]

    # Twice: a producer's retry with the same request id is no second start.
    for _ in range(2):
        await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, check=True, timeout=50)

    async with standing.client() as client:

        async def there() -> bool:
            runs = client.list_workflows(task_queue=QUEUE)
            return "order-4711" in [run.id async for run in runs]

        await until(there, "the start is taken")
        handle = client.get_workflow_handle("order-4711", task_queue=QUEUE)
        assert await handle.result() == "order-4711 costs 12.5"
    found = [r for r in standing.dump()[topic] if r.key == b"order-4711"]
    assert {record.partition for record in found} == {partition_of("order-4711", PARTITIONS)}
    (run,) = standing.check().of_workflow("order-4711")
    assert run.closing is not None
