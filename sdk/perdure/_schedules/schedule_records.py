"""Input and state of a schedule's workflow, as JSON that any converter carries."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from perdure._schedules.schedule import ScheduleOverlapPolicy, SchedulePolicy, ScheduleState
from perdure._schedules.spec import ScheduleSpec
from perdure_schemas.payloads import Failure, Payload, Priority, RetryPolicy

WORKFLOW_ID_PREFIX = "perdure-schedule:"
RECENT_MAX = 10
BUFFER_MAX = 1_000
RUNNING_MAX = 1_000
"""So many actions of a schedule run at once; more are left out, with the reason."""
LISTED_MAX = 5
"""So many recent actions and next times a list shows of a schedule."""
LISTED_KEY = "perdure.schedule"
"""The memo of the schedule's actor that holds what lists show of it."""
ID_ATTRIBUTE = "ScheduleId"
PAUSED_ATTRIBUTE = "TemporalSchedulePaused"
OWN_ATTRIBUTES = frozenset((ID_ATTRIBUTE, PAUSED_ATTRIBUTE))
"""The search attributes by which schedules are found that are not the user's."""


@dataclass
class ActionRecord:
    """The start of a workflow."""

    workflow: str
    id: str
    task_queue: str
    input: list[Payload] = field(default_factory=list)
    headers: dict[str, Payload] = field(default_factory=dict)
    memo: dict[str, Payload] = field(default_factory=dict)
    search_attributes: dict[str, Payload] = field(default_factory=dict)
    static_summary: Payload | None = None
    static_details: Payload | None = None
    execution_timeout_ms: int = 0
    run_timeout_ms: int = 0
    task_timeout_ms: int = 0
    retry_policy: RetryPolicy | None = None
    priority: Priority | None = None


@dataclass
class ScheduleRecord:
    """A schedule, whole."""

    action: ActionRecord
    spec: ScheduleSpec
    policy: SchedulePolicy = field(default_factory=SchedulePolicy)
    state: ScheduleState = field(default_factory=ScheduleState)


@dataclass
class Due:
    """An action that is to be taken."""

    at: datetime
    """The time it is for, before jitter."""
    overlap: ScheduleOverlapPolicy
    is_manual: bool = False
    """Triggered or backfilled: neither a pause nor a limit holds it back."""


@dataclass
class Done:
    """An action that took place, or that did not."""

    at: datetime
    taken_at: datetime
    workflow_id: str = ""
    run_id: str = ""
    reason: str = ""


@dataclass
class BackfillRecord:
    """A span of time whose actions are taken now."""

    start_at: datetime
    end_at: datetime
    overlap: ScheduleOverlapPolicy | None = None


@dataclass
class Watched:
    """An action that runs while the schedule's actor goes on as a new run."""

    child_id: str
    due: Due
    pauses: bool
    """Whether its failure pauses the schedule."""


@dataclass
class Standing:
    """What a schedule has done, and how far it has come."""

    upto: datetime
    """All times up to here have been looked at."""
    created_at: datetime
    updated_at: datetime | None = None
    num_actions: int = 0
    num_missed: int = 0
    num_skipped: int = 0
    recent: list[Done] = field(default_factory=list)
    buffered: list[Due] = field(default_factory=list)
    last_result: Payload | None = None
    last_failure: Failure | None = None


@dataclass
class SchedulerState:
    """All that a schedule's actor goes on with."""

    schedule_id: str
    schedule: ScheduleRecord
    standing: Standing | None = None
    """None before it has begun."""
    triggers: bool = False
    """Whether an action is to be taken as soon as it is made."""
    backfills: list[BackfillRecord] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)


@dataclass
class Listed:
    """What a list shows of a schedule."""

    workflow: str
    workflow_id: str
    task_queue: str
    spec: ScheduleSpec
    policy: SchedulePolicy
    state: ScheduleState
    upto: datetime
    created_at: datetime
    updated_at: datetime | None
    num_actions: int
    num_missed: int
    num_skipped: int
    num_running: int
    running: list[tuple[str, str]]
    """Workflow ids and run ids, the first ones."""
    recent: list[Done]
    next_times: list[datetime]


@dataclass
class Described:
    """What a schedule's actor tells of itself."""

    schedule: ScheduleRecord
    standing: Standing
    running: list[tuple[str, str]]
    """Workflow ids and run ids."""
    next_times: list[datetime]
    memo: dict[str, Payload] = field(default_factory=dict)
    search_attributes: dict[str, Payload] = field(default_factory=dict)


_encoder = msgspec.json.Encoder()
encode = _encoder.encode
decode_state = msgspec.json.Decoder(SchedulerState).decode
decode_described = msgspec.json.Decoder(Described).decode
decode_schedule = msgspec.json.Decoder(ScheduleRecord).decode
decode_listed = msgspec.json.Decoder(Listed).decode
decode_attributes = msgspec.json.Decoder(dict[str, Payload]).decode
decode_backfills = msgspec.json.Decoder(list[BackfillRecord]).decode
