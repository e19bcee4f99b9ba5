"""Facts and patches through the whole engine: seen by clients, kept over eviction and restarts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.client import Client
from perdure.common import SearchAttributeKey
from perdure.worker import Worker
from perdure_schemas.fact_events import RecordEmitted

STAGE = SearchAttributeKey.for_keyword("Stage")
QUEUE = "noting"


@activity.defn
async def step() -> str:
    return "stepped"


@workflow.defn
class Noting:
    @workflow.run
    async def run(self, turn: int) -> list[Any]:
        number = workflow.side_effect(lambda: turn + 10)
        workflow.upsert_memo({"turn": turn, "first": None})
        workflow.upsert_search_attributes([STAGE.value_set(f"turn {turn}")])
        taken = workflow.patched("faster")
        workflow.emit("audit", workflow.info().workflow_id, {"turn": turn})
        await workflow.execute_activity(step, start_to_close_timeout=timedelta(seconds=30))
        if turn < 2:
            workflow.continue_as_new(turn + 1)
        stage = workflow.info().typed_search_attributes.get(STAGE)
        return [number, taken, stage, dict(workflow.memo())]


async def test_facts_are_seen_and_outlive_the_code_in_memory(tmp_path: Path) -> None:
    client = await Client.connect(f"file:{tmp_path}")
    # The activity's worker comes later; until then another host takes the run over.
    async with Worker(client, task_queue=QUEUE, workflows=[Noting]):
        handle = await client.start_workflow(
            Noting.run, 1, id="n-1", task_queue=QUEUE, memo={"first": True, "kept": 1}
        )
        before = await handle.describe()
    assert await before.memo() == {"turn": 1, "kept": 1}
    assert before.search_attributes == {
        "Stage": "turn 1",
        "TemporalChangeVersion": ["faster"],
    }

    async with Worker(client, task_queue=QUEUE, workflows=[Noting], activities=[step]):
        result = await handle.result()
        after = await client.get_workflow_handle("n-1", task_queue=QUEUE).describe()

    assert result == [12, True, "turn 2", {"turn": 2, "kept": 1}]
    assert await after.memo() == {"turn": 2, "kept": 1}
    assert await after.memo_value("turn", type_hint=int) == 2
    assert await after.memo_value("first", "gone") == "gone"
    with pytest.raises(KeyError, match="the memo of workflow 'n-1' has no 'first'"):
        await after.memo_value("first")
    assert after.search_attributes == {"Stage": "turn 2", "TemporalChangeVersion": ["faster"]}
    async with Worker(client, task_queue=QUEUE, workflows=[Noting]):
        history = await handle.fetch_history()
        emitted = [item.event for item in history.events if isinstance(item.event, RecordEmitted)]
    assert [(e.topic, e.key, e.value) for e in emitted] == [("audit", b"n-1", b'{"turn":2}')]
    await client.close()
