"""The same work on Restate: its worker, an ASGI app in an environment of its own."""

from __future__ import annotations

from typing import Any

import restate
from restate import WorkflowContext

orders = restate.Workflow("OrderWorkflow")
fans = restate.Workflow("FanOutWorkflow")
rows = restate.Workflow("SequenceWorkflow")


async def charge_payment(order: dict[str, Any]) -> dict[str, Any]:
    """An instant activity."""
    return {"charged": order["order_id"]}


async def deduct_inventory(order: dict[str, Any]) -> dict[str, Any]:
    """An instant activity."""
    return {"deducted": order["quantity"]}


async def send_notification(order: dict[str, Any]) -> dict[str, Any]:
    """An instant activity."""
    return {"notified": order["user_id"]}


async def nap(number: int) -> int:
    """An instant activity."""
    return number


@orders.main("run")
async def run_order(ctx: WorkflowContext, order: dict[str, Any]) -> dict[str, Any]:
    """Charge, deduct, notify."""
    await ctx.run_typed("charge_payment", charge_payment, order=order)
    await ctx.run_typed("deduct_inventory", deduct_inventory, order=order)
    await ctx.run_typed("send_notification", send_notification, order=order)
    return {"order_id": order["order_id"], "status": "done"}


@fans.main("run")
async def run_fan(ctx: WorkflowContext, count: int) -> int:
    """Start them all, then wait for all."""
    naps = [ctx.run_typed(f"nap {number}", nap, number=number) for number in range(count)]
    return sum([await one for one in await restate.gather(*naps)])


@rows.main("run")
async def run_row(ctx: WorkflowContext, count: int) -> int:
    """One after another."""
    for number in range(count):
        await ctx.run_typed(f"nap {number}", nap, number=number)
    return count


app = restate.app([orders, fans, rows])
