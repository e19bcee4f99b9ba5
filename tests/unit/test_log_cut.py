"""An embedded log loses its head below a checkpoint, and nobody misses it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perdure.client import Client, RPCError
from perdure.worker import Worker
from perdure_actors.partition import processor
from perdure_actors.partition import scrubber as scrubber_module
from perdure_actors.retention import log_head
from tests.cut_runs import Quick, Waits, heads

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]


async def test_a_log_that_was_cut_serves_those_with_a_table_and_those_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "EVERY_BYTES_ALONE", 2_000)
    monkeypatch.setattr(scrubber_module, "EVERY_MS", 100)
    monkeypatch.setattr(log_head, "AGAIN_MS", 100)
    data = f"file:{tmp_path / 'data'}"
    client = await Client.connect(data)

    def worker(name: str) -> Worker:
        return Worker(
            client, task_queue="q", workflows=[Quick, Waits], state_directory=tmp_path / name
        )

    async with asyncio.timeout(90):
        async with worker("first"):
            waits = await client.start_workflow(Waits.run, id="waits", task_queue="q")
            await waits.signal(Waits.tell, "one")
            number = 0
            while not all(await heads(client, "q")):
                await client.execute_workflow(
                    Quick.run, f"{number}", id=f"w-{number}", task_queue="q"
                )
                number += 1
        async with worker("first"):
            assert await client.get_workflow_handle("w-0", task_queue="q").result() == "0"
        await client.close()

        client = await Client.connect(data)
        # Nobody owns it: the log itself is read, from the checkpoint on.
        assert (await client.count_workflows()).count == number + 1
        async with worker("made anew"):
            assert (await client.count_workflows()).count == number + 1
            assert await client.get_workflow_handle("w-0", task_queue="q").result() == "0"
            handle = client.get_workflow_handle_for(Waits.run, "waits", task_queue="q")
            await handle.signal(Waits.tell, "two")
            assert await handle.result() == ["one", "two"]
            with pytest.raises(RPCError):
                await client.get_workflow_handle("nobody", task_queue="q").describe()
    await client.close()
