"""Signals, queries and updates as they are asked. Pure data only."""

from __future__ import annotations

from perdure_schemas.command_headers import ReadCommand, RunCommand
from perdure_schemas.payloads import ExternalCall, Payload, RunRef


class SignalWorkflow(RunCommand, frozen=True, kw_only=True, gc=False):
    """Sends a signal to a run. Key the record with workflow_id, partitioned by murmur2."""

    signal_name: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    external: ExternalCall | None = None
    child_of: RunRef | None = None
    buffer_ms: int = 0


class UpdateWorkflow(RunCommand, frozen=True, kw_only=True, gc=False):
    """Asks a run for an update: validated, recorded when accepted, and answered."""

    update_name: str
    update_id: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}


class AwaitUpdate(ReadCommand, frozen=True, kw_only=True, gc=False):
    """Asks what became of an update; answered when it has reached the stage."""

    workflow_id: str
    run_id: str = ""
    update_id: str
    stage: str = "completed"


class QueryWorkflow(ReadCommand, frozen=True, kw_only=True, gc=False):
    """Asks the code of a run for a value; nothing is written."""

    workflow_id: str
    run_id: str = ""
    query_name: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    reject_condition: str = "none"
    identity: str = ""
