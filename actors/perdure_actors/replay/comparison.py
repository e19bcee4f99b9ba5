"""What the history recorded against what the code now asks for, in words people can act on."""

from __future__ import annotations

from collections.abc import Sequence

from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.events import (
    ActivityCancelRequested,
    ActivityScheduled,
    TimerCanceled,
    TimerStarted,
    WorkflowCanceled,
    WorkflowCompleted,
    WorkflowContinuedAsNew,
    WorkflowFailed,
)
from perdure_schemas.payloads import Record

_ADVICE = (
    "Restore the order and the names of its steps, or let old runs finish on the old code; the "
    "run goes on by itself as soon as the code fits its history."
)


def compare(
    recorded: Sequence[Record],
    produced: Sequence[Record],
    *,
    where: str,
    waiting_at: str,
) -> None:
    """Check that an activation asked for what its history holds.

    Raises BlockedError with both sides of the first difference.
    """
    if len(recorded) == len(produced) and all(map(_is_same, recorded, produced)):
        return
    index = 0
    while index < min(len(recorded), len(produced)):
        if not _is_same(recorded[index], produced[index]):
            break
        index += 1
    old = describe(recorded[index]) if index < len(recorded) else "nothing more"
    if index < len(produced):
        new = describe(produced[index])
    else:
        new = f"nothing more; it waits at {waiting_at}" if waiting_at else "nothing more"
    raise BlockedError(
        "nondeterminism",
        f"{where}: the history recorded {old}, but the code now asks for {new}. {_ADVICE}",
        recorded=old,
        produced=new,
    )


def _is_same(recorded: Record, produced: Record) -> bool:
    return type(recorded) is type(produced) and _identity(recorded) == _identity(produced)


def _identity(output: Record) -> object:
    """Sequence at creation and name; what else a step carries may change with the code."""
    if isinstance(output, ActivityScheduled):
        return output.activity_id, output.activity_type
    if isinstance(output, ActivityCancelRequested):
        return output.activity_id
    if isinstance(output, TimerStarted | TimerCanceled):
        return output.timer_id
    if isinstance(output, WorkflowContinuedAsNew):
        return output.workflow_type
    return None


def describe(output: Record) -> str:
    """One output in words, with its call site."""
    if isinstance(output, ActivityScheduled):
        what = f"activity {output.activity_type!r} (id {output.activity_id})"
    elif isinstance(output, ActivityCancelRequested):
        what = f"cancelling activity {output.activity_id}"
    elif isinstance(output, TimerStarted):
        what = f"timer {output.timer_id} of {output.duration_ms / 1000:g} s"
    elif isinstance(output, TimerCanceled):
        what = f"cancelling timer {output.timer_id}"
    else:
        what = _ENDS[type(output)]
    site = getattr(output, "call_site", "")
    return f"{what} at {site}" if site else what


_ENDS: dict[type[Record], str] = {
    WorkflowCompleted: "the run's return",
    WorkflowFailed: "the run's failure",
    WorkflowCanceled: "the run's end by cancellation",
    WorkflowContinuedAsNew: "continuing as a new run",
}
