"""Workflows that signal and cancel others, on the embedded log, over two task queues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from perdure import workflow
from perdure.client import Client, WorkflowExecutionStatus
from perdure.common import WorkflowIDReusePolicy
from perdure.exceptions import ApplicationError, WorkflowAlreadyStartedError
from perdure.worker import Worker

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(60)]


@workflow.defn
class Listening:
    """Returns what it was told, once it was told enough; when cancelled, what it heard so far."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    @workflow.run
    async def run(self, enough: int) -> list[Any]:
        try:
            await workflow.wait_condition(lambda: len(self.heard) >= enough)
        except asyncio.CancelledError:
            return [*self.heard, f"cancelled: {workflow.cancellation_reason()}"]
        return self.heard

    @workflow.signal
    def note(self, text: str) -> None:
        self.heard.append(text)


@workflow.defn
class Talking:
    @workflow.run
    async def run(self, queue: str | None) -> list[Any]:
        other: workflow.ExternalWorkflowHandle[Listening] = (
            workflow.get_external_workflow_handle_for(Listening.run, "other", task_queue=queue)
        )
        await other.signal(Listening.note, "one")
        await asyncio.gather(*[other.signal("note", f"n{n}") for n in range(20)])
        await other.cancel(reason="that is all")
        told: list[Any] = []
        for call in (other.signal("note", "late"), other.cancel()):
            try:
                await call
            except ApplicationError as error:
                told.append(error.type)
        nobody = workflow.get_external_workflow_handle("nobody", task_queue=queue)
        for call in (nobody.signal("note", "x"), nobody.cancel()):
            try:
                await call
            except ApplicationError as error:
                told.append(error.type)
        return told


@workflow.defn
class Inviting:
    """Says something to a workflow, whether it runs or not; twice, and once where it may not."""

    @workflow.run
    async def run(self, queue: str) -> list[Any]:
        handles = [
            await workflow.signal_with_start_workflow(
                Listening.run,
                2,
                id="invited",
                task_queue=queue,
                signal=Listening.note,
                signal_args=text,
                memo={"by": workflow.info().workflow_id},
            )
            for text in ("one", "two")
        ]
        told: list[Any] = [handles[0].id, handles[0].run_id == handles[1].run_id]
        for id in ("closed", ""):
            try:
                await workflow.signal_with_start_workflow(
                    "Listening",
                    args=[1],
                    id=id,
                    task_queue=queue,
                    signal="note",
                    signal_args=["three"],
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                )
            except WorkflowAlreadyStartedError as error:
                told.append(f"{error.workflow_id} is used")
            except ValueError:
                told.append("refused where it is called")
        return told


@workflow.defn
class Raising:
    """Starts a child and tells it things."""

    @workflow.run
    async def run(self, queue: str | None) -> list[Any]:
        child = await workflow.start_child_workflow(Listening.run, 2, task_queue=queue)
        await child.signal(Listening.note, "a")
        await child.signal("note", "b")
        return await child


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    near = Worker(client, task_queue="near", workflows=[Talking, Listening, Raising, Inviting])
    far = Worker(client, task_queue="far", workflows=[Listening])
    async with near, far:
        yield client
    await client.close()


@pytest.mark.parametrize("queue", [None, "far"])
async def test_a_run_signals_and_cancels_another_and_hears_when_nobody_is_there(
    client: Client, queue: str | None
) -> None:
    other = await client.start_workflow(Listening.run, 100, id="other", task_queue=queue or "near")

    told = await client.execute_workflow(Talking.run, queue, id="talking", task_queue="near")
    heard = await other.result()

    assert told == ["closed", "not_found", "not_found"]
    assert heard[0] == "one"
    assert sorted(heard[1:-1]) == sorted(f"n{n}" for n in range(20))
    assert heard[-1] == "cancelled: that is all"
    assert (await other.describe()).status == WorkflowExecutionStatus.COMPLETED


@pytest.mark.parametrize("queue", ["near", "far"])
async def test_a_run_signals_another_and_starts_it_where_it_does_not_run(
    client: Client, queue: str
) -> None:
    await client.execute_workflow(Listening.run, 0, id="closed", task_queue=queue)

    told = await client.execute_workflow(Inviting.run, queue, id="inviting", task_queue="near")
    invited = client.get_workflow_handle_for(Listening.run, "invited", task_queue=queue)

    assert told == ["invited", True, "closed is used", "refused where it is called"]
    assert await invited.result() == ["one", "two"]
    described = await invited.describe()
    assert await described.memo() == {"by": "inviting"}
    assert described.parent_id is None


@pytest.mark.parametrize("queue", [None, "far"])
async def test_a_parent_signals_its_child(client: Client, queue: str | None) -> None:
    told = await client.execute_workflow(Raising.run, queue, id="raising", task_queue="near")

    assert told == ["a", "b"]
