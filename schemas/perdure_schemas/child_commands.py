"""What actors tell each other about children and calls; only hosts write these. Pure data only."""

from __future__ import annotations

from perdure_schemas.payloads import EffectId, Failure, Payload, Record, RunRef

CANCELED_UNSTARTED = "canceled"
"""The code of a child whose parent stopped it before its start could be sent."""


class ReportChildStarted(Record, frozen=True, kw_only=True, gc=False):
    """Tells a parent that its child runs."""

    workflow_id: str
    run_id: str
    child_id: str
    child: RunRef
    source: EffectId | None = None


class ReportChildRefused(Record, frozen=True, kw_only=True, gc=False):
    """Tells a parent that its child could not be started."""

    workflow_id: str
    run_id: str
    child_id: str
    code: str
    message: str = ""
    source: EffectId | None = None


class ReportChildClosed(Record, frozen=True, kw_only=True, gc=False):
    """Tells a parent how its child ended, over all runs that followed each other."""

    workflow_id: str
    run_id: str
    child_id: str
    child: RunRef
    status: str
    result: Payload | None = None
    failure: Failure | None = None
    retry_state: str = ""
    source: EffectId | None = None


class ReportCall(Record, frozen=True, kw_only=True, gc=False):
    """Tells a run what became of its call of another workflow."""

    workflow_id: str
    run_id: str
    call_id: str
    code: str = ""
    message: str = ""
    target_run_id: str = ""
    started: bool = False
    source: EffectId | None = None
