"""A subscription is renewed every year until it is cancelled: a workflow that sleeps for years.

Run it with `perdure worker examples.renewal.app --task-queue renewals`. How it is tested without
waiting for a year: tests/examples/test_renewal.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from perdure import activity, workflow
from perdure.common import RetryPolicy

YEAR = timedelta(days=365)
REMINDER = timedelta(days=30)


@dataclass
class Subscription:
    """What was subscribed to, and for how many years at most."""

    customer: str
    years: int


@activity.defn
async def remind(customer: str, year: int) -> None:
    """Tell a customer that the next year is near."""
    activity.logger.info("reminding %s of year %d", customer, year)


@activity.defn
async def charge(customer: str, year: int) -> str:
    """Charge a customer for a year; the same year is charged once, whatever happens."""
    return f"{customer}-{year}-{activity.info().idempotency_key[-1]}"


@workflow.defn
class Renewal:
    """Reminds, charges, and sleeps until the next time."""

    @workflow.run
    async def run(self, subscription: Subscription) -> list[str]:
        """Live for as many years as were asked for; the receipts."""
        receipts = []
        for year in range(1, subscription.years + 1):
            receipts.append(
                await workflow.execute_activity(
                    charge,
                    args=[subscription.customer, year],
                    start_to_close_timeout=timedelta(minutes=1),
                    retry_policy=RetryPolicy(maximum_interval=timedelta(hours=1)),
                )
            )
            await workflow.sleep(YEAR - REMINDER)
            await workflow.execute_activity(
                remind,
                args=[subscription.customer, year + 1],
                start_to_close_timeout=timedelta(minutes=1),
            )
            await workflow.sleep(REMINDER)
        return receipts
