"""Request bodies, one Struct each. Data only; openapi.json is made from it."""

from __future__ import annotations

import msgspec

from perdure_schemas.answers.reset_points import LAST_TASK


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all request bodies are: JSON without a field that nobody reads."""


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


class Reset(Body, frozen=True, kw_only=True):
    """Ends a run and begins a new one from an event of its history."""

    workflow_id: str
    run_id: str = ""
    task_queue: str = ""
    to: str = LAST_TASK
    """first-workflow-task, last-workflow-task, first-activity, last-activity, an event's number,
    build:ID or time:ISO."""
    reason: str = ""
    exclude: list[str] = []
    """What of later messages is left out: signal, update."""
    again: bool = False
    """Whether a run that was reset before is reset once more."""
    request_id: str = ""


class Delete(Body, frozen=True, kw_only=True):
    """Forgets a closed run."""

    workflow_id: str
    run_id: str = ""
    task_queue: str = ""
    reason: str = ""
    request_id: str = ""


class SignIn(Body, frozen=True, kw_only=True):
    """A token that a person typed, for a session of their browser."""

    token: str


class OfRun(Body, frozen=True, kw_only=True):
    """Names a run: without a run id the newest, without a task queue the one that knows the id."""

    workflow_id: str
    run_id: str = ""
    task_queue: str = ""
    request_id: str = ""


class Signal(OfRun, frozen=True, kw_only=True):
    """Sends a signal; `input` is its arguments as JSON, in order.

    It may wait `buffer_ms` for its workflow to be started.
    """

    signal_name: str
    input: list[msgspec.Raw] = []
    buffer_ms: int = 0


class Query(OfRun, frozen=True, kw_only=True):
    """Asks the code of a run for a value; nothing is written."""

    query_name: str
    input: list[msgspec.Raw] = []
    reject_condition: str = "none"


class Update(OfRun, frozen=True, kw_only=True):
    """Asks a run for an update, and waits until it has reached a stage."""

    update_name: str
    update_id: str = ""
    input: list[msgspec.Raw] = []
    stage: str = "completed"
    wait_s: int = 10


class OfActivity(OfRun, frozen=True, kw_only=True):
    """Names a pending activity of a run by its id, or all of a type."""

    activity_id: str = ""
    activity_type: str = ""


class PauseAct(OfActivity, frozen=True, kw_only=True):
    """Lets no further attempt begin."""

    reason: str = ""


class UnpauseAct(OfActivity, frozen=True, kw_only=True):
    """Lets a paused activity go on, at once."""

    reset_attempts: bool = False
    reset_heartbeat: bool = False


class ResetAct(OfActivity, frozen=True, kw_only=True):
    """Starts an activity over from attempt 1."""

    keep_paused: bool = False
    reset_heartbeat: bool = False


class RetryAct(OfActivity, frozen=True, kw_only=True):
    """Starts the next attempt at once."""


class FailAct(OfActivity, frozen=True, kw_only=True):
    """Fails an activity for good, as its code would have."""

    message: str
    type: str = ""


class CreateSchedule(Body, frozen=True, kw_only=True):
    """Makes a schedule; `input` is its workflows' arguments as JSON, in order."""

    schedule_id: str
    workflow_type: str
    workflow_id: str
    task_queue: str
    input: list[msgspec.Raw] = []
    cron_expressions: list[str] = []
    every_ms: list[int] = []
    time_zone: str = ""
    jitter_ms: int = 0
    overlap: str = "skip"
    catchup_window_ms: int = 0
    pause_on_failure: bool = False
    paused: bool = False
    note: str = ""
    remaining_actions: int = 0
    trigger_immediately: bool = False


class OfSchedule(Body, frozen=True, kw_only=True):
    """Names a schedule."""

    schedule_id: str


class PauseSchedule(OfSchedule, frozen=True, kw_only=True):
    """Lets a schedule take no actions."""

    note: str = ""


class UnpauseSchedule(OfSchedule, frozen=True, kw_only=True):
    """Lets a schedule take actions again, from now on."""

    note: str = ""


class TriggerSchedule(OfSchedule, frozen=True, kw_only=True):
    """Lets a schedule take an action now; without `overlap`, by its own policy."""

    overlap: str = ""


class BackfillSchedule(OfSchedule, frozen=True, kw_only=True):
    """Lets a schedule take the actions of a span of time now; both ends are in it."""

    from_ms: int
    to_ms: int
    overlap: str = ""


class DeleteSchedule(OfSchedule, frozen=True, kw_only=True):
    """Ends a schedule; what it has started goes on."""
