"""A saga that forgets the idempotency key, its fakes and what must hold: for `perdure simulate`."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta

from perdure import activity, workflow
from perdure.common import RetryPolicy
from perdure.exceptions import ActivityError, ApplicationError
from perdure.testing import Journal, Outcome, effect, invariant

A_MINUTE = timedelta(minutes=1)
RETRY = RetryPolicy(maximum_attempts=10)


@dataclass
class Order:
    order_id: str
    cents: int = 100


@activity.defn
async def charge(order: Order) -> str:
    key = str(uuid.uuid4())
    effect("charge", order=order.order_id, key=key)
    return f"charge of {order.order_id}"


@activity.defn
async def ship(order: Order) -> None:
    effect("parcel", order=order.order_id)


@activity.defn
async def refund(order: Order) -> None:
    effect("refund", order=order.order_id)


@workflow.defn
class OrderWorkflow:
    @workflow.run
    async def run(self, order: Order) -> str:
        await workflow.execute_activity(
            charge, order, start_to_close_timeout=A_MINUTE, retry_policy=RETRY
        )
        try:
            await workflow.execute_activity(
                ship, order, start_to_close_timeout=A_MINUTE, retry_policy=RETRY
            )
        except ActivityError as error:
            await workflow.execute_activity(refund, order, start_to_close_timeout=A_MINUTE)
            raise ApplicationError("refunded", type="Refunded") from error
        return "shipped"


@invariant
def every_charge_has_one_key(journal: Journal) -> None:
    keys = {one["key"] for one in journal.effects("charge")}
    assert len(keys) <= 1, f"charged under {len(keys)} keys"


@invariant
def an_order_that_failed_after_its_charge_is_refunded(outcome: Outcome, journal: Journal) -> None:
    if outcome.failed and journal.effects("charge"):
        assert journal.effects("refund"), "its money is gone"
