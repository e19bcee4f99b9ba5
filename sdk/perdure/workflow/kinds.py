"""The choices that calls by workflow code may make. Enumerations only."""

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
