"""The values that ride inside records: payloads, failures, policies, addresses. Pure data only."""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record of the wire: immutable data whose fields are those of its .avsc file."""


class Payload(Record, frozen=True, kw_only=True, gc=False):
    """A user value as bytes, with the encoding that says how to read them."""

    encoding: str = "json/plain"
    data: bytes = b""
    metadata: dict[str, bytes] = {}


class FailureCause(Record, frozen=True, kw_only=True, gc=False):
    """One link of a failure: what happened, without its cause."""

    kind: str = "application"
    message: str = ""
    source: str = ""
    stack_trace: str = ""
    type: str = ""
    non_retryable: bool = False
    details: list[Payload] = []
    next_retry_delay_ms: int = -1
    category: str = ""
    timeout_type: str = ""
    last_heartbeat_details: list[Payload] = []
    activity_type: str = ""
    activity_id: str = ""
    identity: str = ""
    retry_state: str = ""
    workflow_type: str = ""
    workflow_id: str = ""
    run_id: str = ""
    encoded: Payload | None = None


class Failure(Record, frozen=True, kw_only=True, gc=False):
    """A failure and its causes, outermost first; flat, because no record may be recursive."""

    chain: list[FailureCause] = []

    # As Temporal's own record of a failure is read.

    @property
    def message(self) -> str:
        """What went wrong."""
        return self._first.message

    @property
    def source(self) -> str:
        """Who said so: an SDK, or the engine."""
        return self._first.source

    @property
    def stack_trace(self) -> str:
        """Where it was raised; empty when that is not known."""
        return self._first.stack_trace

    @property
    def cause(self) -> Failure | None:
        """The failure that led to it."""
        return Failure(chain=self.chain[1:]) if len(self.chain) > 1 else None

    @property
    def _first(self) -> FailureCause:
        return self.chain[0] if self.chain else FailureCause()


class RetryPolicy(Record, frozen=True, kw_only=True, gc=False):
    """How often and how soon a failed attempt is tried again."""

    initial_interval_ms: int = 1000
    backoff_coefficient: float = 2.0
    maximum_interval_ms: int = 0
    maximum_attempts: int = 0
    non_retryable_error_types: list[str] = []


class Priority(Record, frozen=True, kw_only=True, gc=False):
    """Which task goes first: 1 before 5."""

    priority_key: int = 0
    fairness_key: str = ""
    fairness_weight: float = 0.0


class ReplyTo(Record, frozen=True, kw_only=True, gc=False):
    """Where the answer goes: a partition of the replies topic, and the asker's own id for it."""

    partition: int
    correlation_id: str
    deadline_ms: int = 0
    wait: str = "accepted"


class EffectId(Record, frozen=True, kw_only=True, gc=False):
    """The record, and the place in it, that an actor's command came from."""

    topic_id: str
    partition: int
    epoch: int
    pseq: int
    index: int


class RunRef(Record, frozen=True, kw_only=True, gc=False):
    """One run of a workflow, on its task queue."""

    workflow_id: str
    run_id: str = ""
    task_queue: str = ""
    workflow_type: str = ""


class CarriedChild(Record, frozen=True, kw_only=True, gc=False):
    """A child without an outcome that a run takes over from the run before it."""

    child_id: str
    workflow_id: str
    workflow_type: str = ""
    task_queue: str = ""
    run_id: str = ""
    parent_run_id: str = ""
    parent_close_policy: str = ""
    cancellation_type: str = ""
    cancel_requested: bool = False


class SeedSpan(Record, frozen=True, kw_only=True, gc=False):
    """By which run id a part of a history has drawn its random numbers."""

    run_id: str
    until: int


class ResetOrigin(Record, frozen=True, kw_only=True, gc=False):
    """The run that a reset goes back in, and how far; how its new run came to be."""

    run_id: str
    seq: int
    seeds: list[SeedSpan] = []
    reason: str = ""
    identity: str = ""
    request_id: str = ""
    exclude: list[str] = []
    was_closed: bool = False


class SignalInput(Record, frozen=True, kw_only=True, gc=False):
    """A signal that travels with a start."""

    signal_name: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    identity: str = ""
    request_id: str = ""


class UpdateInput(Record, frozen=True, kw_only=True, gc=False):
    """An update that travels with a start."""

    update_name: str
    update_id: str = ""
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    wait_stage: str = "accepted"


class ExternalCall(Record, frozen=True, kw_only=True, gc=False):
    """A call that one run makes of another workflow: where the outcome is told."""

    run: RunRef
    call_id: str


class InputHeader(Record, frozen=True, kw_only=True, gc=False):
    """A Kafka header of an input, as it came."""

    name: str
    value: bytes


class Errand(Record, frozen=True, kw_only=True, gc=False):
    """A command to another actor that the outcome of an input brings."""

    task_queue: str
    command: bytes
