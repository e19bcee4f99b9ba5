"""What the history recorded against what the code now asks for, in words people can act on."""

from __future__ import annotations

import struct
from asyncio import Task
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

from perdure_actors.core.markers import CHANGE_VERSION, PATCH
from perdure_actors.replay.blocked import BlockedError
from perdure_actors.replay.call_site import waiting_sites
from perdure_schemas.avro import write
from perdure_schemas.child_events import (
    ChildCancelRequested,
    ChildWorkflowInitiated,
    ExternalCancelInitiated,
    ExternalSignalInitiated,
    ExternalStartInitiated,
)
from perdure_schemas.events import (
    ActivityAttemptScheduled,
    ActivityCancelRequested,
    ActivityHeartbeat,
    ActivityRetryScheduled,
    ActivityScheduled,
    ActivityStarted,
    TimerCanceled,
    TimerStarted,
    WorkflowCanceled,
    WorkflowCompleted,
    WorkflowContinuedAsNew,
    WorkflowFailed,
)
from perdure_schemas.fact_events import (
    MarkerRecorded,
    MemoUpserted,
    RecordEmitted,
    SearchAttributesUpserted,
)
from perdure_schemas.message_events import WorkflowUpdateCompleted
from perdure_schemas.payloads import Record

_ADVICE = (
    "Restore the order and the names of its steps, or let old runs finish on the old code; the "
    "run goes on by itself as soon as the code fits its history."
)


def fits(recorded: Sequence[Record], produced: Sequence[Record]) -> bool:
    """Whether an activation asked for just what its history holds."""
    return len(recorded) == len(produced) and all(map(_is_same, recorded, produced))


def compare(
    recorded: Sequence[Record],
    produced: Sequence[Record],
    *,
    where: str,
    tasks: Iterable[Task[Any]],
) -> None:
    """Check that an activation asked for what its history holds, but for deprecated patches.

    Raises BlockedError with both sides of the first difference; tasks are those of the code.
    """
    recorded = _without_deprecated(recorded)
    produced = [_as_written(output) for output in _without_deprecated(produced)]
    if fits(recorded, produced):
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
        waiting_at = waiting_sites(tasks)
        new = f"nothing more; it waits at {waiting_at}" if waiting_at else "nothing more"
    advice = _advice_of(recorded[index:], produced[index:])
    raise BlockedError(
        "nondeterminism",
        f"{where}: the history recorded {old}, but the code now asks for {new}. {advice}",
        recorded=old,
        produced=new,
    )


def _as_written(output: Record) -> Record:
    """An output as its history would have it: text that is no UTF-8 is escaped there."""
    try:
        return write(output)[0]
    except (ValueError, TypeError, AttributeError, struct.error):
        return output


def _without_deprecated(outputs: Sequence[Record]) -> list[Record]:
    """What must fit: code may ask for a deprecated patch, or do so no longer."""
    return [
        output for output in outputs if not (type(output) is MarkerRecorded and output.deprecated)
    ]


def _advice_of(recorded: Sequence[Record], produced: Sequence[Record]) -> str:
    """What to do, by what is missing first."""
    missing = recorded[0] if recorded else None
    if type(missing) is MarkerRecorded and missing.kind == PATCH and missing not in produced:
        name = missing.name
        return (
            f"The run took patch {name!r}, and the code asks for it there no longer: it was"
            f" removed too early, or moved. Put workflow.patched({name!r}) back, or"
            f" workflow.deprecate_patch({name!r}) in its place, and remove that only when no run"
            f" with the patch is open (list them by {CHANGE_VERSION} = {name!r}). The run goes on"
            " by itself as soon as the code fits its history."
        )
    return _ADVICE


def _is_same(recorded: Record, produced: Record) -> bool:
    kind = type(recorded)
    if kind is not type(produced):
        return False
    identity = _IDENTITY.get(kind)
    return identity is None or identity(recorded) == identity(produced)


IDENTITY: Final[dict[type[Record], tuple[str, ...]]] = {
    ActivityScheduled: ("activity_id", "activity_type"),
    ActivityCancelRequested: ("activity_id",),
    TimerStarted: ("timer_id",),
    TimerCanceled: ("timer_id",),
    ChildWorkflowInitiated: ("child_id", "workflow_type", "workflow_id"),
    ChildCancelRequested: ("child_id",),
    ExternalCancelInitiated: ("call_id", "target.workflow_id"),
    ExternalSignalInitiated: ("call_id", "target.workflow_id", "signal_name"),
    ExternalStartInitiated: ("call_id", "workflow_type", "workflow_id"),
    WorkflowUpdateCompleted: ("update_id",),
    WorkflowContinuedAsNew: ("workflow_type",),
    MarkerRecorded: ("kind", "name"),
    RecordEmitted: ("topic",),
}
"""Sequence at creation and name; what else a step carries may change with the code."""

_IDENTITY: Final[dict[type[Record], Callable[[Any], object]]] = {
    **{kind: attrgetter(*names) for kind, names in IDENTITY.items()},
    MemoUpserted: lambda output: sorted(output.memo),
    SearchAttributesUpserted: lambda output: sorted(output.search_attributes),
}


HEADS: Final[dict[type[Record], tuple[str, ...]]] = {
    **{
        kind: tuple(name.partition(".")[0] for name in names)
        for kind, names in IDENTITY.items()
        if kind is not MarkerRecorded
    },
    ActivityStarted: ("activity_id",),
    ActivityHeartbeat: ("activity_id",),
    ActivityRetryScheduled: ("activity_id",),
    ActivityAttemptScheduled: ("activity_id",),
}
"""What replay must know of what the code asked for, as long as it fits, and of what it never sees.

A marker is read whole, because the code is given its value.
"""


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
    elif isinstance(output, MarkerRecorded):
        what = f"{output.kind.replace('_', ' ')} {output.name!r}"
    elif isinstance(output, MemoUpserted):
        what = f"the memo's {', '.join(output.memo)}"
    elif isinstance(output, SearchAttributesUpserted):
        what = f"the search attributes {', '.join(output.search_attributes)}"
    elif isinstance(output, RecordEmitted):
        what = f"a record for topic {output.topic!r}"
    elif isinstance(output, ChildWorkflowInitiated):
        what = f"child workflow {output.workflow_type!r} (id {output.workflow_id!r})"
    elif isinstance(output, ChildCancelRequested):
        what = f"cancelling child {output.child_id}"
    elif isinstance(output, ExternalCancelInitiated):
        what = f"cancelling workflow {output.target.workflow_id!r}"
    elif isinstance(output, ExternalSignalInitiated):
        what = f"signal {output.signal_name!r} to workflow {output.target.workflow_id!r}"
    elif isinstance(output, ExternalStartInitiated):
        what = f"the start of workflow {output.workflow_type!r} (id {output.workflow_id!r})"
    elif isinstance(output, WorkflowUpdateCompleted):
        what = f"the end of update {output.update_name!r} (id {output.update_id})"
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
