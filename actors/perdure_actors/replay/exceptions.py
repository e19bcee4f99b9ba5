"""The exceptions that cross a failure: what user code raises and catches. No conversion lives here.

They are Temporal's, by name and by argument, and users know them as perdure.exceptions; they
stand here because the replay of a run raises them into its code.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from enum import IntEnum
from typing import Any

from perdure_schemas.payloads import Failure

_PUBLIC = "perdure.exceptions"


class RetryState(IntEnum):
    """Why no further attempt was made."""

    IN_PROGRESS = 1
    NON_RETRYABLE_FAILURE = 2
    TIMEOUT = 3
    MAXIMUM_ATTEMPTS_REACHED = 4
    RETRY_POLICY_NOT_SET = 5
    INTERNAL_SERVER_ERROR = 6
    CANCEL_REQUESTED = 7

    __module__ = _PUBLIC


class TimeoutType(IntEnum):
    """Which timeout it was."""

    START_TO_CLOSE = 1
    SCHEDULE_TO_START = 2
    SCHEDULE_TO_CLOSE = 3
    HEARTBEAT = 4

    __module__ = _PUBLIC


class ApplicationErrorCategory(IntEnum):
    """How loud an application error is: a benign one is expected, and not logged as an error."""

    UNSPECIFIED = 0
    BENIGN = 1

    __module__ = _PUBLIC


class PerdureError(Exception):
    """Any error of Perdure's own."""

    __module__ = _PUBLIC

    @property
    def cause(self) -> BaseException | None:
        """The error that led to this one."""
        return self.__cause__


class FailureError(PerdureError):
    """An error that is recorded as a failure: raised in a workflow, it fails the run."""

    __module__ = _PUBLIC

    def __init__(
        self,
        message: str,
        *,
        failure: Failure | None = None,
        exc_args: tuple[Any, ...] | None = None,
    ) -> None:
        super().__init__(*(exc_args or (message,)))
        self._message = message
        self._failure = failure

    @property
    def message(self) -> str:
        """What went wrong."""
        return self._message

    @property
    def failure(self) -> Failure | None:
        """The record this error was read from, if it was."""
        return self._failure

    def __reduce__(self) -> tuple[Any, ...]:
        # A process executor sends it home; most constructors here take more than the message.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    kind: type[FailureError], args: tuple[Any, ...], state: dict[str, Any]
) -> FailureError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class ApplicationError(FailureError):
    """An error of the user's own code, as it wants to be recorded and retried."""

    __module__ = _PUBLIC

    def __init__(
        self,
        message: str,
        *details: Any,
        type: str | None = None,
        non_retryable: bool = False,
        next_retry_delay: timedelta | None = None,
        category: ApplicationErrorCategory = ApplicationErrorCategory.UNSPECIFIED,
    ) -> None:
        super().__init__(message, exc_args=(message if not type else f"{type}: {message}",))
        self._details = details
        self._type = type
        self._non_retryable = non_retryable
        self._next_retry_delay = next_retry_delay
        self._category = category

    @property
    def details(self) -> Sequence[Any]:
        """Values that travel with the error."""
        return self._details

    @property
    def type(self) -> str | None:
        """The name that a retry policy's non_retryable_error_types knows it by."""
        return self._type

    @property
    def non_retryable(self) -> bool:
        """Whether no further attempt may be made, whatever the retry policy says."""
        return self._non_retryable

    @property
    def next_retry_delay(self) -> timedelta | None:
        """The delay before the next attempt, in place of the retry policy's."""
        return self._next_retry_delay

    @property
    def category(self) -> ApplicationErrorCategory:
        """How loud this error is."""
        return self._category


class CancelledError(FailureError):
    """Something ended because it was asked to cancel."""

    __module__ = _PUBLIC

    def __init__(self, message: str = "Cancelled", *details: Any) -> None:
        super().__init__(message)
        self._details = details

    @property
    def details(self) -> Sequence[Any]:
        """Values that travel with the error."""
        return self._details


class TerminatedError(FailureError):
    """A run was ended from outside."""

    __module__ = _PUBLIC

    def __init__(self, message: str, *details: Any) -> None:
        super().__init__(message)
        self._details = details

    @property
    def details(self) -> Sequence[Any]:
        """Values that travel with the error."""
        return self._details


