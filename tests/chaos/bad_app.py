"""A release with a bug: no chain that has begun fits it, and none that begins comes anywhere."""

from __future__ import annotations

from perdure import workflow
from tests.broker.orders_app import Job, forge
from tests.chaos.app import Counter, Kid, Ledger, Parent

__all__ = ["BadChain", "Counter", "Kid", "Ledger", "Parent", "forge"]


@workflow.defn(name="Chain")
class BadChain:
    """Ends in an error before it does anything."""

    @workflow.run
    async def run(self, job: Job) -> str:
        raise KeyError(f"a bad deploy has nothing for {job.name}")
