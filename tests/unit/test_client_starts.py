"""What a start writes, and how its answers reach the caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from perdure.client import Client, RPCError, RPCStatusCode, WorkflowFailureError
from perdure.common import RetryPolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from perdure.exceptions import ActivityError, ApplicationError, WorkflowAlreadyStartedError
from perdure_schemas.commands import AwaitResult, StartWorkflow
from perdure_schemas.payloads import Failure, FailureCause, Payload
from perdure_schemas.replies import Accepted, Refused, RunClosed
from tests.unit.orders_workflow import Order, OrdersWorkflow, PingWorkflow, Receipt, SumWorkflow
from tests.unit.scripted_host import Script, ScriptedHost

TAKEN = Accepted(workflow_id="o-1", run_id="run-1", first_run_id="run-0", started=True)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}", identity="tester")
    yield client
    await client.close()


@pytest.fixture
def make_host(client: Client):
    hosts: list[ScriptedHost] = []

    def make(script: Script) -> ScriptedHost:
        hosts.append(ScriptedHost(client.log, script))
        return hosts[-1]

    yield make
    for host in hosts:
        host.stop()


def closed(**fields: Any) -> RunClosed:
    return RunClosed(workflow_id="o-1", run_id="run-1", **{"status": "completed", **fields})


async def test_a_start_says_all_that_its_caller_said(client: Client, make_host) -> None:
    host = make_host(lambda _: TAKEN)

    handle = await client.start_workflow(
        OrdersWorkflow.run,
        Order("1", 5),
        id="o-1",
        task_queue="orders",
        execution_timeout=timedelta(minutes=1),
        run_timeout=timedelta(seconds=2.5),
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        retry_policy=RetryPolicy(maximum_attempts=3),
        memo={"who": "me"},
        start_delay=timedelta(milliseconds=7),
        static_summary="an order",
    )

    (command,) = host.commands
    assert isinstance(command, StartWorkflow)
    assert (command.workflow_id, command.workflow_type) == ("o-1", "Orders")
    assert [payload.data for payload in command.input] == [b'{"order_id":"1","amount":5}']
    assert command.execution_timeout_ms == 60_000
    assert command.run_timeout_ms == 2_500
    assert command.start_delay_ms == 7
    assert command.id_reuse_policy == "reject_duplicate"
    assert command.id_conflict_policy == "use_existing"
    assert command.retry_policy is not None
    assert command.retry_policy.maximum_attempts == 3
    assert command.memo["who"].data == b'"me"'
    assert command.static_summary is not None
    assert command.identity == "tester"
    assert command.reply is not None
    assert command.request_id == command.reply.correlation_id
    assert (handle.id, handle.run_id, handle.result_run_id) == ("o-1", None, "run-1")
    assert handle.first_execution_run_id == "run-0"


async def test_the_defaults_of_a_start_are_temporals(client: Client, make_host) -> None:
    host = make_host(lambda _: TAKEN)

    await client.start_workflow("Orders", id="o-1", task_queue="orders")

    (command,) = host.commands
    assert command == StartWorkflow(
        workflow_id="o-1",
        workflow_type="Orders",
        request_id=command.request_id,
        first_sent_ms=command.first_sent_ms,
        reply=command.reply,
        identity="tester",
        id_reuse_policy="allow_duplicate",
        id_conflict_policy="fail",
    )


async def test_an_execution_is_one_ask_answered_twice(client: Client, make_host) -> None:
    result = Payload(data=b'{"order_id":"1","paid":5}')
    host = make_host(lambda _: [TAKEN, closed(result=result)])

    receipt = await client.execute_workflow(
        OrdersWorkflow.run, Order("1", 5), id="o-1", task_queue="orders"
    )

    assert receipt == Receipt("1", 5)
    (command,) = host.commands
    assert command.reply.wait == "completed"


async def test_the_header_names_the_asker_even_for_who_cannot_read_it(
    client: Client, make_host
) -> None:
    host = make_host(lambda _: TAKEN)

    await client.start_workflow("Orders", id="o-1", task_queue="orders")

    reply = host.commands[0].reply
    (name, value), *_ = host.headers[0]
    assert name == "perdure-reply"
    assert value.startswith(f"{reply.partition}|{reply.correlation_id}|".encode())


async def test_a_result_that_comes_late_is_awaited_without_end(client: Client, make_host) -> None:
    host = make_host(lambda command: TAKEN if isinstance(command, StartWorkflow) else None)
    handle = await client.start_workflow(PingWorkflow.run, id="o-1", task_queue="orders")

    waiting = asyncio.create_task(handle.result())
    await host.seen(2)
    ask = host.commands[1]
    host.answer(ask, closed(result=Payload(data=b'"pong"')))

    assert await waiting == "pong"
    assert isinstance(ask, AwaitResult)
    assert (ask.workflow_id, ask.run_id, ask.reply.deadline_ms) == ("o-1", "run-1", 0)


async def test_several_arguments_are_written_in_order(client: Client, make_host) -> None:
    host = make_host(lambda _: [TAKEN, closed(result=Payload(data=b"5"))])

    total = await client.execute_workflow(
        SumWorkflow.run, args=[2, 3], id="o-1", task_queue="orders"
    )

    assert total == 5
    assert [payload.data for payload in host.commands[0].input] == [b"2", b"3"]


async def test_a_refused_id_is_an_already_started_error(client: Client, make_host) -> None:
    make_host(lambda _: Refused(code="already_started", message="is running", run_id="run-9"))

    with pytest.raises(WorkflowAlreadyStartedError) as caught:
        await client.execute_workflow(PingWorkflow.run, id="o-1", task_queue="orders")

    assert caught.value.workflow_id == "o-1"
    assert caught.value.workflow_type == "PingWorkflow"
    assert caught.value.run_id == "run-9"


async def test_a_command_that_hosts_cannot_read_says_which_side_to_upgrade(
    client: Client, make_host
) -> None:
    make_host(lambda _: Refused(code="unreadable", message="unknown schema fingerprint"))

    with pytest.raises(RPCError, match="upgrade the workers") as caught:
        await client.start_workflow("Orders", id="o-1", task_queue="orders")

    assert caught.value.status == RPCStatusCode.FAILED_PRECONDITION


async def test_a_failure_says_what_really_happened_first(client: Client, make_host) -> None:
    failure = Failure(
        chain=[
            FailureCause(kind="activity", message="Activity task failed", activity_type="charge"),
            FailureCause(message="card declined", type="CardError"),
        ]
    )
    make_host(lambda _: [TAKEN, closed(status="failed", failure=failure)])

    with pytest.raises(WorkflowFailureError, match="CardError: card declined") as caught:
        await client.execute_workflow(PingWorkflow.run, id="o-1", task_queue="orders")

    assert isinstance(caught.value.cause, ActivityError)
    assert isinstance(caught.value.cause.cause, ApplicationError)
    assert caught.value.cause.cause.type == "CardError"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("canceled", "CancelledError"),
        ("terminated", "TerminatedError"),
        ("timed_out", "TimeoutError"),
    ],
)
async def test_an_end_without_a_failure_still_is_one(
    client: Client, make_host, status: str, kind: str
) -> None:
    make_host(lambda _: [TAKEN, closed(status=status)])

    with pytest.raises(WorkflowFailureError) as caught:
        await client.execute_workflow(PingWorkflow.run, id="o-1", task_queue="orders")

    assert type(caught.value.cause).__name__ == kind


async def test_an_oversize_input_is_refused_before_anything_is_written(
    client: Client, make_host
) -> None:
    host = make_host(lambda command: Accepted(workflow_id=command.workflow_id))

    with pytest.raises(ValueError, match=r"start of workflow 'o-1': .* at most"):
        await client.start_workflow("Orders", "x" * 2_000_000, id="o-1", task_queue="orders")
    await client.start_workflow("Orders", id="o-2", task_queue="orders")

    assert [command.workflow_id for command in host.commands] == ["o-2"]


@pytest.mark.parametrize("workflow_id", ["", "x" * 1001, "a\nb"])
async def test_an_illegal_id_is_refused(client: Client, make_host, workflow_id: str) -> None:
    make_host(lambda _: TAKEN)

    with pytest.raises(ValueError, match="workflow id"):
        await client.start_workflow("Orders", id=workflow_id, task_queue="orders")


async def make_order() -> Order:
    return Order("1", 1)


async def test_what_is_no_workflow_is_said_to_be_none(client: Client) -> None:
    with pytest.raises(TypeError, match=r"is no workflow: give the @workflow\.run method"):
        await client.start_workflow(cast("str", make_order), id="o-1", task_queue="orders")


async def test_an_option_that_there_is_not_is_named(client: Client) -> None:
    options = cast("Any", {"run_timout": timedelta(seconds=1)})

    with pytest.raises(TypeError, match="a start has no option 'run_timout'"):
        await client.start_workflow("Orders", id="o-1", task_queue="orders", **options)


async def test_one_argument_or_several_not_both(client: Client) -> None:
    with pytest.raises(ValueError, match="not both"):
        await client.start_workflow("Orders", 1, args=[2], id="o-1", task_queue="orders")


async def test_many_starts_share_the_wake_ups_of_the_loop(client: Client, make_host) -> None:
    def script(command: StartWorkflow) -> list[Any]:
        result = Payload(data=f'"{command.workflow_id}"'.encode())
        return [
            Accepted(workflow_id=command.workflow_id, run_id="r"),
            RunClosed(
                workflow_id=command.workflow_id, run_id="r", status="completed", result=result
            ),
        ]

    make_host(script)

    ids = [f"o-{number}" for number in range(300)]
    results = await asyncio.gather(
        *(client.execute_workflow("Orders", id=id, task_queue="orders") for id in ids)
    )

    assert results == ids
