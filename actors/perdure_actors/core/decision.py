"""What deciding may give: events, errands and answers, as closed lists. Nothing here acts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from perdure_actors.core.liveness import Notice
    from perdure_actors.core.state import ActivityState, RecordId
    from perdure_schemas.command_headers import Command
    from perdure_schemas.payloads import Record, ReplyTo
    from perdure_schemas.tracing import TraceContext


class SendTask(NamedTuple):
    """Send an attempt of an activity to the workers of its queue."""

    workflow_id: str
    run_id: str
    workflow_type: str
    activity: ActivityState
    resent: bool = False
    trace: TraceContext | None = None
    """The trace of the run, for the attempt's place in it."""
    moved: bool = False
    """Whether a worker handed it back: it goes to another partition, and is kept until it has."""


class SendAgain(NamedTuple):
    """Send the task of an attempt that a worker handed back: the same, to be claimed."""

    run_id: str
    activity_id: str


class RunLocal(NamedTuple):
    """Run an attempt of a local activity in this host."""

    workflow_id: str
    run_id: str
    workflow_type: str
    activity: ActivityState
    trace: TraceContext | None = None


class StopLocal(NamedTuple):
    """Stop an attempt that this host may be running."""

    issued: RecordId
    reason: str


class PushOrders(NamedTuple):
    """Tell a worker at once that an attempt should stop. Soft: its lease will say so again."""

    worker_id: str
    reply_partition: int
    issued: RecordId
    reason: str


class SendCommand(NamedTuple):
    """Send a command to another actor, on a task queue of the namespace."""

    task_queue: str
    command: Command


class SendDead(NamedTuple):
    """Put an input that nobody could take where people find it."""

    reason: str
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Forward(NamedTuple):
    """Send a client's command on to the partition that its workflow id belongs to."""

    offset: int
    key: bytes | None
    value: bytes | None


Effect = SendTask | SendAgain | RunLocal | StopLocal | PushOrders | SendCommand | SendDead | Forward
"""The closed list of errands. Answers to askers are not effects: they are soft."""


class Step(msgspec.Struct):
    """What happens to one run in one transition."""

    run_id: str
    events: list[Record]


class Decision(msgspec.Struct):
    """A command was taken: what happened, run by run, and what its sender is told."""

    steps: list[Step]
    answer: Record | None = None
    run_id: str = ""
    """The run the command was about, for its outcome."""
    waits_for: str = ""
    """The update of the run that the asker waits for, rather than for the run's end."""
    is_checked: bool = False
    """Whether the code may refuse the one step, before anything of it happens."""
    again: Command | None = None
    """A command that is decided when these steps have been played, to complete this one."""
    words: list[Record] = []
    """Events of the partition that no run is about."""
    handed_back: str = ""
    """The activity of the run whose task goes out again; that is no event of the run."""
    liveness: tuple[Notice, ...] = ()
    """What was heard of workers and of attempts."""


class Rejection(msgspec.Struct):
    """A command was refused; nothing happened but this answer."""

    code: str
    message: str
    run_id: str = ""
    status: str = ""
    answer: Record | None = None
    """What the sender is told, where the code and the message do not say all."""


class Ignored(msgspec.Struct):
    """A late, doubled or foreign report: dropped and counted, and its sender told if it asks."""

    reason: str
    answer: Record | None = None
    reply: ReplyTo | None = None
    """Where the answer goes when the command itself does not say."""
    liveness: tuple[Notice, ...] = ()
    """What was heard of workers and of attempts."""


class Due(msgspec.Struct):
    """What an alarm brought: its events, and whether an unread command could refute them."""

    events: list[Record]
    refutable: bool = False
    at_ms: int = 0
    """When it was due, if that may be later than its alarm: a command from before could refute."""


class Later(msgspec.Struct):
    """An alarm that is not due yet after all; 0 when it is void."""

    at_ms: int = 0


Verdict = Decision | Rejection | Ignored


class Limits(NamedTuple):
    """The limits that deciding keeps to."""

    activities_max: int = 2000
    timers_max: int = 2000
    children_max: int = 2000
    calls_max: int = 2000
    waiting_max: int = 2000
    """Inputs that wait while a run is blocked or held back."""
    signals_max: int = 10_000
    """Signals that one run takes."""
    updates_max: int = 10_000
    """Updates that one run takes."""
    updates_in_flight_max: int = 100
    buffered_max: int = 1_000
    """Signals that wait for one workflow to be started."""
    buffered_bytes_max: int = 1024 * 1024
    buffered_all_max: int = 10_000
    """Signals that wait in one partition."""
    buffered_all_bytes_max: int = 32 * 1024 * 1024
    history_events_max: int = 200_000
    """A run with a history so long is ended: replaying it would hold up all others."""
    history_bytes_max: int = 200 * 1024 * 1024
    request_age_ms_max: int = 24 * 3600 * 1000
    payload_bytes_max: int = 4 * 1024 * 1024
    activation_bytes_max: int = 64 * 1024 * 1024
    result_bytes_max: int = 1024 * 1024
    query_bytes_max: int = 12 * 1024 * 1024
    """What a query may return: nothing of it is kept, and an answer comes in several records."""
    marker_bytes_max: int = 1024 * 1024
    memo_bytes_max: int = 256 * 1024
    attribute_bytes_max: int = 40 * 1024
    emit_bytes_max: int = 1_000_000
    closed_keep_ms: int = 30 * 24 * 3600 * 1000
    """How long closed runs are kept where nobody has said otherwise; -1 for ever."""
    retention_resend_ms: int = 7 * 24 * 3600 * 1000 // 2
