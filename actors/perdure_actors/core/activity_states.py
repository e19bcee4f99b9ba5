"""The states of an activity as a table: (phase, hold) x what happens -> phase, hold and effect.

The phase says where its attempt is. The hold says what is to become of the attempt after it:
whether somebody paused the activity, let it go on while its worker may still stop for the pause,
reset it, or whether it is out of attempts. Workers' reports, deadlines and people decide only
which event there is; what follows from an event is here, and docs/activity-states.md is made of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from perdure_actors.core.retry import OPERATOR
from perdure_schemas.events import (
    ActivityAttemptScheduled,
    ActivityCanceled,
    ActivityCancelRequested,
    ActivityCompleted,
    ActivityFailed,
    ActivityHeartbeat,
    ActivityRetryScheduled,
    ActivityScheduled,
    ActivityStarted,
    ActivityTimedOut,
)
from perdure_schemas.operator_events import (
    ActivityDetached,
    ActivityOptionsUpdated,
    ActivityPaused,
    ActivityReset,
    ActivityUnpaused,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEDULED: Final = "scheduled"
"""The task of its attempt is out."""
STARTED: Final = "started"
"""Its attempt is known to run."""
BACKING_OFF: Final = "backing_off"
"""The next attempt is due at a time."""
PAUSED: Final = "paused"
"""Nobody runs it, and nothing is due."""
GONE: Final = "gone"
"""It has its one outcome."""

FREE: Final = ""
HELD: Final = "held"
"""Somebody paused it: no further attempt starts."""
LIFTED: Final = "lifted"
"""It was paused and goes on; the worker of its attempt was told to stop, and may."""
RESET: Final = "reset"
"""The attempt after the one under way is the first again."""
RESET_HELD: Final = "reset_held"
EXHAUSTED: Final = "exhausted"
"""It is out of attempts, or of time, and waits for a person."""
EXHAUSTED_HELD: Final = "exhausted_held"

UNDER_WAY: Final = (SCHEDULED, STARTED)
ON_HOLD: Final = (HELD, RESET_HELD, EXHAUSTED_HELD)
STARTS_OVER: Final = (RESET, RESET_HELD)
PARKED: Final = (EXHAUSTED, EXHAUSTED_HELD)

TASK: Final = "task"
"""The effect that a task goes out. Any other is why the attempt under way should stop."""
NOT_TO_LOCAL: Final = ("paused", "reset")
"""What a local attempt is not told: it ends soon by itself."""


class HasState(Protocol):
    """An activity, as the table sees it."""

    @property
    def scheduled(self) -> ActivityScheduled:
        """What was asked for."""

    @property
    def state(self) -> str:
        """Its phase."""

    @property
    def hold(self) -> str:
        """Its hold."""


class Row(NamedTuple):
    """What one thing that happens makes of an activity in some states."""

    event: str
    phases: tuple[str, ...]
    holds: tuple[str, ...]
    phase: str = ""
    """Where it leads; empty for where it is."""
    hold: str | None = None
    """None for the hold that it has."""
    effect: str = ""


_RUNNING = (FREE, HELD, LIFTED, RESET, RESET_HELD)
"""The holds of an activity whose attempt is under way."""
_WAITS = (BACKING_OFF,)
_STANDS = (PAUSED,)
_STANDING = (HELD, EXHAUSTED, EXHAUSTED_HELD)

ROWS: Final = (
    # Its attempts.
    Row("started", (SCHEDULED,), _RUNNING, STARTED),
    Row("detached", UNDER_WAY, _RUNNING, STARTED),
    Row("heartbeat", UNDER_WAY, _RUNNING),
    Row("attempt failed", UNDER_WAY, (FREE, LIFTED, RESET), BACKING_OFF, FREE, "timed_out"),
    Row("attempt failed", UNDER_WAY, (HELD, RESET_HELD), PAUSED, HELD, "timed_out"),
    Row("next attempt", _WAITS, (FREE,), SCHEDULED, FREE, TASK),
    Row("next attempt", (STARTED,), (FREE,), SCHEDULED, FREE, TASK),
    Row("next attempt", UNDER_WAY, (LIFTED, RESET), SCHEDULED, FREE, TASK),
    Row("next attempt", _STANDS, (EXHAUSTED,), SCHEDULED, FREE, TASK),
    # What people do.
    Row("paused", UNDER_WAY, (FREE, LIFTED), "", HELD, "paused"),
    Row("paused", UNDER_WAY, (RESET,), "", RESET_HELD, "paused"),
    Row("paused", _WAITS, (FREE,), PAUSED, HELD),
    Row("paused", _STANDS, (EXHAUSTED,), "", EXHAUSTED_HELD),
    Row("attempt unused", UNDER_WAY, (HELD, RESET_HELD), PAUSED, HELD),
    Row("unpaused", UNDER_WAY, (HELD,), "", LIFTED),
    Row("unpaused", UNDER_WAY, (RESET_HELD,), "", RESET),
    Row("unpaused from 1", UNDER_WAY, (HELD, RESET_HELD), "", RESET),
    Row("unpaused", _STANDS, _STANDING, BACKING_OFF, FREE),
    Row("unpaused from 1", _STANDS, _STANDING, BACKING_OFF, FREE),
    Row("reset", UNDER_WAY, _RUNNING, "", RESET, "reset"),
    Row("reset", _WAITS, (FREE,)),
    Row("reset", _STANDS, _STANDING, BACKING_OFF, FREE),
    Row("reset, held", UNDER_WAY, (HELD, RESET_HELD), "", RESET_HELD, "reset"),
    Row("reset, held", _STANDS, (HELD, EXHAUSTED_HELD)),
    # It is out of attempts or of time, and was asked to wait for a person then.
    Row("exhausted", UNDER_WAY, (FREE, LIFTED, RESET), PAUSED, EXHAUSTED, "timed_out"),
    Row("exhausted", UNDER_WAY, (HELD, RESET_HELD), PAUSED, EXHAUSTED_HELD, "timed_out"),
    Row("exhausted", _WAITS, (FREE,), PAUSED, EXHAUSTED),
    Row("exhausted", _STANDS, (HELD,), "", EXHAUSTED_HELD),
    # What moves nothing.
    Row("cancel requested", UNDER_WAY, _RUNNING, effect="cancel_requested"),
    Row("cancel requested", _WAITS, (FREE,)),
    Row("cancel requested", _STANDS, _STANDING),
    Row("options", UNDER_WAY, _RUNNING),
    Row("options", _WAITS, (FREE,)),
    Row("options", _STANDS, _STANDING),
    # Its one outcome.
    Row("completed", UNDER_WAY, _RUNNING, GONE),
    Row("failed", UNDER_WAY, _RUNNING, GONE),
    Row("failed by a person", UNDER_WAY, _RUNNING, GONE, effect="not_found"),
    Row("failed by a person", _WAITS, (FREE,), GONE),
    Row("failed by a person", _STANDS, _STANDING, GONE),
    Row("timed out", UNDER_WAY, _RUNNING, GONE, effect="timed_out"),
    Row("timed out", _WAITS, (FREE,), GONE),
    Row("timed out", _STANDS, (HELD,), GONE),
    Row("canceled", UNDER_WAY, _RUNNING, GONE),
    Row("canceled", _WAITS, (FREE,), GONE),
    Row("canceled", _STANDS, _STANDING, GONE),
)
"""The whole life of an activity, from the schedule on, which is (scheduled, free)."""

ActivityEvent = (
    ActivityStarted
    | ActivityDetached
    | ActivityHeartbeat
    | ActivityRetryScheduled
    | ActivityAttemptScheduled
    | ActivityPaused
    | ActivityUnpaused
    | ActivityReset
    | ActivityOptionsUpdated
    | ActivityCancelRequested
    | ActivityCompleted
    | ActivityFailed
    | ActivityTimedOut
    | ActivityCanceled
)
_NAMES: Final[dict[type[ActivityEvent], str]] = {
    ActivityStarted: "started",
    ActivityDetached: "detached",
    ActivityHeartbeat: "heartbeat",
    ActivityRetryScheduled: "attempt failed",
    ActivityAttemptScheduled: "next attempt",
    ActivityOptionsUpdated: "options",
    ActivityCancelRequested: "cancel requested",
    ActivityCompleted: "completed",
    ActivityTimedOut: "timed out",
    ActivityCanceled: "canceled",
}


def cells(rows: tuple[Row, ...]) -> Iterator[tuple[tuple[str, str, str], Row]]:
    """Each state that each row is for."""
    for row in rows:
        for phase in row.phases:
            for hold in row.holds:
                yield (phase, hold, row.event), row


_CELLS: Final = dict(cells(ROWS))
_FIRST: Final = {row.event: row for row in reversed(ROWS)}


def name_of(activity: HasState, event: ActivityEvent) -> str:
    """What an event of an activity is to the table."""
    if isinstance(event, ActivityPaused):
        if event.failure is not None:
            return "exhausted"
        return "attempt unused" if event.attempt else "paused"
    if isinstance(event, ActivityUnpaused):
        return "unpaused from 1" if event.reset_attempts else "unpaused"
    if isinstance(event, ActivityReset):
        return "reset, held" if event.keep_paused and activity.hold in ON_HOLD else "reset"
    if isinstance(event, ActivityFailed):
        return "failed by a person" if event.retry_state == OPERATOR else "failed"
    return _NAMES[type(event)]


def row_of(activity: HasState, event: ActivityEvent) -> Row:
    """The row of what happens to an activity in its state.

    What was decided by rules that had an error in them is in the log, and is read all the same:
    it leads where it leads from the first state that it is known in.
    """
    name = name_of(activity, event)
    return _CELLS.get((activity.state, activity.hold, name)) or _FIRST[name]
