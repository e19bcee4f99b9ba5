"""What a host remembers of its actors: plain mutable structs that only `apply` functions change.

An actor is a workflow id; it has a current run. What can grow (activities, timers) is kept in
entities of its own, so that a transition touches, and a table rewrites, only what it changed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from perdure_actors.core.activity_states import FREE, ON_HOLD, PARKED, SCHEDULED, STARTS_OVER
from perdure_schemas.events import ActivityScheduled, WorkflowBlocked, WorkflowStarted
from perdure_schemas.payloads import Failure, Payload, RunRef

SCHEDULER_TYPE = "perdure.schedule"
"""The built-in workflow type of schedules."""
BATCH_TYPE = "perdure.batch"
"""The built-in workflow type of batches."""

RUNNING = "running"
BLOCKED = "blocked"
COMPLETED = "completed"
FAILED = "failed"
CANCELED = "canceled"
TERMINATED = "terminated"
TIMED_OUT = "timed_out"
CONTINUED_AS_NEW = "continued_as_new"

SIGNAL = "signal"
CANCEL = "cancel"
START = "start"


class RecordId(NamedTuple):
    """Which event of the log: the source of effect ids and of attempt tokens."""

    epoch: int
    nonce: bytes
    pseq: int
    place: int
    """Which event of the record, from 0."""


class ActivityState(msgspec.Struct, array_like=True, gc=False):
    """An activity without an outcome."""

    scheduled: ActivityScheduled
    scheduled_seq: int
    scheduled_ms: int
    attempt: int
    issued: RecordId
    """The event that issued the attempt; its token is derived from it."""
    attempt_ms: int
    """When the attempt was issued."""
    state: str = SCHEDULED
    """Its phase, where its attempt is: see `activity_states`."""
    started_ms: int = 0
    worker_id: str = ""
    identity: str = ""
    reply_partition: int = -1
    last_failure: Failure | None = None
    heartbeat_details: list[Payload] = []
    retry_ms: int = 0
    """When the next attempt is due, while it is backing off."""
    cancel_requested: bool = False
    alarm_ms: int = 0
    """The nearest of its deadlines; 0 when it has none."""
    hold: str = FREE
    """What is to become of the attempt after this one: see `activity_states`."""
    pause_reason: str = ""
    pause_identity: str = ""
    paused_ms: int = 0
    original: ActivityScheduled | None = None
    """What the code asked for, where somebody has given other options."""
    under_way: ActivityScheduled | None = None
    """What the attempt was issued with, where somebody has given other options since."""
    waits_ms: int = 0
    """Since when the attempt waits for a worker; 0 where that is since it was issued."""

    @property
    def terms(self) -> ActivityScheduled:
        """The options of the attempt: other ones count from the next on."""
        return self.under_way or self.scheduled

    @property
    def paused(self) -> bool:
        """Whether somebody lets no further attempt start."""
        return self.hold in ON_HOLD

    @property
    def exhausted(self) -> bool:
        """Whether it is out of attempts, and waits for a person."""
        return self.hold in PARKED

    @property
    def starts_over(self) -> bool:
        """Whether the attempt after the one under way is the first again."""
        return self.hold in STARTS_OVER


class TimerState(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A timer that has not fired."""

    timer_id: str
    started_seq: int
    alarm_ms: int


