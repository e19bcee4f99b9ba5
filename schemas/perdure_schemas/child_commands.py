"""What actors tell each other about children and calls; only hosts write these. Pure data only."""

from __future__ import annotations

from perdure_schemas.command_headers import ActorReport
from perdure_schemas.payloads import Failure, Payload, RunRef

CANCELED_UNSTARTED = "canceled"
"""The code of a child whose parent stopped it before its start could be sent."""


class ReportChildStarted(ActorReport, frozen=True, kw_only=True, gc=False):
    """Tells a parent that its child runs."""

    child_id: str
    child: RunRef


class ReportChildRefused(ActorReport, frozen=True, kw_only=True, gc=False):
    """Tells a parent that its child could not be started."""

    child_id: str
    code: str
    message: str = ""


class ReportChildClosed(ActorReport, frozen=True, kw_only=True, gc=False):
    """Tells a parent how its child ended, over all runs that followed each other."""

    child_id: str
    child: RunRef
    status: str
    result: Payload | None = None
    failure: Failure | None = None
    retry_state: str = ""


class ReportCall(ActorReport, frozen=True, kw_only=True, gc=False):
    """Tells a run what became of its call of another workflow."""

    call_id: str
    code: str = ""
    message: str = ""
    target_run_id: str = ""
    started: bool = False
