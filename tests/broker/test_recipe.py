"""The recipes for any producer and reader, run as they are printed, without us on their side."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from perdure_schemas import avro
from perdure_topics.names import partition_of, topic_name
from tests.broker.orders_app import Job
from tests.broker.processes import PARTITIONS, QUEUE, ROOT, Crew, until
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


@pytest.mark.broker
async def test_the_reading_recipe_reads_what_the_history_holds(
    standing: Crew, tmp_path: Path
) -> None:
    name = "read-by-anyone"
    async with standing.client() as client:
        await standing.start(client, Job(name))
        await standing.finish(client, [Job(name)])
        history = await client.get_workflow_handle(name, task_queue=QUEUE).fetch_history()
    code = reading_recipe().replace("localhost:9092", standing.target)
    topic = topic_name("events", standing.namespace, QUEUE)
    code = code.replace(topic_name("events", "default", "orders"), topic)
    code = code.replace(f'"{topic}", 0', f'"{topic}", {partition_of(name, PARTITIONS)}')
    (tmp_path / "schemas").mkdir()
    for cls in avro.framed_records():
        text = avro.schema_text(cls.__name__)
        (tmp_path / "schemas" / f"{cls.__name__}.avsc").write_text(text)

    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", WITHOUT_US + code],
        cwd=tmp_path,
        check=True,
        timeout=50,
        capture_output=True,
        text=True,
    )

    told = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith(f"{name} ")]
    assert [seq for seq, _ in told] == [str(n) for n in range(1, len(history.events) + 1)]
    assert told[0][1] == "WorkflowStarted"
    assert told[-1][1] == "WorkflowCompleted"


@pytest.mark.broker
@pytest.mark.timeout(300)
async def test_the_faust_recipe_follows_histories_through_a_kill(
    standing: Crew, tmp_path: Path
) -> None:
    pytest.importorskip("faust")
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    for cls in avro.framed_records():
        (schemas / f"{cls.__name__}.avsc").write_text(avro.schema_text(cls.__name__))
    code = reading_recipe("read-with-faust.md").replace("localhost:9092", standing.target)
    code = code.replace("default.orders.events", topic_name("events", standing.namespace, QUEUE))
    assert "topic_partitions=8" in code
    code = code.replace("topic_partitions=8", f"topic_partitions={PARTITIONS}")
    (tmp_path / "reader.py").write_text(WITHOUT_US + code.replace("orders-reader", tmp_path.name))
    told = tmp_path / "told.txt"
    names = [f"followed-{number}" for number in range(6)]

    def follow() -> subprocess.Popen[bytes]:
        command = [sys.executable, "reader.py", "worker", "-l", "warn", "--without-web"]
        with told.open("ab") as out:
            return subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=out)

    def lines(name: str) -> list[tuple[str, str]]:
        return re.findall(rf" {name} (\d+) (\w+)", told.read_text())

    async def completed(some: list[str]) -> None:
        def all_are() -> bool:
            assert reader.poll() is None, told.read_text()
            return all(lines(name) and lines(name)[-1][1] == "WorkflowCompleted" for name in some)

        await until(all_are, "the reader has told of their ends", timeout_s=120.0)

    reader = follow()
    try:
        async with standing.client() as client:
            for some in (names[:3], names[3:]):
                jobs = [Job(name) for name in some]
                for job in jobs:
                    await standing.start(client, job)
                await standing.finish(client, jobs)
                await completed(some)
                if some == names[:3]:
                    reader.kill()
                    reader.wait()
                    reader = follow()
            lengths = {
                name: len((await client.get_workflow_handle(name).fetch_history()).events)
                for name in names
            }
    finally:
        reader.kill()
        reader.wait()
        print(told.read_text()[-5000:])  # shown after a failure
    for name, length in lengths.items():
        # What had not been kept when the reader was killed is told again, from there on in order.
        told_once = dict.fromkeys(seq for seq, _ in lines(name))
        assert list(told_once) == [str(n) for n in range(1, length + 1)]


def reading_recipe(page: str = "read-histories.md") -> str:
    """The code of a page on reading, as a reader copies it."""
    page = (ROOT / "docs/recipes" / page).read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return str(code)
