"""What deciding sees: runs, workers and limits, all of it read-only by type.

It is of accepted and proposed records. Nothing here can be assigned: what a command brings about
is in the Decision, and `apply` and `Liveness.take` do it.
"""

# ruff: noqa: D102 - what each property is, state.py and liveness.py say
from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from perdure_actors.core.decision import Limits
    from perdure_actors.core.liveness import Lease
    from perdure_actors.core.state import (
        CallState,
        ChildState,
        RecordId,
        TimerState,
        UpdateState,
    )
    from perdure_schemas.command_headers import AttemptReport
    from perdure_schemas.events import ActivityScheduled, WorkflowBlocked, WorkflowStarted
    from perdure_schemas.payloads import Failure, Payload, RunRef, SignalInput


class RunStateView(Protocol):
    """The small facts of a run."""

    @property
    def workflow_id(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def first_run_id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def shown_status(self) -> str: ...
    @property
    def is_open(self) -> bool: ...
    @property
    def start_ms(self) -> int: ...
    @property
    def seq(self) -> int: ...
    @property
    def history_bytes(self) -> int: ...
    @property
    def begun(self) -> bool: ...
    @property
    def begin_ms(self) -> int: ...
    @property
    def run_expires_ms(self) -> int: ...
    @property
    def execution_expires_ms(self) -> int: ...
    @property
    def alarm_ms(self) -> int: ...
    @property
    def cancel_requested(self) -> bool: ...
    @property
    def block(self) -> WorkflowBlocked | None: ...
    @property
    def waiting(self) -> Sequence[int]: ...
    @property
    def signals(self) -> int: ...
    @property
    def updates_in_flight(self) -> int: ...


class ActorView(Protocol):
    """What is known of a workflow id over its runs."""

    @property
    def next_run_id(self) -> str: ...
    @property
    def next_start(self) -> WorkflowStarted | None: ...
    @property
    def alarm_ms(self) -> int: ...


class ActivityView(Protocol):
    """An activity without an outcome."""

    @property
    def scheduled(self) -> ActivityScheduled: ...
    @property
    def terms(self) -> ActivityScheduled: ...
    @property
    def original(self) -> ActivityScheduled | None: ...
    @property
    def state(self) -> str: ...
    @property
    def hold(self) -> str: ...
    @property
    def paused(self) -> bool: ...
    @property
    def exhausted(self) -> bool: ...
    @property
    def starts_over(self) -> bool: ...
    @property
    def cancel_requested(self) -> bool: ...
    @property
    def attempt(self) -> int: ...
    @property
    def issued(self) -> RecordId: ...
    @property
    def scheduled_ms(self) -> int: ...
    @property
    def attempt_ms(self) -> int: ...
    @property
    def started_ms(self) -> int: ...
    @property
    def waits_ms(self) -> int: ...
    @property
    def retry_ms(self) -> int: ...
    @property
    def alarm_ms(self) -> int: ...
    @property
    def worker_id(self) -> str: ...
    @property
    def identity(self) -> str: ...
    @property
    def reply_partition(self) -> int: ...
    @property
    def pause_reason(self) -> str: ...
    @property
    def pause_identity(self) -> str: ...
    @property
    def last_failure(self) -> Failure | None: ...
    @property
    def heartbeat_details(self) -> list[Payload]: ...


class RunView(Protocol):
    """A run, with all that belongs to it."""

    @property
    def state(self) -> RunStateView: ...
    @property
    def started(self) -> WorkflowStarted: ...
    @property
    def actor(self) -> ActorView: ...
    @property
    def activities(self) -> Mapping[str, ActivityView]: ...
    @property
    def timers(self) -> Mapping[str, TimerState]: ...
    @property
    def children(self) -> Mapping[str, ChildState]: ...
    @property
    def calls(self) -> Mapping[str, CallState]: ...
    @property
    def updates(self) -> Mapping[str, UpdateState]: ...
    @property
    def memo(self) -> Mapping[str, Payload]: ...
    @property
    def search_attributes(self) -> Mapping[str, Payload]: ...

    def ref(self) -> RunRef:
        """The run as other actors name it."""


class LivenessView(Protocol):
    """What is known of workers: leases and heartbeats."""

    @property
    def leases(self) -> Mapping[str, Lease]: ...

    def heard_ms(self, run_id: str, activity_id: str) -> int:
        """When an attempt was last heard of, or everything was heard anew."""

    def attempts_of(self, worker_id: str) -> Collection[tuple[str, str]]:
        """The attempts that a worker was granted: (run id, activity id). Some may have ended."""


class BufferedSignalView(Protocol):
    """A signal that waits."""

    @property
    def signal(self) -> SignalInput: ...


class SignalBuffersView(Protocol):
    """The signals of a partition that wait for a start."""

    @property
    def count(self) -> int: ...
    @property
    def size(self) -> int: ...

    def signals(self, workflow_id: str) -> list[SignalInput]:
        """The signals that wait for a workflow, in their order."""

    def sizes(self, workflow_id: str) -> tuple[int, int]:
        """How many wait for a workflow, and their bytes."""

    def find(self, workflow_id: str, pseq: int) -> BufferedSignalView | None:
        """One that waits; None when it does not, or not any more."""


class World(Protocol):
    """What deciding may ask about."""

    @property
    def limits(self) -> Limits: ...
    @property
    def task_queue(self) -> str: ...
    @property
    def liveness(self) -> LivenessView: ...
    @property
    def buffers(self) -> SignalBuffersView: ...

    def token(self, issued: RecordId) -> bytes:
        """The token of an attempt."""

    def may_report_by_ids(self, report: AttemptReport) -> bool:
        """Whether a report without an attempt's token is taken."""

    def new_run_id(self) -> str:
        """A run id derived from the record that is being decided, another each time."""

    def run(self, run_id: str) -> RunView | None:
        """A run of this partition."""

    def current(self, workflow_id: str) -> RunView | None:
        """The newest run of a workflow id."""

    def input_at(self, run_id: str, seq: int) -> int:
        """The newest input of a run up to an event, as its history has it; 0 when it has none."""

    def is_settled(self, run_id: str) -> bool:
        """Whether all that a run has brought about is accepted and sent."""

    def attribute_type(self, name: str) -> str:
        """The type that runs have given a search attribute; empty when none has it."""
