"""Enumerations of options of calls by workflow code."""

from __future__ import annotations

from enum import IntEnum


class ActivityCancellationType(IntEnum):
    """What cancelling an activity does."""

    TRY_CANCEL = 0
    """Ask it to stop, and end the wait at once."""
    WAIT_CANCELLATION_COMPLETED = 1
    """Ask it to stop, and wait until it has."""
    ABANDON = 2
    """End the wait, and leave it alone."""


class ChildWorkflowCancellationType(IntEnum):
    """What cancelling a child does."""

    ABANDON = 0
    """End the wait, and leave it alone."""
    TRY_CANCEL = 1
    """Ask it to cancel itself, and end the wait at once."""
    WAIT_CANCELLATION_COMPLETED = 2
    """Ask it to cancel itself, and wait until it has ended."""
    WAIT_CANCELLATION_REQUESTED = 3
    """Ask it to cancel itself, and wait until it has been asked."""


class ParentClosePolicy(IntEnum):
    """What becomes of a child when its parent closes."""

    UNSPECIFIED = 0
    TERMINATE = 1
    ABANDON = 2
    REQUEST_CANCEL = 3
