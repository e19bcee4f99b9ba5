"""Starts of one id from many sides: the partition lets one of them win."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack

import pytest

from perdure.client import WorkflowHandle
from perdure.common import WorkflowIDConflictPolicy
from perdure.exceptions import WorkflowAlreadyStartedError
from tests.broker.processes import QUEUE, Crew

pytestmark = [pytest.mark.broker, pytest.mark.timeout(90)]

CLIENTS = 5
STARTS = 50


async def race(
    crew: Crew, workflow_id: str, policy: WorkflowIDConflictPolicy
) -> list[object | BaseException]:
    """Fifty starts of one id at once, from five clients, of a run that outlasts them all."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(crew.client()) for _ in range(CLIENTS)]
        starts = [
            clients[number % CLIENTS].start_workflow(
                "Visit", id=workflow_id, task_queue=QUEUE, id_conflict_policy=policy
            )
            for number in range(STARTS)
        ]
        found: list[object | BaseException] = await asyncio.gather(*starts, return_exceptions=True)
        return found


async def test_fifty_starts_of_one_id_make_one_run(standing: Crew) -> None:
    workflow_id = f"one-{uuid.uuid4().hex[:8]}"

    found = await race(standing, workflow_id, WorkflowIDConflictPolicy.FAIL)

    handles = [one for one in found if isinstance(one, WorkflowHandle)]
    refused = [one for one in found if isinstance(one, WorkflowAlreadyStartedError)]
    assert (len(handles), len(refused)) == (1, STARTS - 1)
    run_id = handles[0].result_run_id
    assert {error.run_id for error in refused} == {run_id}
    async with standing.client() as client:
        handle = client.get_workflow_handle(workflow_id, task_queue=QUEUE)
        await handle.signal("end")
        assert await handle.result() == "over"
    (run,) = standing.check().of_workflow(workflow_id)
    assert run.run_id == run_id


async def test_fifty_starts_that_take_what_is_there_agree(standing: Crew) -> None:
    workflow_id = f"one-{uuid.uuid4().hex[:8]}"

    found = await race(standing, workflow_id, WorkflowIDConflictPolicy.USE_EXISTING)

    run_ids = {one.result_run_id for one in found if isinstance(one, WorkflowHandle)}
    assert len(run_ids) == 1, found
    async with standing.client() as client:
        handle = client.get_workflow_handle(workflow_id, task_queue=QUEUE)
        await handle.signal("end")
        assert await handle.result() == "over"
    (run,) = standing.check().of_workflow(workflow_id)
    assert {run.run_id} == run_ids
