"""Time that a test skips: how far, whether it leaps by itself, and where it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from perdure import workflow
from perdure.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowUpdateStage,
)
from perdure.common import WorkflowIDConflictPolicy
from perdure.testing import (
    FastForwardConfig,
    TimeSkipper,
    TimeSkippingConfig,
    WorkflowEnvironment,
)
from perdure.worker import Worker

pytestmark = pytest.mark.embedded
A_DAY = timedelta(days=1)


@workflow.defn
class Sleeps:
    @workflow.run
    async def run(self, days: int) -> int:
        await workflow.sleep(timedelta(days=days))
        return days


async def test_time_is_skipped_as_far_as_told() -> None:
    off = TimeSkippingConfig(enabled=False)
    async with (
        await WorkflowEnvironment.start_time_skipping_v2(ts_config=off) as env,
        Worker(env.client, task_queue="q", workflows=[Sleeps]),
    ):
        began = await env.get_current_time()
        handle = await env.client.start_workflow(Sleeps.run, 3, id="w", task_queue="q")

        assert await env.fast_forward(handle, A_DAY)
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
        info = await env.get_time_skipping_info(handle)
        assert info is not None
        assert not info.config.enabled
        assert A_DAY <= info.current_time - began < 2 * A_DAY
        assert not await env.fast_forward(handle, (2 * A_DAY).total_seconds())
        assert await handle.result() == 3


@pytest.mark.parametrize("enabled", [False, True])
async def test_time_is_skipped_to_a_workflows_end(enabled: bool) -> None:
    config = TimeSkippingConfig(enabled=enabled)
    async with (
        await WorkflowEnvironment.start_time_skipping_v2(ts_config=config) as env,
        Worker(env.client, task_queue="q", workflows=[Sleeps]),
    ):
        handle = await env.client.start_workflow(Sleeps.run, 5, id="w", task_queue="q")

        assert not await env.fast_forward(handle)
        assert await handle.result() == 5
        assert env.supports_time_skipping_v1
        assert env.supports_time_skipping_v2


async def test_a_skipper_is_of_a_client_and_can_be_told_otherwise() -> None:
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        Worker(env.client, task_queue="q", workflows=[Sleeps]),
    ):
        skipper = TimeSkipper(env.client)
        assert skipper.config.enabled
        skipper.config = TimeSkippingConfig(enabled=False)
        skipper.config = TimeSkippingConfig()
        with skipper.with_time_skipping_disabled(), env.with_time_skipping_disabled():
            handle = await skipper.client.start_workflow(Sleeps.run, 1, id="w", task_queue="q")
        assert await env.client.get_workflow_handle("w", result_type=int).result() == 1
        assert handle.id == "w"


async def test_another_client_of_the_environment_lets_time_leap_too() -> None:
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        Worker(env.client, task_queue="q", workflows=[Sleeps]),
    ):
        other = await env.connect_client(interceptors=[])
        assert other is not env.client

        assert await other.execute_workflow(Sleeps.run, 9, id="w", task_queue="q") == 9


async def test_what_closed_is_there_however_far_time_has_leapt() -> None:
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        Worker(env.client, task_queue="q", workflows=[Waits]),
    ):
        first = await env.client.start_workflow(Waits.run, 1, id="first", task_queue="q")
        await env.sleep(timedelta(days=2))
        for number in range(4):
            await env.sleep(timedelta(days=60))
            other = await env.client.start_workflow(
                Waits.run, 1, id=f"other-{number}", task_queue="q"
            )
            assert await other.result() == 0
        assert await first.result() == 0


async def test_time_elsewhere_cannot_be_skipped(tmp_path: Path) -> None:
    client = await Client.connect(f"file:{tmp_path}/log")
    env = WorkflowEnvironment.from_client(client)
    handle = client.get_workflow_handle("w", task_queue="q")

    with pytest.raises(RuntimeError, match="start_time_skipping"):
        await env.fast_forward(handle, A_DAY)
    with pytest.raises(RuntimeError, match="start_time_skipping"):
        TimeSkipper(client)
    with env.with_time_skipping_disabled():
        assert not env.supports_time_skipping_v2
    await client.close()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be set"):
        TimeSkippingConfig(enabled=False, fast_forward_config=FastForwardConfig("f", A_DAY))


@workflow.defn
class Waits:
    """Answers updates and queries after days, and itself sleeps longer."""

    def __init__(self) -> None:
        self.days = 0

    @workflow.run
    async def run(self, days: int) -> int:
        await workflow.sleep(timedelta(days=days))
        return self.days

    @workflow.update
    async def after(self, days: int) -> int:
        await workflow.sleep(timedelta(days=days))
        self.days += days
        return self.days

    @workflow.query
    def so_far(self) -> int:
        return self.days


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        Worker(env.client, task_queue="q", workflows=[Waits]),
    ):
        yield env.client


async def test_time_is_skipped_while_an_update_is_awaited(client: Client) -> None:
    handle = await client.start_workflow(Waits.run, 30, id="w", task_queue="q")
    limit = timedelta(seconds=20)
    assert await handle.execute_update(Waits.after, 1) == 1
    assert await handle.execute_update(Waits.after, 2, rpc_timeout=limit) == 3
    stage = WorkflowUpdateStage.ACCEPTED
    update = await handle.start_update(Waits.after, 3, wait_for_stage=stage)
    assert await handle.query(Waits.so_far) == 3
    assert await update.result(rpc_timeout=limit) == 6
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    assert await handle.result() == 6


async def test_time_is_skipped_while_a_query_waits_for_the_first_step(client: Client) -> None:
    delay = timedelta(seconds=9)
    handle = await client.start_workflow(Waits.run, 30, id="w", task_queue="q", start_delay=delay)
    async with asyncio.timeout(8):
        assert await handle.query(Waits.so_far) == 0
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING


async def test_time_is_skipped_while_an_update_with_its_start_is_awaited(client: Client) -> None:
    start = WithStartWorkflowOperation(
        Waits.run,
        30,
        id="w",
        task_queue="q",
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    got = await client.execute_update_with_start_workflow(
        Waits.after, 4, start_workflow_operation=start
    )
    assert got == 4


async def test_time_stands_still_again_after_an_update_nobody_waits_for(client: Client) -> None:
    handle = await client.start_workflow(Waits.run, 30, id="w", task_queue="q")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await handle.execute_update(Waits.after, 1)
    await handle.execute_update(Waits.after, 2)
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING


async def test_time_leaps_no_further_than_what_is_awaited(client: Client) -> None:
    """Not either between a host's answer and its reader."""
    handle = await client.start_workflow(Waits.run, 300, id="w", task_queue="q")
    other = await client.start_workflow(Waits.run, 1, id="other", task_queue="q")
    for days in range(1, 100):
        await handle.execute_update(Waits.after, 1)
        assert await handle.query(Waits.so_far) == days
    assert await other.result() == 0
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
