"""What may be asked of a host: one record a command. Pure data only; no rule lives here."""

from __future__ import annotations

from perdure_schemas.command_headers import (
    AttemptOutcome,
    AttemptReport,
    Command,
    ReadCommand,
    RoutedCommand,
    RunCommand,
)
from perdure_schemas.payloads import (
    ExternalCall,
    Failure,
    Payload,
    Priority,
    ReplyTo,
    RetryPolicy,
    RunRef,
    SignalInput,
    UpdateInput,
)


class StartWorkflow(RoutedCommand, frozen=True, kw_only=True, gc=False):
    """Starts a workflow.

    Key the record with workflow_id, partitioned by murmur2 (partitioner=murmur2 in librdkafka).
    """

    workflow_type: str
    input: list[Payload] = []
    id_reuse_policy: str = "allow_duplicate"
    id_conflict_policy: str = "fail"
    execution_timeout_ms: int = 0
    run_timeout_ms: int = 0
    task_timeout_ms: int = 0
    retry_policy: RetryPolicy | None = None
    cron_schedule: str = ""
    start_delay_ms: int = 0
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    header: dict[str, Payload] = {}
    static_summary: Payload | None = None
    static_details: Payload | None = None
    priority: Priority | None = None
    signals: list[SignalInput] = []
    update: UpdateInput | None = None
    parent: RunRef | None = None
    parent_initiated_seq: int = 0
    root: RunRef | None = None
    parent_close_policy: str = ""
    child_id: str = ""
    external: ExternalCall | None = None
    last_result: Payload | None = None
    last_failure: Failure | None = None


class CancelWorkflow(RunCommand, frozen=True, kw_only=True, gc=False):
    """Asks a run to cancel itself."""

    reason: str = ""
    child_of: RunRef | None = None
    external: ExternalCall | None = None


class TerminateWorkflow(RunCommand, frozen=True, kw_only=True, gc=False):
    """Ends a run at once; its code is not asked."""

    reason: str = ""
    details: list[Payload] = []
    child_of: RunRef | None = None


class DeleteWorkflow(RunCommand, frozen=True, kw_only=True, gc=False):
    """Forgets a closed run: it is known no more."""

    reason: str = ""


class ResetWorkflow(RunCommand, frozen=True, kw_only=True, gc=False):
    """Ends a run and begins a new one on its history up to an event."""

    reason: str = ""
    seq: int = 0
    exclude: list[str] = []
    again: bool = False


class ClaimActivity(AttemptReport, frozen=True, kw_only=True, gc=False):
    """A worker runs, or wants to run, an attempt: the report that promotes a long activity."""

    worker_id: str
    reply: ReplyTo | None = None
    wants_grant: bool = False
    started_ms: int = 0


class CompleteActivity(AttemptOutcome, frozen=True, kw_only=True, gc=False):
    """The result of an attempt."""

    result: Payload | None = None


class FailActivity(AttemptOutcome, frozen=True, kw_only=True, gc=False):
    """The failure of an attempt."""

    failure: Failure


class ConfirmActivityCanceled(AttemptOutcome, frozen=True, kw_only=True, gc=False):
    """An attempt ended because it was asked to cancel."""

    details: list[Payload] = []


class HeartbeatActivity(AttemptReport, frozen=True, kw_only=True, gc=False):
    """An attempt is alive, and may leave details for the next one."""

    details: list[Payload] = []
    reply: ReplyTo | None = None


class HandBackActivity(AttemptReport, frozen=True, kw_only=True, gc=False):
    """A worker had no slot, or is stopping: the attempt goes to another, uncounted."""

    reason: str = ""


class WorkerLease(Command, frozen=True, kw_only=True, gc=False):
    """A worker is alive; sent to every partition of the queue."""

    worker_id: str
    task_queue: str
    reply_partition: int
    lease_ms: int
    identity: str = ""
    slots: int = 0
    slots_used: int = 0
    activity_types: list[str] = []
    version: str = ""
    stopping: bool = False
    waiting: int = 0


class AwaitResult(ReadCommand, frozen=True, kw_only=True, gc=False):
    """Asks for the result of a run, answered when it has closed."""

    workflow_id: str
    run_id: str = ""
    follow_runs: bool = True


class DescribeWorkflow(ReadCommand, frozen=True, kw_only=True, gc=False):
    """Asks how a run stands."""

    workflow_id: str
    run_id: str = ""
    page_token: bytes = b""


class ReadHistory(ReadCommand, frozen=True, kw_only=True, gc=False):
    """Asks for the events of a run from a seq on."""

    workflow_id: str
    run_id: str = ""
    from_seq: int = 1
    max_bytes: int = 1000000
    wait_new: bool = False


class ListWorkflows(ReadCommand, frozen=True, kw_only=True, gc=False):
    """Asks a partition for its runs, newest first."""

    partition: int
    query: str = ""
    page_size: int = 100
    page_token: bytes = b""
    count_only: bool = False


class ReadRetention(ReadCommand, frozen=True, kw_only=True, gc=False):
    """Asks a partition how long it keeps closed runs, and what it would forget now."""

    partition: int


class DescribeTaskQueue(ReadCommand, frozen=True, kw_only=True, gc=False):
    """Asks a partition how its task queue stands."""

    partition: int


class DetachActivity(AttemptReport, frozen=True, kw_only=True, gc=False):
    """The attempt returned without a result: somebody else will report it."""

    started_ms: int = 0
