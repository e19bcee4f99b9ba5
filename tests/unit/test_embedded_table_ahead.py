"""Tables that know more than the embedded log has: the only witnesses of what it lost are kept."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from perdure import workflow
from perdure.client import Client
from perdure.worker import Worker
from perdure_topics.ports import LogEndLostError
from perdure_topics.task_queue_topics import create_topics


@workflow.defn
class Echo:
    @workflow.run
    async def run(self, n: int) -> int:
        return n


async def work(directory: Path, name: str, count: int) -> list[int]:
    client = await Client.connect(f"file:{directory}")
    try:
        create_topics(client.log, "default", "q", partitions=2)
        async with Worker(client, task_queue="q", workflows=[Echo]):
            start = partial(client.execute_workflow, Echo.run, task_queue="q")
            return [await start(n, id=f"{name}-{n}") for n in range(count)]
    finally:
        await client.close()


async def host(directory: Path) -> None:
    client = await Client.connect(f"file:{directory}")
    try:
        await Worker(client, task_queue="q", workflows=[Echo]).run()
    finally:
        await client.close()


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*.sst")
    }


async def test_tables_ahead_of_their_log_are_kept_and_the_work_is_refused(tmp_path):
    data, older = tmp_path / "data", tmp_path / "older"
    assert await work(data, "first", 3) == [0, 1, 2]
    shutil.copytree(data, older)
    assert await work(data, "second", 8) == list(range(8))
    # Someone restores the log from yesterday's copy, and its mark with it.
    for name in ("log", "log-synced"):
        shutil.rmtree(data / name, ignore_errors=True)
        (data / name).unlink(missing_ok=True)
    shutil.copytree(older / "log", data / "log")
    shutil.copy(older / "log-synced", data / "log-synced")
    before = files(data / "tables")
    for _ in range(2):
        with pytest.raises(
            LogEndLostError, match="records that were acknowledged are lost"
        ) as lost:
            await host(data)
        assert f"{data}/tables" in str(lost.value)
        assert "Restore" in str(lost.value)
    after = files(data / "tables")
    assert before.items() <= after.items()
    # As the message says: without the tables it goes on with what the log has.
    shutil.rmtree(data / "tables")
    shutil.rmtree(data / "checkpoints", ignore_errors=True)
    assert await work(data, "third", 4) == [0, 1, 2, 3]
