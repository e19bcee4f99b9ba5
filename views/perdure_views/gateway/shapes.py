"""Response bodies, one Struct each. Data only; openapi.json is made from it."""

from __future__ import annotations

from typing import Any

import msgspec


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What all answers are: plain JSON."""


class Problem(Shape, frozen=True, kw_only=True):
    """An error: its code, and one sentence that says what, where, and what to do."""

    code: str
    message: str
    status: int


class Me(Shape, frozen=True, kw_only=True):
    """Who asks, what they may, and what this gateway stands before."""

    name: str
    role: str
    signs_in: bool
    csrf: str
    namespace: str
    address: str
    release: str
    trace_url: str = ""


class BlockShape(Shape, frozen=True, kw_only=True):
    """Why a run is blocked."""

    cause: str
    message: str
    stack_trace: str = ""
    recorded: str = ""
    produced: str = ""
    since_ms: int = 0
    code_version: str = ""


class TroubleShape(Shape, frozen=True, kw_only=True):
    """What is wrong with a run, in a line."""

    kind: str
    message: str = ""
    activity_id: str = ""
    activity_type: str = ""
    attempt: int = 0
    maximum_attempts: int = 0
    next_ms: int = 0
    since_ms: int = 0
    activities: int = 0


class Run(Shape, frozen=True, kw_only=True):
    """A run as a list shows it."""

    workflow_id: str
    run_id: str
    workflow_type: str
    status: str
    start_ms: int
    close_ms: int
    history_length: int
    task_queue: str
    partition: int
    attempt: int
    block: BlockShape | None = None
    memo: dict[str, Any] = {}
    search_attributes: dict[str, Any] = {}
    parent: dict[str, Any] | None = None
    first_run_id: str = ""
    trouble: TroubleShape | None = None


class Runs(Shape, frozen=True, kw_only=True):
    """A page of runs, blocked ones first, then the newest; `silent` partitions did not answer."""

    runs: list[Run]
    next_page: str = ""
    silent: list[str] = []


class Group(Shape, frozen=True, kw_only=True):
    """How many runs share some values."""

    values: list[Any]
    count: int


class Count(Shape, frozen=True, kw_only=True):
    """How many runs there are, and how many of each group where the filter has GROUP BY."""

    count: int
    groups: list[Group] = []
    silent: list[str] = []


class Event(Shape, frozen=True, kw_only=True):
    """One event of a run, and where its transition stands in the log."""

    id: int
    type: str
    time_ms: int
    offset: int
    pseq: int
    code_version: str
    attributes: dict[str, Any]


class HistoryPart(Shape, frozen=True, kw_only=True):
    """Events of a run in order; `topic` and `partition` are those of all its offsets."""

    run_id: str
    status: str
    topic: str
    partition: int
    events: list[Event]
    next_seq: int
    more: bool


class Description(Shape, frozen=True, kw_only=True):
    """How a run stands."""

    run: Run
    history_size: int
    execution_ms: int
    input: list[Any]
    pending_activities: list[dict[str, Any]]
    pending_timers: list[dict[str, Any]]
    cancel_requested: bool
    notices: list[dict[str, Any]]
    timeouts: dict[str, int]
    retry_policy: dict[str, Any] | None
    cron_schedule: str
    summary: Any
    details: Any
    root: dict[str, Any] | None
    identity: str
    more: dict[str, Any]
    """What newer hosts say besides, by the names of the record's fields."""


class Closing(Shape, frozen=True, kw_only=True):
    """How a run ended; `closed` is false when it had not within the time that was waited."""

    closed: bool
    workflow_id: str = ""
    run_id: str = ""
    status: str = ""
    result: Any = None
    failure: dict[str, Any] | None = None
    next_run_id: str = ""
    close_ms: int = 0


class Taken(Shape, frozen=True, kw_only=True):
    """A command was taken."""

    workflow_id: str
    run_id: str = ""
    first_run_id: str = ""
    started: bool = False


class WorkerShape(Shape, frozen=True, kw_only=True):
    """A worker with a lease."""

    worker_id: str
    identity: str
    slots: int
    slots_used: int
    last_seen_ms: int
    version: str


