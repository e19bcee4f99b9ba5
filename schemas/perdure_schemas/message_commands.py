"""Signals, queries and updates as they are asked. Pure data only."""

from __future__ import annotations

from perdure_schemas.payloads import EffectId, ExternalCall, Payload, Record, ReplyTo, RunRef


class SignalWorkflow(Record, frozen=True, kw_only=True, gc=False):
    """Sends a signal to a run. Key the record with workflow_id, partitioned by murmur2."""

    workflow_id: str
    run_id: str = ""
    first_run_id: str = ""
    signal_name: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    request_id: str = ""
    first_sent_ms: int = 0
    reply: ReplyTo | None = None
    source: EffectId | None = None
    identity: str = ""
    external: ExternalCall | None = None
    child_of: RunRef | None = None
    buffer_ms: int = 0


class UpdateWorkflow(Record, frozen=True, kw_only=True, gc=False):
    """Asks a run for an update: validated, recorded when accepted, and answered."""

    workflow_id: str
    run_id: str = ""
    first_run_id: str = ""
    update_name: str
    update_id: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    request_id: str = ""
    first_sent_ms: int = 0
    reply: ReplyTo | None = None
    source: EffectId | None = None
    identity: str = ""


class AwaitUpdate(Record, frozen=True, kw_only=True, gc=False):
    """Asks what became of an update; answered when it has reached the stage."""

    workflow_id: str
    run_id: str = ""
    update_id: str
    stage: str = "completed"
    reply: ReplyTo


class QueryWorkflow(Record, frozen=True, kw_only=True, gc=False):
    """Asks the code of a run for a value; nothing is written."""

    workflow_id: str
    run_id: str = ""
    query_name: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    reject_condition: str = "none"
    identity: str = ""
    reply: ReplyTo
