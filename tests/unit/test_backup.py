"""A backup of an embedded directory is taken while its engine works, and is all that it knew."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perdure import workflow
from perdure.cli import run
from perdure.client import Client
from perdure.worker import Worker
from perdure_topics.embedded.backup import check_log, copy_log, restore_log
from perdure_topics.ports import LogError

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]


@workflow.defn
class Waits:
    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, wanted: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.told) >= wanted)
        return self.told

    @workflow.signal
    def tell(self, what: str) -> None:
        self.told.append(what)


def worker(client: Client, tables: Path) -> Worker:
    return Worker(client, task_queue="q", workflows=[Waits], state_directory=tables)


async def test_a_copy_that_is_taken_at_work_has_all_that_was_acknowledged(tmp_path: Path) -> None:
    data, copy, restored = tmp_path / "data", tmp_path / "copy", tmp_path / "restored"
    client = await Client.connect(f"file:{data}")
    async with asyncio.timeout(90), worker(client, tmp_path / "tables"):
        open_one = await client.start_workflow(Waits.run, 2, id="open", task_queue="q")
        await open_one.signal(Waits.tell, "before")
        for number in range(5):
            await client.execute_workflow(Waits.run, 0, id=f"w-{number}", task_queue="q")
        stop = asyncio.Event()

        async def work() -> int:
            count = 0
            while not stop.is_set():
                await client.execute_workflow(Waits.run, 0, id=f"more-{count}", task_queue="q")
                count += 1
            return count

        working = asyncio.create_task(work())
        assert await asyncio.to_thread(copy_log, data, copy) > 0
        stop.set()
        await working
        await open_one.signal(Waits.tell, "after")
        assert await open_one.result() == ["before", "after"]
    await client.close()

    found = restore_log(copy, restored)
    assert sum(one.accepted_pseq for one in found) > 0
    assert {one.stale for one in found} == {0}

    client = await Client.connect(f"file:{restored}")
    async with asyncio.timeout(90), worker(client, tmp_path / "tables of the restored"):
        for number in range(5):
            assert await client.get_workflow_handle(f"w-{number}", task_queue="q").result() == []
        handle = client.get_workflow_handle_for(Waits.run, "open", task_queue="q")
        await handle.signal(Waits.tell, "instead")
        assert await handle.result() == ["before", "instead"]
    await client.close()


async def one_log(place: Path) -> None:
    client = await Client.connect(f"file:{place}")
    async with worker(client, place / "tables of a worker"):
        await client.execute_workflow(Waits.run, 0, id="w", task_queue="q")
    await client.close()


async def test_nothing_is_written_over(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    await one_log(data)
    copy_log(data, copy)
    with pytest.raises(LogError, match="is not empty: a backup goes into a directory of its own"):
        copy_log(data, copy)
    with pytest.raises(LogError, match="holds a log already"):
        restore_log(copy, data)
    left = tmp_path / "left"
    (left / "tables").mkdir(parents=True)
    with pytest.raises(LogError, match="is left of another log"):
        restore_log(copy, left)
    with pytest.raises(LogError, match="holds no embedded log"):
        copy_log(tmp_path / "nothing", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    assert check_log(data)


async def test_a_damaged_copy_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    data, copy, restored = tmp_path / "data", tmp_path / "copy", tmp_path / "restored"
    await one_log(data)
    copy_log(data, copy)
    (table,) = (copy / "log").glob("*.sst")
    content = bytearray(table.read_bytes())
    content[len(content) // 3] ^= 0xFF
    table.write_bytes(content)

    with pytest.raises(LogError):
        restore_log(copy, restored)

    assert not (restored / "log").exists()
    assert list(restored.iterdir()) == []


async def test_the_commands_copy_and_restore(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, copy, restored = tmp_path / "data", tmp_path / "copy", tmp_path / "restored"
    await one_log(data)

    assert run(["backup", str(copy), "--data", str(data)]) == 0
    assert "are copied to" in capsys.readouterr().out
    assert run(["restore", str(copy), "--data", str(restored)]) == 0
    assert f"start the engine with --data {restored}" in capsys.readouterr().out.replace("\n", " ")
    assert run(["restore", str(copy), "--data", str(restored)]) != 0
    assert "holds a log already" in capsys.readouterr().err.replace("\n", " ")
