"""Signals and updates as they happened. Pure data only."""

from __future__ import annotations

from perdure_schemas.payloads import ExternalCall, Failure, Payload, Record, SignalInput


class WorkflowSignaled(Record, frozen=True, kw_only=True, gc=False):
    """A signal arrived."""

    signal_name: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    identity: str = ""
    request_id: str = ""
    external: ExternalCall | None = None


class WorkflowUpdateAccepted(Record, frozen=True, kw_only=True, gc=False):
    """The validator of an update let it through."""

    update_id: str
    update_name: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    identity: str = ""
    request_id: str = ""


class WorkflowUpdateCompleted(Record, frozen=True, kw_only=True, gc=False):
    """The handler of an update returned or failed."""

    update_id: str
    update_name: str = ""
    result: Payload | None = None
    failure: Failure | None = None
    call_site: str = ""


class SignalBuffered(Record, frozen=True, kw_only=True, gc=False):
    """A signal waits for its workflow to be started; an event of the partition."""

    workflow_id: str
    signal: SignalInput
    expires_ms: int


class SignalExpired(Record, frozen=True, kw_only=True, gc=False):
    """A signal waited for a start that did not come; an event of the partition."""

    workflow_id: str
    signal_name: str
    request_id: str = ""
    pseq: int = 0
