"""What has happened: the events of a run and of a partition. Pure data only; no rule lives here."""

from __future__ import annotations

from typing import get_args

from perdure_schemas.child_events import (
    CallAnswered,
    CallInitiated,
    ChildCancelRequested,
    ChildWorkflowCanceled,
    ChildWorkflowCompleted,
    ChildWorkflowFailed,
    ChildWorkflowInitiated,
    ChildWorkflowStarted,
    ChildWorkflowStartFailed,
    ChildWorkflowTerminated,
    ChildWorkflowTimedOut,
)
from perdure_schemas.fact_events import (
    MarkerRecorded,
    MemoUpserted,
    RecordEmitted,
    SearchAttributesUpserted,
)
from perdure_schemas.message_events import (
    SignalBuffered,
    SignalExpired,
    WorkflowSignaled,
    WorkflowUpdateAccepted,
    WorkflowUpdateCompleted,
)
from perdure_schemas.operator_events import OperatorEvent
from perdure_schemas.partition_events import CheckpointSlice, RetentionSet, RunsForgotten
from perdure_schemas.payloads import (
    CarriedChild,
    ExternalCall,
    Failure,
    Payload,
    Priority,
    Record,
    ResetOrigin,
    RetryPolicy,
    RunRef,
    SignalInput,
    UpdateInput,
)


class WorkflowStarted(Record, frozen=True, kw_only=True, gc=False):
    """A run exists."""

    workflow_type: str
    input: list[Payload] = []
    task_queue: str = ""
    attempt: int = 1
    request_id: str = ""
    identity: str = ""
    execution_timeout_ms: int = 0
    run_timeout_ms: int = 0
    task_timeout_ms: int = 0
    execution_expires_ms: int = 0
    retry_policy: RetryPolicy | None = None
    cron_schedule: str = ""
    first_activation_delay_ms: int = 0
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    header: dict[str, Payload] = {}
    static_summary: Payload | None = None
    static_details: Payload | None = None
    priority: Priority | None = None
    parent: RunRef | None = None
    parent_initiated_seq: int = 0
    root: RunRef | None = None
    parent_close_policy: str = ""
    first_run_id: str = ""
    original_run_id: str = ""
    continued_run_id: str = ""
    initiator: str = ""
    last_failure: Failure | None = None
    last_result: Payload | None = None
    signals: list[SignalInput] = []
    update: UpdateInput | None = None
    child_id: str = ""
    external: ExternalCall | None = None
    children: list[CarriedChild] = []
    reset: ResetOrigin | None = None


class WorkflowCompleted(Record, frozen=True, kw_only=True, gc=False):
    """The run returned."""

    result: Payload | None = None
    next_run_id: str = ""
    next_run_delay_ms: int = -1
    call_site: str = ""


class WorkflowFailed(Record, frozen=True, kw_only=True, gc=False):
    """The run failed."""

    failure: Failure
    retry_state: str = ""
    next_run_id: str = ""
    next_run_delay_ms: int = -1
    call_site: str = ""


class WorkflowCanceled(Record, frozen=True, kw_only=True, gc=False):
    """The run ended after it was asked to cancel."""

    details: list[Payload] = []
    call_site: str = ""


class WorkflowTerminated(Record, frozen=True, kw_only=True, gc=False):
    """The run was ended from outside."""

    reason: str = ""
    details: list[Payload] = []
    identity: str = ""
    next_run_id: str = ""
    reset: ResetOrigin | None = None


class WorkflowTimedOut(Record, frozen=True, kw_only=True, gc=False):
    """The run outlived its run or execution timeout."""

    timeout_type: str = "run"
    retry_state: str = ""
    next_run_id: str = ""
    next_run_delay_ms: int = -1


class WorkflowContinuedAsNew(Record, frozen=True, kw_only=True, gc=False):
    """The run ended by starting the next one."""

    workflow_type: str
    input: list[Payload] = []
    new_run_id: str = ""
    task_queue: str = ""
    run_timeout_ms: int = 0
    task_timeout_ms: int = 0
    retry_policy: RetryPolicy | None = None
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    header: dict[str, Payload] = {}
    delay_ms: int = 0
    call_site: str = ""
    keeps_children: bool = False


class WorkflowCancelRequested(Record, frozen=True, kw_only=True, gc=False):
    """Somebody asked the run to cancel."""

    reason: str = ""
    identity: str = ""
    external: RunRef | None = None


class WorkflowBlocked(Record, frozen=True, kw_only=True, gc=False):
    """The run's code cannot go on; a person or fixed code is needed."""

    cause: str = ""
    message: str = ""
    stack_trace: str = ""
    recorded: str = ""
    produced: str = ""
    input_seq: int = 0
    code_version: str = ""


class WorkflowResumed(Record, frozen=True, kw_only=True, gc=False):
    """Fixed code takes an event that waited while the run was blocked."""

    input_seq: int


class ActivityScheduled(Record, frozen=True, kw_only=True, gc=False):
    """The code asked for an activity."""

    activity_id: str
    activity_type: str
    task_queue: str = ""
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    schedule_to_close_ms: int = 0
    schedule_to_start_ms: int = 0
    start_to_close_ms: int = 0
    heartbeat_ms: int = 0
    retry_policy: RetryPolicy | None = None
    priority: Priority | None = None
    cancellation_type: str = "try_cancel"
    summary: Payload | None = None
    on_exhausted: str = ""
    call_site: str = ""
    local: bool = False
    local_retry_threshold_ms: int = 0
    disable_eager_execution: bool = False


