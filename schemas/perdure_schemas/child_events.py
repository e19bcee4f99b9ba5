"""Children, and calls of other workflows, as a run's history tells them. Pure data only."""

from __future__ import annotations

from perdure_schemas.payloads import (
    Failure,
    Payload,
    Priority,
    Record,
    RetryPolicy,
    RunRef,
    SignalInput,
)


class ChildWorkflowInitiated(Record, frozen=True, kw_only=True, gc=False):
    """The code asked for a child workflow."""

    child_id: str
    workflow_id: str
    workflow_type: str
    task_queue: str = ""
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    execution_timeout_ms: int = 0
    run_timeout_ms: int = 0
    task_timeout_ms: int = 0
    parent_close_policy: str = "terminate"
    cancellation_type: str = "wait_cancellation_completed"
    id_reuse_policy: str = "allow_duplicate"
    retry_policy: RetryPolicy | None = None
    cron_schedule: str = ""
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    static_summary: Payload | None = None
    static_details: Payload | None = None
    priority: Priority | None = None
    last_result: Payload | None = None
    last_failure: Failure | None = None
    call_site: str = ""


class ChildWorkflowStarted(Record, frozen=True, kw_only=True, gc=False):
    """A child runs."""

    child_id: str
    run_id: str


class ChildWorkflowStartFailed(Record, frozen=True, kw_only=True, gc=False):
    """A child could not be started."""

    child_id: str
    code: str
    message: str = ""


class ChildWorkflowCompleted(Record, frozen=True, kw_only=True, gc=False):
    """A child returned."""

    child_id: str
    run_id: str = ""
    result: Payload | None = None


class ChildWorkflowFailed(Record, frozen=True, kw_only=True, gc=False):
    """A child failed for good."""

    child_id: str
    run_id: str = ""
    failure: Failure
    retry_state: str = ""


class ChildWorkflowCanceled(Record, frozen=True, kw_only=True, gc=False):
    """A child ended cancelled."""

    child_id: str
    run_id: str = ""
    details: list[Payload] = []


class ChildWorkflowTimedOut(Record, frozen=True, kw_only=True, gc=False):
    """A child outlived its time."""

    child_id: str
    run_id: str = ""
    retry_state: str = ""


class ChildWorkflowTerminated(Record, frozen=True, kw_only=True, gc=False):
    """A child was ended from outside."""

    child_id: str
    run_id: str = ""
    reason: str = ""


class ChildCancelRequested(Record, frozen=True, kw_only=True, gc=False):
    """The code asked a child to cancel."""

    child_id: str
    reason: str = ""
    terminate: bool = False
    call_site: str = ""


class ExternalSignalInitiated(Record, frozen=True, kw_only=True, gc=False):
    """The code sent a signal to another workflow."""

    call_id: str
    target: RunRef
    signal_name: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    child_id: str = ""
    call_site: str = ""


class ExternalSignaled(Record, frozen=True, kw_only=True, gc=False):
    """Another workflow took the signal."""

    call_id: str
    run_id: str = ""


class ExternalSignalFailed(Record, frozen=True, kw_only=True, gc=False):
    """Another workflow did not take the signal."""

    call_id: str
    code: str
    message: str = ""


class ExternalCancelInitiated(Record, frozen=True, kw_only=True, gc=False):
    """The code asked another workflow to cancel."""

    call_id: str
    target: RunRef
    reason: str = ""
    call_site: str = ""


class ExternalCancelRequested(Record, frozen=True, kw_only=True, gc=False):
    """Another workflow was asked to cancel."""

    call_id: str
    run_id: str = ""


class ExternalCancelFailed(Record, frozen=True, kw_only=True, gc=False):
    """Another workflow could not be asked to cancel."""

    call_id: str
    code: str
    message: str = ""


class ExternalStartInitiated(Record, frozen=True, kw_only=True, gc=False):
    """The code started another workflow that is no child, or signalled it with a start."""

    call_id: str
    workflow_id: str
    workflow_type: str
    task_queue: str = ""
    input: list[Payload] = []
    header: dict[str, Payload] = {}
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
    static_summary: Payload | None = None
    static_details: Payload | None = None
    priority: Priority | None = None
    signals: list[SignalInput] = []
    call_site: str = ""

    @property
    def target(self) -> RunRef:
        """The other workflow, whichever of its runs takes it."""
        return RunRef(workflow_id=self.workflow_id, task_queue=self.task_queue)


class ExternalStarted(Record, frozen=True, kw_only=True, gc=False):
    """Another workflow was started, or was found running."""

    call_id: str
    run_id: str


class ExternalStartFailed(Record, frozen=True, kw_only=True, gc=False):
    """Another workflow could not be started."""

    call_id: str
    code: str
    message: str = ""


CallInitiated = ExternalSignalInitiated | ExternalCancelInitiated | ExternalStartInitiated
CallAnswered = (
    ExternalSignaled
    | ExternalSignalFailed
    | ExternalCancelRequested
    | ExternalCancelFailed
    | ExternalStarted
    | ExternalStartFailed
)
