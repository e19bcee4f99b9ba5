"""The examples of activities: retries, completion from elsewhere, patches, and years that pass."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from examples.approval.app import Approval, Expense, answer, ask
from examples.patching import first, second, third
from examples.patching.steps import pack, ship, weigh
from examples.renewal.app import Renewal, Subscription, charge, remind
from examples.retries.app import Bank, Transfer, Transferring
from perdure.client import WorkflowHandle
from perdure.testing import WorkflowEnvironment
from perdure.worker import Worker
from perdure_schemas.events import ActivityScheduled

QUEUE = "examples"


async def test_ten_years_of_a_subscription_take_a_moment() -> None:
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        Worker(env.client, task_queue=QUEUE, workflows=[Renewal], activities=[charge, remind]),
    ):
        began_s = time.monotonic()
        receipts = await env.client.execute_workflow(
            Renewal.run, Subscription("ann", 10), id="ann", task_queue=QUEUE
        )

    assert [receipt.rpartition("-")[0] for receipt in receipts] == [
        f"ann-{year}" for year in range(1, 11)
    ]
    assert time.monotonic() - began_s < 20


async def transfer(env: WorkflowEnvironment, bank: Bank, target: str = "bob") -> Any:
    return await env.client.start_workflow(
        Transferring.run, Transfer("ann", target, 30), id="t-1", task_queue=QUEUE
    )


def bank_worker(env: WorkflowEnvironment, bank: Bank) -> Worker:
    return Worker(
        env.client,
        task_queue=QUEUE,
        workflows=[Transferring],
        activities=[bank.withdraw, bank.deposit, bank.put_back],
    )


async def test_what_fails_for_a_while_is_tried_again() -> None:
    bank = Bank()
    bank.failures_left = 3
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        bank_worker(env, bank),
    ):
        assert await (await transfer(env, bank)).result() == "transferred"

    assert bank.accounts == {"ann": 70, "bob": 30}


async def test_what_can_never_succeed_is_compensated_at_once() -> None:
    bank = Bank()
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        bank_worker(env, bank),
    ):
        handle = await transfer(env, bank, "nobody")
        assert await handle.result() == "put back: there is no account 'nobody'"

    assert bank.accounts == {"ann": 100, "bob": 0}


async def needs_a_person(env: WorkflowEnvironment, handle: WorkflowHandle[Any, Any]) -> Any:
    """The run, once it waits for a person; time leaps meanwhile."""
    while (found := await handle.describe()).block is None:
        await env.sleep(10)
    return found.block


async def test_a_compensation_that_fails_waits_for_a_person() -> None:
    bank = Bank()
    bank.takes_back = False
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        bank_worker(env, bank),
    ):
        handle = await transfer(env, bank, "nobody")
        block = await needs_a_person(env, handle)
        assert block.cause == "exhausted"

        bank.takes_back = True
        await env.client.pending_activities("t-1").retry(activity_type="put_back")
        assert (await handle.result()).startswith("put back")

    assert bank.accounts == {"ann": 100, "bob": 0}


@pytest.mark.parametrize("is_approved", [True, False])
async def test_a_person_approves_from_elsewhere(tmp_path: Path, *, is_approved: bool) -> None:
    async with (
        await WorkflowEnvironment.start_local() as env,
        Worker(env.client, task_queue=QUEUE, workflows=[Approval], activities=[ask]),
    ):
        expense = Expense("a desk", 300.0, str(tmp_path))
        handle = await env.client.start_workflow(Approval.run, expense, id="e-1", task_queue=QUEUE)
        question = tmp_path / "e-1.question"
        while not question.exists():
            await handle.describe()

        await answer(env.client, question.read_bytes(), is_approved=is_approved)

        assert await handle.result() == f"a desk: {'approved' if is_approved else 'refused'}"


STEPS = [pack, ship, weigh]


async def packed_by(env: WorkflowEnvironment, kind: type, order: str) -> WorkflowHandle[Any, Any]:
    """A run of one version, brought to its wait for the lorry."""
    async with Worker(env.client, task_queue=QUEUE, workflows=[kind], activities=STEPS):
        handle = await env.client.start_workflow("Packing", order, id=order, task_queue=QUEUE)
        while not (await handle.describe()).raw_description.pending_timers:
            pass
    return handle


async def steps_of(handle: WorkflowHandle[Any, Any]) -> list[str]:
    history = await handle.fetch_history()
    return [e.event.activity_type for e in history.events if isinstance(e.event, ActivityScheduled)]


async def test_runs_of_three_versions_go_on_beside_each_other() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env:
        old = await packed_by(env, first.Packing, "old")
        new = await packed_by(env, second.Packing, "new")
        async with Worker(
            env.client, task_queue=QUEUE, workflows=[second.Packing], activities=STEPS
        ):
            assert await old.result() == "track-old"
            assert await steps_of(old) == ["pack", "ship"]
        newest = await packed_by(env, third.Packing, "newest")
        async with Worker(
            env.client, task_queue=QUEUE, workflows=[third.Packing], activities=STEPS
        ):
            assert await new.result() == "track-new"
            assert await newest.result() == "track-newest"
            assert await steps_of(new) == ["weigh", "pack", "ship"]
            assert await steps_of(newest) == ["weigh", "pack", "ship"]