class ActivityStarted(Record, frozen=True, kw_only=True, gc=False):
    """A worker reported that it runs an attempt."""

    activity_id: str
    attempt: int
    worker_id: str = ""
    identity: str = ""
    started_ms: int = 0
    reply_partition: int = -1


class ActivityHeartbeat(Record, frozen=True, kw_only=True, gc=False):
    """An attempt left details for the next one."""

    activity_id: str
    attempt: int
    details: list[Payload] = []


class ActivityCompleted(Record, frozen=True, kw_only=True, gc=False):
    """An attempt returned."""

    activity_id: str
    attempt: int
    result: Payload | None = None
    identity: str = ""
    started_ms: int = 0


class ActivityFailed(Record, frozen=True, kw_only=True, gc=False):
    """The activity failed for good."""

    activity_id: str
    attempt: int
    failure: Failure
    retry_state: str = ""
    identity: str = ""
    started_ms: int = 0


class ActivityTimedOut(Record, frozen=True, kw_only=True, gc=False):
    """The activity timed out for good."""

    activity_id: str
    attempt: int
    timeout_type: str
    retry_state: str = ""
    failure: Failure | None = None
    started_ms: int = 0


class ActivityRetryScheduled(Record, frozen=True, kw_only=True, gc=False):
    """An attempt failed and another will follow."""

    activity_id: str
    attempt: int
    failure: Failure
    due_ms: int
    identity: str = ""
    started_ms: int = 0


class ActivityAttemptScheduled(Record, frozen=True, kw_only=True, gc=False):
    """The next task of an activity went out."""

    activity_id: str
    attempt: int
    reason: str = "retry"


class ActivityCancelRequested(Record, frozen=True, kw_only=True, gc=False):
    """The code asked an activity to cancel."""

    activity_id: str
    call_site: str = ""


class ActivityCanceled(Record, frozen=True, kw_only=True, gc=False):
    """The activity is cancelled."""

    activity_id: str
    attempt: int
    details: list[Payload] = []
    identity: str = ""


class TimerStarted(Record, frozen=True, kw_only=True, gc=False):
    """The code asked for a timer."""

    timer_id: str
    duration_ms: int
    summary: Payload | None = None
    call_site: str = ""


class TimerFired(Record, frozen=True, kw_only=True, gc=False):
    """A timer is due."""

    timer_id: str


class TimerCanceled(Record, frozen=True, kw_only=True, gc=False):
    """The code cancelled a timer."""

    timer_id: str
    call_site: str = ""


class InputTrying(Record, frozen=True, kw_only=True, gc=False):
    """The owner is about to run something that may have killed its host."""

    offset: int
    """-1 where it is no input."""
    kind: str = ""
    owner: str = ""
    id: str = ""


class InputLost(Record, frozen=True, kw_only=True, gc=False):
    """Commands were lost to retention before any host read them."""

    after: int
    upto: int


class InputRewound(Record, frozen=True, kw_only=True, gc=False):
    """The commands topic was cut below what was read."""

    offset: int
    to_offset: int


Input = (
    WorkflowStarted
    | WorkflowCancelRequested
    | WorkflowSignaled
    | WorkflowUpdateAccepted
    | ActivityCompleted
    | ActivityFailed
    | ActivityTimedOut
    | ActivityCanceled
    | TimerFired
    | ChildWorkflowStarted
    | ChildWorkflowStartFailed
    | ChildWorkflowCompleted
    | ChildWorkflowFailed
    | ChildWorkflowCanceled
    | ChildWorkflowTimedOut
    | ChildWorkflowTerminated
    | CallAnswered
)
"""Events that resume the run's code: each causes exactly one activation."""

Output = (
    ActivityScheduled
    | ActivityCancelRequested
    | TimerStarted
    | TimerCanceled
    | ChildWorkflowInitiated
    | ChildCancelRequested
    | CallInitiated
    | WorkflowUpdateCompleted
    | WorkflowCompleted
    | WorkflowFailed
    | WorkflowCanceled
    | WorkflowContinuedAsNew
    | MarkerRecorded
    | MemoUpserted
    | SearchAttributesUpserted
    | RecordEmitted
)
"""Events that the run's code asked for; they follow their input in the same transition."""

Neutral = (
    ActivityStarted
    | ActivityHeartbeat
    | ActivityRetryScheduled
    | ActivityAttemptScheduled
    | WorkflowBlocked
    | WorkflowResumed
    | WorkflowTerminated
    | WorkflowTimedOut
    | OperatorEvent
)
"""Events of a run that its code does not see."""

PartitionEvent = (
    InputTrying
    | InputLost
    | InputRewound
    | SignalBuffered
    | SignalExpired
    | RunsForgotten
    | RetentionSet
    | CheckpointSlice
)
"""Events of a partition; they stand in records without a run."""

Event = Input | Output | Neutral
INPUTS = frozenset(get_args(Input))
OUTPUTS = frozenset(get_args(Output))
CLOSING = (
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowCanceled,
    WorkflowTerminated,
    WorkflowTimedOut,
    WorkflowContinuedAsNew,
)
"""Events that end a run: it has exactly one of them, and it is the last."""
