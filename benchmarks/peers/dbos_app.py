"""The same work on DBOS, a library: the process that asks is the one that runs it."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from benchmarks.peers.load import run_load


def _target(database: str) -> Any:
    from dbos import DBOS, SetWorkflowID

    DBOS(
        config={
            "name": "bench",
            "system_database_url": database,
            "log_level": "ERROR",
            "enable_otlp": False,
        }
    )

    @DBOS.step()
    async def charge_payment(order: dict[str, Any]) -> dict[str, Any]:
        return {"charged": order["order_id"]}

    @DBOS.step()
    async def deduct_inventory(order: dict[str, Any]) -> dict[str, Any]:
        return {"deducted": order["quantity"]}

    @DBOS.step()
    async def send_notification(order: dict[str, Any]) -> dict[str, Any]:
        return {"notified": order["user_id"]}

    @DBOS.step()
    async def nap(number: int) -> int:
        return number

    @DBOS.workflow()
    async def order_workflow(order: dict[str, Any]) -> dict[str, Any]:
        for step in (charge_payment, deduct_inventory, send_notification):
            await step(order)
        return {"order_id": order["order_id"], "status": "done"}

    @DBOS.workflow()
    async def fan_out_workflow(count: int) -> int:
        return sum(await asyncio.gather(*(nap(number) for number in range(count))))

    @DBOS.workflow()
    async def sequence_workflow(count: int) -> int:
        for number in range(count):
            await nap(number)
        return count

    class Library:
        async def order(self, order_id: str, order: dict[str, Any]) -> None:
            with SetWorkflowID(order_id):
                await order_workflow(order)

        async def fan_out(self, run_id: str, count: int) -> None:
            with SetWorkflowID(run_id):
                await fan_out_workflow(count)

        async def sequence(self, run_id: str, count: int) -> None:
            with SetWorkflowID(run_id):
                await sequence_workflow(count)

    return Library()


async def _run(database: str, plan: dict[str, Any]) -> None:
    from dbos import DBOS

    target = _target(database)
    DBOS.launch()
    await run_load(target, plan)
    DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], json.loads(sys.argv[2])))
