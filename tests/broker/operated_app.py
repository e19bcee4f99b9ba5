"""A workflow whose activities need more than a worker: its own host, another process, a person."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

from perdure import activity, workflow
from perdure.common import RetryPolicy
from perdure.exceptions import ActivityError, ApplicationError
from tests.broker.orders_app import JOURNAL

MINUTE = timedelta(minutes=1)
TWICE = RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_attempts=2)
OPENED = "opened"


def _note(what: str, **facts: str) -> None:
    info = activity.info()
    line = {"what": what, "workflow_id": info.workflow_id, "attempt": info.attempt, **facts}
    file = os.open(os.environ[JOURNAL], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{json.dumps(line)}\n".encode())
    finally:
        os.close(file)


@activity.defn
async def look_up(name: str) -> str:
    """Run by the host itself."""
    _note("look_up")
    return f"price of {name}"


@activity.defn
async def approve() -> str:
    """Completed by another process."""
    info = activity.info()
    _note("approve", token=info.task_token.hex(), activity_id=info.activity_id)
    activity.raise_complete_async()


@activity.defn
async def refund() -> str:
    """Fails until the bank has opened."""
    _note("refund")
    if not Path(os.environ[JOURNAL]).with_name(OPENED).exists():
        raise ApplicationError("the bank is closed")
    return "refunded"


@workflow.defn
class Operated:
    @workflow.run
    async def run(self, name: str) -> list[str]:
        found = await workflow.execute_local_activity(look_up, name, start_to_close_timeout=MINUTE)
        approved = await workflow.execute_activity(approve, start_to_close_timeout=MINUTE)
        try:
            last = await workflow.execute_activity(
                refund, start_to_close_timeout=MINUTE, retry_policy=TWICE, on_exhausted="pause"
            )
        except ActivityError as error:
            last = str(error.cause)
        return [found, approved, last]
