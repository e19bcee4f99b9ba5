"""Signals, queries and updates of clients, with real workers on the embedded log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from perdure import workflow
from perdure.api.sdk.v1 import WorkflowMetadata
from perdure.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from perdure.common import QueryRejectCondition, RawValue, WorkflowIDConflictPolicy
from perdure.exceptions import ApplicationError, WorkflowAlreadyStartedError
from perdure.worker import Worker

pytestmark = pytest.mark.embedded


@workflow.defn
class Account:
    """An account that lives until it is closed."""

    def __init__(self) -> None:
        self.balance = 0
        self.notes: list[str] = []
        self.is_closed = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.is_closed)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.balance

    @workflow.signal
    async def deposit(self, amount: int) -> None:
        self.balance += amount

    @workflow.signal(dynamic=True)
    def any_note(self, name: str, args: Sequence[RawValue]) -> None:
        values = [workflow.payload_converter().from_payload(raw.payload, str) for raw in args]
        self.notes.append(f"{name}: {values}")

    @workflow.signal
    def close(self) -> None:
        self.is_closed = True

    @workflow.query
    def get_balance(self) -> int:
        return self.balance

    @workflow.query
    def get_notes(self) -> list[str]:
        return self.notes

    @workflow.query
    def acting(self) -> str:
        asyncio.get_running_loop().create_task(asyncio.sleep(1))
        return "never"

    @workflow.update
    async def withdraw(self, amount: int) -> int:
        info = workflow.current_update_info()
        assert info is not None
        assert info.name == "withdraw"
        await asyncio.sleep(0.001)
        self.balance -= amount
        return self.balance

    @withdraw.validator
    def check_withdraw(self, amount: int) -> None:
        if amount > self.balance:
            raise ApplicationError(f"only {self.balance} there", type="Overdrawn")

    @workflow.update
    async def wait_closed(self) -> str:
        await workflow.wait_condition(lambda: self.is_closed)
        return "closed"

    @workflow.update
    def declined(self) -> None:
        raise ApplicationError("no", type="Declined")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path / 'data'}")
    worker = Worker(client, task_queue="q", workflows=[Account])
    async with asyncio.timeout(60), worker:
        yield client
    await client.close()


async def opened(client: Client, id: str = "acc") -> WorkflowHandle[Account, int]:
    return await client.start_workflow(Account.run, id=id, task_queue="q")


async def test_signals_are_handled_in_order_and_queries_see_them(client: Client) -> None:
    handle = await opened(client)

    await handle.signal(Account.deposit, 5)
    await handle.signal("deposit", 7)
    await handle.signal("remark", args=["a", "b"])

    assert await handle.query(Account.get_balance) == 12
    assert await handle.query("get_notes") == ["remark: ['a', 'b']"]
    await handle.signal(Account.close)
    assert await handle.result() == 12


async def test_a_closed_run_answers_queries_and_takes_no_signals(client: Client) -> None:
    handle = await opened(client)
    await handle.signal(Account.deposit, 5)
    await handle.signal(Account.close)
    await handle.result()

    assert await handle.query(Account.get_balance) == 5
    with pytest.raises(WorkflowQueryRejectedError) as rejected:
        await handle.query(Account.get_balance, reject_condition=QueryRejectCondition.NOT_OPEN)
    assert rejected.value.status is WorkflowExecutionStatus.COMPLETED
    with pytest.raises(RPCError, match="is completed already") as refused:
        await handle.signal(Account.deposit, 1)
    assert refused.value.status is RPCStatusCode.NOT_FOUND


async def test_a_signal_that_no_handler_can_read_is_refused(client: Client) -> None:
    handle = await opened(client)

    with pytest.raises(RPCError, match=r"signal 'deposit' \(tests/unit/.*amount") as refused:
        await handle.signal("deposit", "much")
    assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT
    with pytest.raises(RPCError, match="takes 1 argument"):
        await handle.signal("deposit")
    assert await handle.query(Account.get_balance) == 0


async def test_queries_that_act_or_are_unknown_fail_and_change_nothing(client: Client) -> None:
    handle = await opened(client)

    with pytest.raises(WorkflowQueryFailedError, match="a query handler must only look"):
        await handle.query(Account.acting)
    with pytest.raises(WorkflowQueryFailedError, match="known queries: acting, get_balance"):
        await handle.query("missing")
    trace = await handle.query("__stack_trace")
    assert "in Account.run" in trace
    metadata = await handle.query("__temporal_workflow_metadata")
    assert metadata["definition"]["type"] == "Account"
    typed = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert typed.definition.type == "Account"
    assert "get_balance" in [one.name for one in typed.definition.query_definitions]
    await handle.signal(Account.close)
    assert await handle.result() == 0


async def test_an_update_is_validated_accepted_and_completed(client: Client) -> None:
    handle = await opened(client)
    await handle.signal(Account.deposit, 10)

    assert await handle.execute_update(Account.withdraw, 4) == 6
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update(Account.withdraw, 40)
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "Overdrawn"
    with pytest.raises(WorkflowUpdateFailedError) as failed:
        await handle.execute_update(Account.declined)
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "Declined"
    with pytest.raises(WorkflowUpdateFailedError, match="known updates: declined, wait_closed"):
        await handle.execute_update("missing")
    history = await handle.fetch_history()
    kinds = [event.event_type for event in history.events]
    assert kinds.count("WorkflowUpdateAccepted") == 2
    assert kinds.count("WorkflowUpdateCompleted") == 2


async def test_an_update_is_waited_for_by_its_id(client: Client) -> None:
    handle = await opened(client)

    update = await handle.start_update(
        Account.wait_closed, wait_for_stage=WorkflowUpdateStage.ACCEPTED, id="u1"
    )
    again = await handle.start_update(
        Account.wait_closed, wait_for_stage=WorkflowUpdateStage.ACCEPTED, id="u1"
    )
    with pytest.raises(RPCError, match="was used for another update"):
        await handle.execute_update(Account.withdraw, 0, id="u1")
    waiting = asyncio.create_task(update.result())
    await handle.signal(Account.close)

    assert await waiting == "closed"
    assert await again.result() == "closed"
    assert await handle.get_update_handle_for(Account.wait_closed, "u1").result() == "closed"
    # Its outcome is there as long as the run is.
    await handle.result()
    assert await handle.execute_update(Account.wait_closed, id="u1") == "closed"


async def test_an_update_whose_run_ends_first_is_told(client: Client) -> None:
    handle = await opened(client)
    update = await handle.start_update(
        Account.wait_closed, wait_for_stage=WorkflowUpdateStage.ACCEPTED
    )
    waiting = asyncio.create_task(update.result())
    await handle.terminate()

    with pytest.raises(WorkflowUpdateFailedError) as failed:
        await waiting
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "AcceptedUpdateCompletedWorkflow"


async def test_a_signal_ends_a_start_delay(client: Client) -> None:
    handle = await client.start_workflow(
        Account.run, id="late", task_queue="q", start_delay=timedelta(hours=1)
    )
    with pytest.raises(RPCError, match="has not begun"):
        await handle.query(Account.get_balance)
    await handle.signal(Account.deposit, 3)

    assert await handle.query(Account.get_balance) == 3


async def test_a_start_brings_a_signal_to_a_new_run_and_to_one_that_is_open(
    client: Client,
) -> None:
    async def deposit(amount: int) -> WorkflowHandle[Account, int]:
        return await client.start_workflow(
            Account.run, id="a", task_queue="q", start_signal="deposit", start_signal_args=[amount]
        )

    first = await deposit(5)
    second = await deposit(6)

    assert first.result_run_id == second.result_run_id
    assert await first.query(Account.get_balance) == 11
    history = await first.fetch_history()
    kinds = [event.event_type for event in history.events]
    assert kinds == ["WorkflowStarted", "WorkflowSignaled"]


def starting(
    policy: WorkflowIDConflictPolicy = WorkflowIDConflictPolicy.USE_EXISTING,
) -> WithStartWorkflowOperation[Account, int]:
    return WithStartWorkflowOperation(
        Account.run, id="a", task_queue="q", id_conflict_policy=policy
    )


async def test_an_update_starts_its_workflow_once(client: Client) -> None:
    operation = starting()
    left = await client.execute_update_with_start_workflow(
        Account.withdraw, 0, start_workflow_operation=operation
    )
    handle = await operation.workflow_handle()
    await handle.signal(Account.deposit, 9)
    again = await client.execute_update_with_start_workflow(
        Account.withdraw, 4, start_workflow_operation=starting()
    )

    assert (left, again) == (0, 5)
    assert (await handle.describe()).run_id == handle.result_run_id
    with pytest.raises(RuntimeError, match="used once"):
        await client.execute_update_with_start_workflow(
            Account.withdraw, 4, start_workflow_operation=operation
        )
    with pytest.raises(WorkflowAlreadyStartedError):
        await client.execute_update_with_start_workflow(
            Account.withdraw,
            4,
            start_workflow_operation=starting(WorkflowIDConflictPolicy.FAIL),
        )


async def test_a_refused_update_leaves_the_workflow_it_started(client: Client) -> None:
    operation = starting()

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await client.execute_update_with_start_workflow(
            Account.withdraw, 1, start_workflow_operation=operation
        )

    assert isinstance(refused.value.cause, ApplicationError)
    handle = await operation.workflow_handle()
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING


async def test_an_update_with_start_may_be_waited_for_later(client: Client) -> None:
    operation = starting()
    update = await client.start_update_with_start_workflow(
        Account.wait_closed,
        start_workflow_operation=operation,
        wait_for_stage=WorkflowUpdateStage.ACCEPTED,
    )
    handle = await operation.workflow_handle()
    await handle.signal(Account.close)

    assert await update.result() == "closed"
