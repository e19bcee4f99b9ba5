"""An update that starts its workflow: handled before the run method, or refused unwritten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from perdure import workflow
from perdure.client import (
    Client,
    RPCError,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from perdure.common import WorkflowIDConflictPolicy
from perdure.exceptions import ApplicationError
from perdure.worker import Replayer, Worker

pytestmark = pytest.mark.embedded


@workflow.defn
class Brief:
    """A run that ends at its first step, so an update has to come before it."""

    @workflow.init
    def __init__(self, word: str) -> None:
        self.done = [f"init {word}"]

    @workflow.run
    async def run(self, _word: str) -> list[str]:
        self.done.append("run")
        return self.done

    @workflow.signal
    async def note(self, word: str) -> None:
        self.done.append(f"signal {word}")

    @workflow.update
    def add(self, word: str) -> list[str]:
        self.done.append(f"update {word}")
        return list(self.done)

    @add.validator
    def check(self, word: str) -> None:
        if word != "good":
            raise ApplicationError(f"{word} after {self.done}", type="Unwelcome")


@workflow.defn
class Failing:
    """A run whose instance cannot be made."""

    @workflow.init
    def __init__(self, word: str) -> None:
        raise ApplicationError("never made")

    @workflow.run
    async def run(self, _word: str) -> None:
        """Never reached."""

    @workflow.update
    def add(self, word: str) -> None:
        """Never reached."""


@workflow.defn
class Broken:
    """A run that its code blocks before it can be asked."""

    @workflow.init
    def __init__(self, word: str) -> None:
        raise ValueError("a bug")

    @workflow.run
    async def run(self, _word: str) -> None:
        """Never reached."""

    @workflow.update
    def add(self, word: str) -> None:
        """Never reached."""


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path / 'data'}")
    worker = Worker(client, task_queue="q", workflows=[Brief, Failing, Broken])
    async with asyncio.timeout(60), worker:
        yield client
    await client.close()


def start(
    workflow_type: str = "Brief", delay: timedelta | None = None
) -> WithStartWorkflowOperation[object, object]:
    return WithStartWorkflowOperation(
        workflow_type,
        "a",
        id="w",
        task_queue="q",
        start_delay=delay,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
    )


async def kinds_of(handle: WorkflowHandle[object, object]) -> list[str]:
    return [event.event_type for event in (await handle.fetch_history()).events]


async def test_its_handler_goes_before_the_run_method(client: Client) -> None:
    operation = start()

    seen = await client.execute_update_with_start_workflow(
        "add", "good", start_workflow_operation=operation
    )

    handle = await operation.workflow_handle()
    assert seen == ["init a", "update good"]
    assert await handle.result() == ["init a", "update good", "run"]
    assert await kinds_of(handle) == [
        "WorkflowStarted",
        "WorkflowUpdateAccepted",
        "WorkflowUpdateCompleted",
        "WorkflowCompleted",
    ]
    replayed = await Replayer(workflows=[Brief]).replay_workflow(await handle.fetch_history())
    assert replayed.replay_failure is None


async def test_signals_that_waited_for_the_start_come_before_the_update(client: Client) -> None:
    early = client.get_workflow_handle("w", task_queue="q")
    await early.signal("note", "first", buffer_for=timedelta(minutes=5))
    operation = start()

    seen = await client.execute_update_with_start_workflow(
        "add", "good", start_workflow_operation=operation
    )

    assert seen == ["init a", "signal first", "update good"]
    assert await (await operation.workflow_handle()).result() == [*seen, "run"]


async def test_a_refused_one_leaves_the_run_as_if_it_had_come_alone(client: Client) -> None:
    operation = start()

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await client.execute_update_with_start_workflow(
            "add", "bad", start_workflow_operation=operation
        )

    assert "bad after ['init a']" in str(refused.value.cause)
    handle = await operation.workflow_handle()
    assert await handle.result() == ["init a", "run"]
    assert await kinds_of(handle) == ["WorkflowStarted", "WorkflowCompleted"]


@pytest.mark.parametrize(
    ("workflow_type", "delay", "said"),
    [
        ("Failing", None, "is failed"),
        ("Broken", None, "is blocked.*a bug"),
        ("Unknown", None, "is blocked.*Unknown"),
        ("Brief", timedelta(hours=1), "start delay"),
    ],
)
async def test_where_the_code_cannot_be_asked_the_run_begins_and_the_update_is_refused(
    client: Client, workflow_type: str, delay: timedelta | None, said: str
) -> None:
    operation = start(workflow_type, delay)

    with pytest.raises(RPCError, match=said):
        await client.execute_update_with_start_workflow(
            "add", "good", start_workflow_operation=operation
        )

    assert (await kinds_of(await operation.workflow_handle()))[0] == "WorkflowStarted"
