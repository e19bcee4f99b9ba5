"""Messages and children with their payloads encrypted, on the embedded log in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure import workflow
from perdure.client import WorkflowUpdateFailedError
from perdure.exceptions import ApplicationError
from perdure.worker import Worker
from tests.unit.test_edges_with_workers import (
    OLD,
    SECRET,
    Patient,
    bytes_of,
    connect,
    encrypting,
)

pytestmark = pytest.mark.embedded


@workflow.defn
class Talking:
    def __init__(self) -> None:
        self.heard = ""

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: bool(self.heard))
        workflow.upsert_memo({"m": self.heard})
        await workflow.signal_with_start_workflow(
            Patient.run,
            self.heard,
            id="other",
            task_queue="q",
            signal="any",
            signal_args=self.heard,
        )
        return await workflow.execute_child_workflow(Patient.run, self.heard, id="child")

    @workflow.signal
    def hear(self, text: str) -> None:
        self.heard = text

    @workflow.query
    def last(self, before: str) -> str:
        return before + self.heard

    @workflow.update
    def refuse(self, text: str) -> str:
        raise ApplicationError(f"refused {text}")


async def test_messages_and_children_cannot_be_read_either(tmp_path: Path) -> None:
    client = await connect(tmp_path, encrypting({"k": OLD}))
    workflows = [Talking, Patient]
    async with Worker(client, task_queue="q", workflows=workflows):
        handle = await client.start_workflow(Talking.run, id="w", task_queue="q")
        assert await handle.query(Talking.last, SECRET) == SECRET
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update(Talking.refuse, SECRET, id="u")
        await handle.signal(Talking.hear, SECRET)
        assert await handle.result() == SECRET
        assert await (await handle.describe()).memo() == {"m": SECRET}
    # While the log is open nothing of it is packed.
    held = bytes_of(tmp_path / "log")
    await client.close()

    assert str(refused.value.cause) == f"refused {SECRET}"
    assert b"Talking" in held
    assert SECRET.encode() not in held
