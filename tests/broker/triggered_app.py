"""Orders that wait for a remark, and the triggers that start and signal them."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta

from perdure import workflow
from perdure.triggers import Signal, Start, TriggerRecord, Triggers

PREFIX = os.environ.get("TRIGGERED_PREFIX", "none")
triggers = Triggers(f"{PREFIX}-triggers", task_queue="orders")


@workflow.defn
class Order:
    """Waits for a remark, and a moment longer for one too many."""

    def __init__(self) -> None:
        self.remarks: list[str] = []

    @workflow.run
    async def run(self, order: dict[str, int]) -> list[str]:
        """Give back what was remarked."""
        await workflow.wait_condition(lambda: bool(self.remarks))
        await asyncio.sleep(1)
        return self.remarks

    @workflow.signal
    def remark(self, text: str) -> None:
        """Take a remark."""
        self.remarks.append(text)


@triggers.on(f"{PREFIX}-orders")
def placed(record: TriggerRecord) -> Start:
    """An order is one workflow."""
    return Start("Order", [record.json(dict)], id=f"order-{record.json(dict)['order_id']}")


@triggers.on(f"{PREFIX}-remarks")
async def remarked(record: TriggerRecord) -> Signal:
    """A remark on an order, by its key; it may come before its order."""
    return Signal(
        f"order-{record.key_text.removeprefix('o-')}",
        "remark",
        [record.json(str)],
        buffer_for=timedelta(hours=1),
    )
