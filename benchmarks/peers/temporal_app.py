"""The same work on a Temporal server that already runs: a worker, and the load by its client."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.peers.load import run_load

QUEUE = "perdure-bench"
MINUTE = timedelta(minutes=1)


@activity.defn
async def charge_payment(order: dict[str, Any]) -> dict[str, Any]:
    """An instant activity."""
    return {"charged": order["order_id"]}


@activity.defn
async def deduct_inventory(order: dict[str, Any]) -> dict[str, Any]:
    """An instant activity."""
    return {"deducted": order["quantity"]}


@activity.defn
async def send_notification(order: dict[str, Any]) -> dict[str, Any]:
    """An instant activity."""
    return {"notified": order["user_id"]}


@activity.defn
async def nap(number: int) -> int:
    """An instant activity."""
    return number


@workflow.defn
class OrderWorkflow:
    """Three instant activities in sequence."""

    @workflow.run
    async def run(self, order: dict[str, Any]) -> dict[str, Any]:
        """Charge, deduct, notify."""
        for step in (charge_payment, deduct_inventory, send_notification):
            await workflow.execute_activity(step, order, start_to_close_timeout=MINUTE)
        return {"order_id": order["order_id"], "status": "done"}


@workflow.defn
class FanOutWorkflow:
    """Many activities at once."""

    @workflow.run
    async def run(self, count: int) -> int:
        """Start them all, then wait for all."""
        run = workflow.execute_activity
        naps = [run(nap, number, start_to_close_timeout=MINUTE) for number in range(count)]
        return sum(await asyncio.gather(*naps))


@workflow.defn
class SequenceWorkflow:
    """Many activities one after another."""

    @workflow.run
    async def run(self, count: int) -> int:
        """One after another."""
        for number in range(count):
            await workflow.execute_activity(nap, number, start_to_close_timeout=MINUTE)
        return count


class _Temporal:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def order(self, order_id: str, order: dict[str, Any]) -> None:
        run = self._client.execute_workflow
        await run(OrderWorkflow.run, order, id=order_id, task_queue=QUEUE)

    async def fan_out(self, run_id: str, count: int) -> None:
        run = self._client.execute_workflow
        await run(FanOutWorkflow.run, count, id=run_id, task_queue=QUEUE)

    async def sequence(self, run_id: str, count: int) -> None:
        run = self._client.execute_workflow
        await run(SequenceWorkflow.run, count, id=run_id, task_queue=QUEUE)


async def _serve(address: str) -> None:
    client = await Client.connect(address)
    await Worker(
        client,
        task_queue=QUEUE,
        workflows=[OrderWorkflow, FanOutWorkflow, SequenceWorkflow],
        activities=[charge_payment, deduct_inventory, send_notification, nap],
        max_concurrent_activities=500,
        workflow_runner=UnsandboxedWorkflowRunner(),
    ).run()


async def _load(address: str, plan: dict[str, Any]) -> None:
    await run_load(_Temporal(await Client.connect(address)), plan)


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        asyncio.run(_serve(sys.argv[2]))
    else:
        asyncio.run(_load(sys.argv[2], json.loads(sys.argv[3])))
