"""A word count over many pages at once: all of them, the first of two mirrors, so many at a time.

What it teaches: ordinary asyncio is how workflows do things at once (`gather`, `wait`,
`Semaphore`, `timeout`); each activity is durable by itself, so what was counted is never counted
again; the loser of a race is cancelled. Run it without a broker:

    perdure engine examples.parallel.app --data ./data
    perdure workflow execute Count --id count-1 --task-queue counts \
        --engine http://127.0.0.1:8080 --input '["a rose", "is a rose"]'
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from perdure import activity, workflow

TASK_QUEUE = "counts"
AT_ONCE = 10
A_MINUTE = timedelta(minutes=1)


@activity.defn
async def count(page: str) -> int:
    """How many words a page has."""
    return len(page.split())


@activity.defn
async def fetch(mirror: str, *, after_s: float = 0.0) -> str:
    """A page from a mirror; some are slow."""
    slow_s = 3600.0 if mirror.startswith("slow") else after_s
    await asyncio.sleep(slow_s)
    return f"a page of {mirror}"


@workflow.defn
class Count:
    """Counts the words of all pages, ten pages at a time."""

    @workflow.run
    async def run(self, pages: list[str]) -> int:
        """The sum."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(page: str) -> int:
            async with turns:
                return await workflow.execute_activity(count, page, start_to_close_timeout=A_MINUTE)

        return sum(await asyncio.gather(*map(one, pages)))


@workflow.defn
class Fastest:
    """Asks two mirrors and takes the answer that comes first."""

    @workflow.run
    async def run(self, mirrors: list[str]) -> str:
        """The page."""
        asked = [
            workflow.start_activity(
                fetch,
                mirror,
                start_to_close_timeout=timedelta(hours=2),
                cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
            )
            for mirror in mirrors
        ]
        done, late = await workflow.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        for other in late:
            other.cancel()
        return await done[0]
