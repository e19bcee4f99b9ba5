"""The workflows of orders_app and one more: what is started when a type was missing."""

from __future__ import annotations

from perdure import workflow
from tests.broker.orders_app import (
    Boast,
    Chain,
    Nap,
    OrderWorkflow,
    Stranger,
    big_result,
    forge,
)

__all__ = ["Boast", "Chain", "Late", "Nap", "OrderWorkflow", "Stranger", "big_result", "forge"]


@workflow.defn
class Late:
    """A type that orders_app does not have."""

    @workflow.run
    async def run(self, name: str) -> str:
        return f"late, {name}"
