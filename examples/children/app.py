"""A round of deliveries: the round is a workflow, and so is each delivery.

What it teaches: start children and await them together; let one fail without the others; signal a
child; what becomes of children when their parent closes. Run it without a broker:

    perdure engine examples.children.app --data ./data
    perdure workflow execute --engine http://127.0.0.1:8080 --task-queue parcels \
        --type Round --id monday --input '["a", "b", "fragile c"]'
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from perdure import workflow
from perdure.exceptions import ApplicationError, ChildWorkflowError

DRIVE = timedelta(milliseconds=50)


@workflow.defn
class Delivery:
    """One parcel on its way. It may be told to leave the parcel with a neighbour."""

    def __init__(self) -> None:
        self.neighbour = ""

    @workflow.signal
    def leave_with(self, neighbour: str) -> None:
        """Somebody is not at home."""
        self.neighbour = neighbour

    @workflow.run
    async def run(self, parcel: str) -> str:
        """Drive there, and hand it over."""
        await workflow.sleep(DRIVE)
        if "fragile" in parcel and not self.neighbour:
            raise ApplicationError(f"{parcel} broke", type="Broken", non_retryable=True)
        return f"{parcel} to {self.neighbour or 'the door'}"


@workflow.defn
class Round:
    """All parcels of a day. What breaks does not end the round."""

    @workflow.run
    async def run(self, parcels: list[str]) -> list[str]:
        """Start every delivery, warn the last one, and wait for all."""
        me = workflow.info().workflow_id
        started = [
            await workflow.start_child_workflow(
                Delivery.run,
                parcel,
                id=f"{me}/{number}",
                # A round that is cancelled or fails calls its deliveries back.
                parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
            )
            for number, parcel in enumerate(parcels)
        ]
        await started[-1].signal(Delivery.leave_with, "the baker")
        ended = await asyncio.gather(*started, return_exceptions=True)
        return [told(one) for one in ended]


def told(ended: str | BaseException) -> str:
    """A delivery's end in words."""
    if isinstance(ended, ChildWorkflowError):
        return str(ended.cause)
    if isinstance(ended, BaseException):
        raise ended
    return ended
