"""The frozen envelope of the events topic and what it carries. Its shape never changes."""

from __future__ import annotations

from perdure_schemas.payloads import EffectId, Errand, InputHeader, Record


class EpochBump(Record, frozen=True, kw_only=True, gc=False):
    """A new owner may write from here on. This schema is frozen."""

    epoch: int
    nonce: bytes
    input_topic_id: str
    owner: str
    time_ms: int
    code_version: str = ""
    partitions: int = 0
    log_start: int = 0


class Transition(Record, frozen=True, kw_only=True, gc=False):
    """The frozen envelope of all that an owner writes. This schema is frozen."""

    epoch: int
    nonce: bytes
    pseq: int
    after: int
    upto: int
    dispatched: int
    time_ms: int
    part: int = 1
    parts: int = 1
    kind: int = 0
    input_leader_epoch: int = -1
    input_topic_id: str = ""
    body: bytes


class Outcome(Record, frozen=True, kw_only=True, gc=False):
    """What became of one covered input."""

    offset: int
    outcome: str
    reason: str = ""
    workflow_id: str = ""
    request_id: str = ""
    run_id: str = ""
    source: EffectId | None = None
    key: bytes | None = None
    value: bytes | None = None
    errands: list[Errand] = []
    activity_id: str = ""
    headers: list[InputHeader] = []


class TransitionBody(Record, frozen=True, kw_only=True, gc=False):
    """What one input did to one run; without a run it is a Progress record."""

    workflow_id: str = ""
    run_id: str = ""
    seq: int = 0
    code_version: str = ""
    shown: int = 0
    outcomes: list[Outcome] = []
    events: list[bytes] = []
