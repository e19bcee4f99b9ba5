"""The order saga: charge, deduct, notify; and a refund when the second step fails."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from datetime import timedelta

from examples.orders.clients import InventoryClient, MailClient, PaymentClient
from perdure import activity, workflow
from perdure.client import Client
from perdure.common import RetryPolicy
from perdure.exceptions import ActivityError, ApplicationError

TASK_QUEUE = "orders"
A_MINUTE = timedelta(minutes=1)
RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=A_MINUTE,
    maximum_attempts=5,
)


@dataclass
class Order:
    order_id: str
    user_id: str
    product_id: str
    quantity: int
    amount_cents: int
    bank: str
    email: str | None = None


class OrderActivities:
    """What an order needs of the world: an object that holds its clients."""

    def __init__(
        self, payments: PaymentClient, inventory: InventoryClient, mail: MailClient
    ) -> None:
        self.payments = payments
        self.inventory = inventory
        self.mail = mail

    @activity.defn
    async def charge_payment(self, order: Order) -> str:
        info = activity.info()
        return await self.payments.charge(
            order.order_id, order.amount_cents, key=info.idempotency_key
        )

    @activity.defn
    async def deduct_inventory(self, order: Order) -> str:
        info = activity.info()
        return await self.inventory.deduct(
            order.order_id, order.product_id, order.quantity, key=info.idempotency_key
        )

    @activity.defn
    async def refund_payment(self, order: Order, charge_id: str) -> str:
        info = activity.info()
        return await self.payments.refund(
            order.order_id,
            charge_id,
            order.bank,
            key=info.idempotency_key,
            attempt=info.attempt,
        )

    @activity.defn
    async def send_notification(self, order: Order) -> str:
        info = activity.info()
        return await self.mail.send(
            order.order_id, order.email, "Your order is on its way.", key=info.idempotency_key
        )


@workflow.defn
class OrderWorkflow:
    @workflow.run
    async def run(self, order: Order) -> str:
        charge_id = await workflow.execute_activity_method(
            OrderActivities.charge_payment,
            order,
            start_to_close_timeout=A_MINUTE,
            retry_policy=RETRY,
        )
        try:
            await workflow.execute_activity_method(
                OrderActivities.deduct_inventory,
                order,
                start_to_close_timeout=A_MINUTE,
                retry_policy=RETRY,
            )
        except ActivityError as error:
            await self.refund(order, charge_id)
            raise ApplicationError(
                f"order {order.order_id} was refunded: {error.cause}", type="OrderRefunded"
            ) from error
        try:
            await workflow.execute_activity_method(
                OrderActivities.send_notification,
                order,
                start_to_close_timeout=A_MINUTE,
                retry_policy=RETRY,
            )
        except ActivityError:
            return "shipped, not notified"
        return "shipped"

    async def refund(self, order: Order, charge_id: str) -> None:
        try:
            await workflow.execute_activity_method(
                OrderActivities.refund_payment,
                args=[order, charge_id],
                start_to_close_timeout=A_MINUTE,
                retry_policy=RETRY,
                # The money must go back: out of attempts, the run waits for a person, who has it
                # tried again (`perdure activity retry`) or gives it up (`perdure activity fail`).
                on_exhausted="pause",
            )
        except ActivityError as error:
            raise ApplicationError(
                f"order {order.order_id} was given up: its charge {charge_id} was not refunded:"
                f" {error.cause}",
                type="NotRefunded",
            ) from error


async def dev(client: Client) -> None:
    """What `perdure dev examples.orders.app` shows: an order a second, of every kind there is."""
    for number in itertools.count(int(time.time())):
        kind = number % 12
        order = Order(
            order_id=f"order-{number}",
            user_id=("ada", "grace", "edsger", "barbara")[number % 4],
            product_id="sold-out-lamp" if kind in (3, 7, 10) else "lamp",
            quantity=1 + number % 3,
            amount_cents=1200 * (1 + number % 3),
            bank={3: "slow-bank", 10: "closed-bank"}.get(kind, "bank"),
            email=None if kind == 5 else "someone@example.org",
        )
        await client.start_workflow(
            OrderWorkflow.run, order, id=order.order_id, task_queue=TASK_QUEUE
        )
        await asyncio.sleep(1)


def activities() -> list[OrderActivities]:
    """What `perdure worker examples.orders.app` runs."""
    return [OrderActivities(PaymentClient(), InventoryClient(), MailClient())]
