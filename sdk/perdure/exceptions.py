"""Exceptions that users raise and catch, under Temporal's names. Names only."""

from __future__ import annotations

from perdure_actors.replay.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    PerdureError,
    RetryState,
    ServerError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - Temporal's name
    TimeoutType,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)

TemporalError = PerdureError

__all__ = [
    "ActivityError",
    "ApplicationError",
    "ApplicationErrorCategory",
    "CancelledError",
    "ChildWorkflowError",
    "FailureError",
    "PerdureError",
    "RetryState",
    "ServerError",
    "TemporalError",
    "TerminatedError",
    "TimeoutError",
    "TimeoutType",
    "WorkflowAlreadyStartedError",
    "is_cancelled_exception",
]
