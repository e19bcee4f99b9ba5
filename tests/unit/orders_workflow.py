"""A workflow class for tests of the client, with every shape of run method's types."""

from __future__ import annotations

from dataclasses import dataclass

from perdure import workflow


@dataclass
class Order:
    order_id: str
    amount: int


@dataclass
class Receipt:
    order_id: str
    paid: int


@workflow.defn(name="Orders")
class OrdersWorkflow:
    @workflow.run
    async def run(self, order: Order) -> Receipt:
        return Receipt(order.order_id, order.amount)


@workflow.defn
class PingWorkflow:
    @workflow.run
    async def run(self) -> str:
        return "pong"


@workflow.defn
class SumWorkflow:
    @workflow.run
    async def run(self, left: int, right: int) -> int:
        return left + right
