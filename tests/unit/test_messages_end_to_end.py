"""Signals, queries and updates of clients, with real workers on the embedded log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from perdure import workflow
from perdure.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from perdure.common import QueryRejectCondition, RawValue
from perdure.exceptions import ApplicationError
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
