"""A report that is made again and again, by a cron string or by a schedule.

What it teaches: `cron_schedule` for one workflow that repeats itself; a `Schedule`, which can be
paused, triggered and filled back, for all else; how one run learns what the last one returned.
Run it without a broker:

    perdure engine examples.schedules.app --data ./data
    perdure schedule create daily --engine http://127.0.0.1:8080 --task-queue reports \
        --type Report --id report --cron "0 9 * * MON-FRI" --zone Europe/Berlin
    perdure schedule trigger daily --engine http://127.0.0.1:8080
    perdure schedule describe daily --engine http://127.0.0.1:8080
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from perdure import workflow
from perdure.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)

TASK_QUEUE = "reports"


@dataclass
class Figures:
    """What a report says."""

    number: int
    """Which report it is."""
    made_for: str


@workflow.defn
class Report:
    """One report. It goes on counting where the last one that was made ended."""

    @workflow.run
    async def run(self, made_for: str = "everybody") -> Figures:
        """Make it."""
        last = workflow.get_last_completion_result(Figures)
        return Figures(1 if last is None else last.number + 1, made_for)


async def make_schedule(client: Client, every: timedelta) -> ScheduleHandle:
    """A report every so often; one that takes too long is not made twice."""
    return await client.create_schedule(
        "reports",
        Schedule(
            action=ScheduleActionStartWorkflow(
                Report.run, "the board", id="report", task_queue=TASK_QUEUE
            ),
            spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every)]),
            policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
        ),
    )
