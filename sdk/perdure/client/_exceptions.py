"""The errors of a client's calls, and answers of the log as errors."""

from __future__ import annotations

from typing import Final, TypeVar

from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure.client._executions import WorkflowExecutionStatus
from perdure.exceptions import (
    ActivityError,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    PerdureError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - Temporal's name
    TimeoutType,
    WorkflowAlreadyStartedError,
)
from perdure_actors.worker.activity_context import ActivityCancellationDetails
from perdure_schemas.payloads import Record
from perdure_schemas.replies import Refused
from perdure_schemas.version import VERSION

R = TypeVar("R", bound=Record)

CAUSES_MAX: Final = 20
TIMED_OUT: Final = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
"""What a call that nobody answered in time ends with."""
_CODES: Final = {
    "not_found": RPCStatusCode.NOT_FOUND,
    "closed": RPCStatusCode.NOT_FOUND,
    "already_closed": RPCStatusCode.NOT_FOUND,
    "invalid": RPCStatusCode.INVALID_ARGUMENT,
    "unsupported": RPCStatusCode.UNIMPLEMENTED,
    "internal": RPCStatusCode.INTERNAL,
    "too_large": RPCStatusCode.RESOURCE_EXHAUSTED,
    "too_many": RPCStatusCode.RESOURCE_EXHAUSTED,
    "too_old": RPCStatusCode.FAILED_PRECONDITION,
    "busy": RPCStatusCode.RESOURCE_EXHAUSTED,
    "buffer_full": RPCStatusCode.RESOURCE_EXHAUSTED,
}


class RPCTimeoutOrCancelledError(PerdureError):
    """A call took longer than it was given, or was given up."""


class WorkflowQueryRejectedError(PerdureError):
    """A query was refused because of how its run stands."""

    def __init__(self, status: WorkflowExecutionStatus | None) -> None:
        super().__init__(f"Query rejected, workflow status: {status.name if status else 'unknown'}")
        self._status = status

    @property
    def status(self) -> WorkflowExecutionStatus | None:
        """How the run stands."""
        return self._status


class WorkflowQueryFailedError(PerdureError):
    """The handler of a query raised, or there is none."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self._message = message

    @property
    def message(self) -> str:
        """What went wrong."""
        return self._message


class WorkflowUpdateFailedError(PerdureError):
    """An update was refused by its validator, or its handler failed."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"Workflow update failed: {cause}")
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException:
        """The failure of the update."""
        assert self.__cause__ is not None
        return self.__cause__


class WorkflowUpdateRPCTimeoutOrCancelledError(RPCTimeoutOrCancelledError):
    """Nobody said in time how an update went; whether it was accepted is not known."""

    def __init__(self) -> None:
        super().__init__("Timeout or cancellation waiting for update")


class AsyncActivityCancelledError(PerdureError):
    """The activity should stop: confirm it with `report_cancellation`."""

    def __init__(self, details: ActivityCancellationDetails | None = None) -> None:
        super().__init__("Activity cancelled")
        self.details = details


class ScheduleAlreadyRunningError(PerdureError):
    """A schedule of that id exists."""

    def __init__(self) -> None:
        super().__init__("Schedule already running")


class WorkflowFailureError(PerdureError):
    """A workflow did not complete; the first line says why, the cause has the whole chain."""

    def __init__(self, *, cause: BaseException) -> None:
        super().__init__(f"Workflow execution failed: {first_telling_text(cause)}")
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException:
        """The failure of the workflow."""
        assert self.__cause__ is not None
        return self.__cause__


class WorkflowContinuedAsNewError(PerdureError):
    """A run ended by starting the next one, and its caller does not follow runs."""

    def __init__(self, new_execution_run_id: str) -> None:
        super().__init__("Workflow continued as new")
        self._new_execution_run_id = new_execution_run_id

    @property
    def new_execution_run_id(self) -> str:
        """The run that followed."""
        return self._new_execution_run_id


def first_telling_text(error: BaseException) -> str:
    """The text of the first error of a chain that says more than that a step failed."""
    for _ in range(CAUSES_MAX):
        if not isinstance(error, ActivityError | ChildWorkflowError) or error.__cause__ is None:
            break
        error = error.__cause__
    return str(error) or type(error).__name__


def failure_of_status(status: str, reason: str = "") -> FailureError:
    """The failure of a run that closed without recording one."""
    if status == "canceled":
        return CancelledError(reason or "Workflow cancelled")
    if status == "terminated":
        return TerminatedError(reason or "Workflow terminated")
    if status == "timed_out":
        return TimeoutError(
            reason or "Workflow timed out",
            type=TimeoutType.START_TO_CLOSE,
            last_heartbeat_details=[],
        )
    return FailureError(reason or f"the run ended as {status} and recorded no failure")


def refusal(
    what: str, refused: Refused, *, workflow_id: str = "", workflow_type: str = ""
) -> PerdureError:
    """The error of a refused command."""
    if refused.code == "already_started":
        error = WorkflowAlreadyStartedError(
            workflow_id, workflow_type, run_id=refused.run_id or None
        )
        # Its text is Temporal's; the note says which run, and which policy refused.
        error.add_note(f"{refused.message} (run {refused.run_id})")
        return error
    if refused.code == "unreadable":
        return RPCError(
            f"{what}: the worker cannot read the command ({refused.message}). This client is"
            f" release {VERSION}; upgrade the workers to it, or use a client of their release",
            RPCStatusCode.FAILED_PRECONDITION,
        )
    code = _CODES.get(refused.code, RPCStatusCode.FAILED_PRECONDITION)
    return RPCError(f"{what}: {refused.message or refused.code}", code)


def surprise(what: str, answer: Record) -> RPCError:
    """The error of an answer that does not belong to the question."""
    return RPCError(
        f"{what}: answered with a {type(answer).__name__}, which release {VERSION} does not expect",
        RPCStatusCode.INTERNAL,
    )


def expect(kind: type[R], what: str, answer: Record) -> R:
    """An answer as the record it must be.

    Raises the error of a refusal, and RPCError for an answer to some other question.
    """
    if isinstance(answer, kind):
        return answer
    if isinstance(answer, Refused):
        raise refusal(what, answer)
    raise surprise(what, answer)
