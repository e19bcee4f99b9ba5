"""What goes in and out as JSON, one Struct a shape. Data only; openapi.json is made from it."""

from __future__ import annotations

from typing import Any

import msgspec


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What all answers are: plain JSON."""


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all request bodies are: JSON without a field that nobody reads."""


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


class Runs(Shape, frozen=True, kw_only=True):
    """A page of runs, blocked ones first, then the newest; `silent` partitions did not answer."""

    runs: list[Run]
    next_page: str = ""
    silent: list[str] = []


class Count(Shape, frozen=True, kw_only=True):
    """How many runs there are."""

    count: int
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


class Retry(Body, frozen=True, kw_only=True):
    """How often and how soon a failed attempt is tried again."""

    initial_interval_ms: int = 1000
    backoff_coefficient: float = 2.0
    maximum_interval_ms: int = 0
    maximum_attempts: int = 0
    non_retryable_error_types: list[str] = []


class Start(Body, frozen=True, kw_only=True):
    """Starts a workflow; `input` is its arguments as JSON, in order."""

    workflow_id: str
    workflow_type: str
    task_queue: str
    input: list[msgspec.Raw] = []
    request_id: str = ""
    id_reuse_policy: str = "allow_duplicate"
    id_conflict_policy: str = "fail"
    execution_timeout_ms: int = 0
    run_timeout_ms: int = 0
    task_timeout_ms: int = 0
    start_delay_ms: int = 0
    cron_schedule: str = ""
    retry_policy: Retry | None = None
    memo: dict[str, msgspec.Raw] = {}
    search_attributes: dict[str, msgspec.Raw] = {}
    summary: str = ""
    details: str = ""


class Cancel(Body, frozen=True, kw_only=True):
    """Asks a run to cancel itself; without a run id, the newest run of the workflow."""

    workflow_id: str
    run_id: str = ""
    first_run_id: str = ""
    task_queue: str = ""
    reason: str = ""
    request_id: str = ""


class Terminate(Body, frozen=True, kw_only=True):
    """Ends a run at once; its code is not asked."""

    workflow_id: str
    run_id: str = ""
    first_run_id: str = ""
    task_queue: str = ""
    reason: str = ""
    request_id: str = ""


class SignIn(Body, frozen=True, kw_only=True):
    """A token that a person typed, for a session of their browser."""

    token: str
