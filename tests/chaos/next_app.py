"""The release after: chains do one thing more, behind a patch, so what has begun goes on."""

from __future__ import annotations

from datetime import timedelta

from perdure import workflow
from tests.broker.orders_app import QUICK_RETRY, Job, forge
from tests.chaos.app import Counter, Kid, Ledger, Parent

__all__ = ["Counter", "Kid", "Ledger", "NextChain", "Parent", "forge"]


@workflow.defn(name="Chain")
class NextChain:
    """Steps in sequence, with a note of how far it is after each."""

    @workflow.run
    async def run(self, job: Job) -> str:
        value = job.name
        for number in range(job.steps):
            if workflow.patched("notes"):
                workflow.upsert_memo({"step": number})
            value = await workflow.execute_activity(
                forge,
                args=[job, value, number],
                start_to_close_timeout=timedelta(seconds=60),
                retry_policy=QUICK_RETRY,
            )
            if job.nap_ms:
                await workflow.sleep(job.nap_ms / 1000)
        return value
