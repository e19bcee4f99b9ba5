"""Calls of the client that a type checker must take, and wrong ones that it must not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, assert_type

from perdure.client import Client, WorkflowHandle
from perdure.common import RetryPolicy
from tests.unit.orders_workflow import Order, OrdersWorkflow, PingWorkflow, Receipt, SumWorkflow

A_DAY = timedelta(days=1)


async def right_calls(client: Client) -> None:
    by_order = await client.start_workflow(
        OrdersWorkflow.run, Order("1", 1), id="o", task_queue="q", retry_policy=RetryPolicy()
    )
    assert_type(by_order, WorkflowHandle[OrdersWorkflow, Receipt])
    assert_type(await by_order.result(), Receipt)
    ping = await client.execute_workflow(PingWorkflow.run, id="p", task_queue="q")
    assert_type(ping, str)
    total = await client.execute_workflow(SumWorkflow.run, args=[1, 2], id="s", task_queue="q")
    assert_type(total, int)
    by_name = await client.start_workflow(
        "Orders", {"any": 1}, id="n", task_queue="q", result_type=dict
    )
    assert_type(by_name, WorkflowHandle[Any, Any])
    known = client.get_workflow_handle_for(OrdersWorkflow.run, "o")
    assert_type(await known.result(), Receipt)
    assert_type(client.get_workflow_handle("o"), WorkflowHandle[Any, Any])


async def wrong_calls(client: Client) -> None:
    start, execute, ping = client.start_workflow, client.execute_workflow, PingWorkflow.run
    # The argument is no Order.
    await start(OrdersWorkflow.run, 5, id="o", task_queue="q")  # type: ignore[misc]
    # There is no task queue.
    await start(PingWorkflow.run, id="o")  # type: ignore[call-overload]
    # The argument is missing.
    await start(OrdersWorkflow.run, id="o", task_queue="q")  # type: ignore[arg-type]
    # The workflow takes none.
    await start(PingWorkflow.run, "one", id="o", task_queue="q")  # type: ignore[arg-type]
    # A timeout is no number.
    await execute(ping, id="o", task_queue="q", run_timeout=60)  # type: ignore[call-overload]
    # There is no such option.
    await execute(ping, id="o", task_queue="q", run_time=A_DAY)  # type: ignore[call-overload]