class Facts(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What a run's code has changed of its memo and its search attributes: both as they are now."""

    memo: dict[str, Payload]
    search_attributes: dict[str, Payload]


class ChildState(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A child workflow without an outcome."""

    child_id: str
    workflow_id: str
    workflow_type: str
    task_queue: str
    parent_close_policy: str
    cancellation_type: str
    initiated_seq: int
    run_id: str = ""
    """Its first run, once it is known to run."""
    cancel_requested: bool = False
    parent_run_id: str = ""
    """The run that asked for it, where that is one before this."""


class CallState(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A call of another workflow that is not answered."""

    call_id: str
    kind: str
    """signal, cancel or start."""
    target: RunRef
    initiated_seq: int
    caller_run_id: str = ""
    """The run that made it, where this one goes on from an event of that."""


class UpdateState(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An update that was accepted; it is kept as long as its run."""

    update_id: str
    digest: bytes
    """Of its name and arguments, so that the id is not used for anything else."""
    accepted_seq: int
    completed_seq: int = 0
    """The event that holds its outcome; 0 while its handler runs."""


class Closing(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """How a run ended."""

    status: str
    time_ms: int
    result: Payload | None = None
    failure: Failure | None = None
    next_run_id: str = ""


class RunState(msgspec.Struct, array_like=True):
    """One run: its small facts. Activities, timers and the start event are kept beside it."""

    workflow_id: str
    run_id: str
    status: str
    start_ms: int
    seq: int = 0
    """The seq of its last event."""
    history_bytes: int = 0
    cancel_requested: bool = False
    begun: bool = True
    """False while a start delay holds its code back."""
    execution_expires_ms: int = 0
    run_expires_ms: int = 0
    begin_ms: int = 0
    alarm_ms: int = 0
    block: WorkflowBlocked | None = None
    blocked_ms: int = 0
    waiting: list[int] = []
    """While blocked: the seqs of the input events that its code has not taken."""
    closing: Closing | None = None
    first_run_id: str = ""
    signals: int = 0
    """How many signals it has taken."""
    updates_in_flight: int = 0
    """How many of its updates have no outcome yet."""
    parked: list[str] = []
    """Activities that are out of attempts and wait for a person."""
    parked_ms: int = 0
    """Since when any does."""

    @property
    def is_open(self) -> bool:
        """Whether the run has no terminal event yet."""
        return self.closing is None

    @property
    def waits_since_ms(self) -> int:
        """Since when it waits for a person; 0 when it does not."""
        return min((at for at in (self.blocked_ms, self.parked_ms) if at), default=0)

    @property
    def shown_status(self) -> str:
        """The status as people see it: a run that waits for a person is not "running"."""
        waits = self.block is not None or bool(self.parked)
        return BLOCKED if waits and self.closing is None else self.status


class ActorState(msgspec.Struct, array_like=True, gc=False):
    """What is known of a workflow id over its runs."""

    workflow_id: str
    current_run_id: str = ""
    next_run_id: str = ""
    """A run that is to follow the current one, what it starts with, and when it is due."""
    next_start: WorkflowStarted | None = None
    alarm_ms: int = 0


class Run:
    """A run with all that belongs to it, and what of it has been touched since it was saved."""

    __slots__ = (
        "activities",
        "actor",
        "calls",
        "children",
        "facts",
        "gone",
        "started",
        "state",
        "timers",
        "touched",
        "updates",
    )

    def __init__(self, state: RunState, started: WorkflowStarted, actor: ActorState) -> None:
        self.state = state
        self.started = started
        self.actor = actor
        self.activities: dict[str, ActivityState] = {}
        self.timers: dict[str, TimerState] = {}
        self.facts: Facts | None = None
        """None while its code has changed none of what it was started with."""
        self.children: dict[str, ChildState] = {}
        self.calls: dict[str, CallState] = {}
        self.updates: dict[str, UpdateState] = {}
        self.touched: set[tuple[str, str]] = set()
        self.gone: list[tuple[str, str, int]] = []
        """Entities that ended: kind, id, and the alarm they had."""

    @property
    def memo(self) -> dict[str, Payload]:
        """The run's memo as it is now."""
        return self.started.memo if self.facts is None else self.facts.memo

    @property
    def search_attributes(self) -> dict[str, Payload]:
        """The run's search attributes as they are now."""
        facts = self.facts
        return self.started.search_attributes if facts is None else facts.search_attributes

    def ref(self) -> RunRef:
        """The run as other actors name it."""
        return RunRef(
            workflow_id=self.state.workflow_id,
            run_id=self.state.run_id,
            task_queue=self.started.task_queue,
            workflow_type=self.started.workflow_type,
        )

    def touch_activity(self, activity: ActivityState) -> None:
        """Mark an activity as changed."""
        self.touched.add(("activity", activity.scheduled.activity_id))

    def entities(self, kind: str) -> dict[str, Any]:
        """The entities of a kind that are pending, by their ids."""
        found: dict[str, Any] = getattr(self, ENTITIES[kind])
        return found

    def drop(self, kind: str, entity_id: str) -> Any:
        """Forget an entity that has its outcome; None when there is none of that id."""
        entity = self.entities(kind).pop(entity_id, None)
        if entity is not None:
            self.touched.discard((kind, entity_id))
            self.gone.append((kind, entity_id, alarm_of(entity)))
        return entity

    def drop_all(self) -> None:
        """Forget everything that is pending: the run is over."""
        for kind in ENTITIES:
            for entity_id in list(self.entities(kind)):
                self.drop(kind, entity_id)


ENTITIES = {"activity": "activities", "timer": "timers", "child": "children", "call": "calls"}
"""What of a run is kept in rows of its own: its kind, and where a run has it."""


def alarm_of(entity: Any) -> int:
    """When an entity's next deadline is; 0 when it has none."""
    due_ms: int = getattr(entity, "alarm_ms", 0)
    return due_ms