class TimeoutError(FailureError):
    """A run or an activity outlived one of its timeouts."""

    __module__ = _PUBLIC

    def __init__(
        self, message: str, *, type: TimeoutType | None, last_heartbeat_details: Sequence[Any]
    ) -> None:
        super().__init__(message)
        self._type = type
        self._last_heartbeat_details = last_heartbeat_details

    @property
    def type(self) -> TimeoutType | None:
        """Which timeout it was."""
        return self._type

    @property
    def last_heartbeat_details(self) -> Sequence[Any]:
        """What the last heartbeat left."""
        return self._last_heartbeat_details


class ServerError(FailureError):
    """An error of the engine's side."""

    __module__ = _PUBLIC

    def __init__(self, message: str, *, non_retryable: bool = False) -> None:
        super().__init__(message)
        self._non_retryable = non_retryable

    @property
    def non_retryable(self) -> bool:
        """Whether no further attempt may be made."""
        return self._non_retryable


class ActivityError(FailureError):
    """An activity failed for good; its cause says how."""

    __module__ = _PUBLIC

    def __init__(
        self,
        message: str,
        *,
        scheduled_event_id: int,
        started_event_id: int,
        identity: str,
        activity_type: str,
        activity_id: str,
        retry_state: RetryState | None,
    ) -> None:
        super().__init__(message)
        self._scheduled_event_id = scheduled_event_id
        self._started_event_id = started_event_id
        self._identity = identity
        self._activity_type = activity_type
        self._activity_id = activity_id
        self._retry_state = retry_state

    @property
    def scheduled_event_id(self) -> int:
        """The seq of the event that scheduled it; 0 when not known."""
        return self._scheduled_event_id

    @property
    def started_event_id(self) -> int:
        """The seq of the event that said it runs; 0 when there is none."""
        return self._started_event_id

    @property
    def identity(self) -> str:
        """Who ran it last."""
        return self._identity

    @property
    def activity_type(self) -> str:
        """The activity's name."""
        return self._activity_type

    @property
    def activity_id(self) -> str:
        """The activity's id in its run."""
        return self._activity_id

    @property
    def retry_state(self) -> RetryState | None:
        """Why no further attempt was made."""
        return self._retry_state


class ChildWorkflowError(FailureError):
    """A child workflow failed; its cause says how."""

    __module__ = _PUBLIC

    def __init__(
        self,
        message: str,
        *,
        namespace: str,
        workflow_id: str,
        run_id: str,
        workflow_type: str,
        initiated_event_id: int,
        started_event_id: int,
        retry_state: RetryState | None,
    ) -> None:
        super().__init__(message)
        self._namespace = namespace
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._workflow_type = workflow_type
        self._initiated_event_id = initiated_event_id
        self._started_event_id = started_event_id
        self._retry_state = retry_state

    @property
    def namespace(self) -> str:
        """The child's namespace; empty when it is the parent's."""
        return self._namespace

    @property
    def workflow_id(self) -> str:
        """The child's workflow id."""
        return self._workflow_id

    @property
    def run_id(self) -> str:
        """The child's run id."""
        return self._run_id

    @property
    def workflow_type(self) -> str:
        """The child's workflow type."""
        return self._workflow_type

    @property
    def initiated_event_id(self) -> int:
        """The seq of the event that asked for it; 0 when not known."""
        return self._initiated_event_id

    @property
    def started_event_id(self) -> int:
        """The seq of the event that said it runs; 0 when there is none."""
        return self._started_event_id

    @property
    def retry_state(self) -> RetryState | None:
        """Why no further run was made."""
        return self._retry_state


class WorkflowAlreadyStartedError(FailureError):
    """A start was refused because a run of that id exists."""

    __module__ = _PUBLIC

    def __init__(
        self,
        workflow_id: str,
        workflow_type: str,
        *,
        run_id: str | None = None,
        first_run_id: str | None = None,
    ) -> None:
        super().__init__("Workflow execution already started")
        self.workflow_id = workflow_id
        self.workflow_type = workflow_type
        self.run_id = run_id
        self.first_run_id = first_run_id


def is_cancelled_exception(exception: BaseException) -> bool:
    """Whether an exception says that something was cancelled, directly or as a step's cause."""
    return isinstance(exception, asyncio.CancelledError | CancelledError) or (
        isinstance(exception, ActivityError | ChildWorkflowError)
        and isinstance(exception.cause, CancelledError)
    )