class PartitionShape(Shape, frozen=True, kw_only=True):
    """How a partition of a task queue stands; `lag` counts commands that no host has read."""

    partition: int
    answers: bool
    owner: str = ""
    epoch: int = 0
    transitions: int = 0
    read_to: int = -1
    lag: int = -1
    events_end: int = -1
    open_runs: int = 0
    blocked_runs: int = 0
    pending_activities: int = 0


class QueueShape(Shape, frozen=True, kw_only=True):
    """How a task queue stands: the sums, its workers, and its partitions."""

    task_queue: str
    partitions: list[PartitionShape]
    workers: list[WorkerShape]
    open_runs: int
    blocked_runs: int
    pending_activities: int
    lag: int
    silent: int


class Queues(Shape, frozen=True, kw_only=True):
    """The task queues of the namespace."""

    task_queues: list[str]


class Answered(Shape, frozen=True, kw_only=True):
    """What a query returned, or why it was not answered."""

    run_id: str
    result: Any = None
    failure: dict[str, Any] | None = None
    rejected_status: str = ""


class Updated(Shape, frozen=True, kw_only=True):
    """How far an update is, and its outcome once it is completed."""

    update_id: str
    run_id: str = ""
    stage: str = ""
    result: Any = None
    failure: dict[str, Any] | None = None


class ActionShape(Shape, frozen=True, kw_only=True):
    """An action of a schedule: the workflow that it started, or the reason why it did not."""

    due_ms: int
    taken_ms: int
    workflow_id: str = ""
    run_id: str = ""
    reason: str = ""


class ScheduleShape(Shape, frozen=True, kw_only=True):
    """A schedule: what it starts and when, what it has done and left out, and what it will do."""

    schedule_id: str
    workflow_type: str
    workflow_id: str
    """What the ids of its workflows begin with."""
    task_queue: str
    when: list[str]
    """Its calendars, intervals and cron expressions in words."""
    time_zone: str
    start_ms: int
    end_ms: int
    """It acts between these; 0 for no bound."""
    jitter_ms: int
    overlap: str
    catchup_window_ms: int
    pause_on_failure: bool
    paused: bool
    note: str
    remaining_actions: int
    """So many more and no more; -1 for no limit."""
    actions: int
    missed: int
    skipped: int
    running: list[ActionShape]
    recent: list[ActionShape]
    """The newest actions, also those that were left out."""
    next_ms: list[int]
    created_ms: int
    updated_ms: int
    actor_id: str
    """The workflow id of the schedule itself."""
    input: list[Any] = []


class Schedules(Shape, frozen=True, kw_only=True):
    """Schedules, and whether there are more than were asked for."""

    schedules: list[ScheduleShape]
    more: bool = False


class ScheduleTaken(Shape, frozen=True, kw_only=True):
    """A schedule did what it was told."""

    schedule_id: str


class FindingShape(Shape, frozen=True, kw_only=True):
    """Something that a person should know, with its likely cause and what to do.

    `holds` says whether it is still so; null for what happened once, or where it is not known.
    """

    finding_id: str
    kind: str
    task_queue: str
    workflow_id: str
    run_id: str
    time_ms: int
    message: str
    cause: str
    remedy: str
    holds: bool | None


class Window(Shape, frozen=True, kw_only=True):
    """What happened in a window of time; latencies are of runs that closed in it."""

    start_s: int
    started: int
    closed: dict[str, int]
    p50_ms: int | None
    p90_ms: int | None
    p99_ms: int | None
    activities: int
    attempts_failed: int
    failures: dict[str, int]
    blocked: int


class Health(Shape, frozen=True, kw_only=True):
    """How task queues fare. `read` below 1 says how much of their events has been read so far.

    A window in which nothing happened is not listed.
    """

    task_queues: list[str]
    workflow_types: list[str]
    read: float
    problems: list[str]
    findings: list[FindingShape]
    window_s: int
    from_s: int
    to_s: int
    windows: list[Window]
