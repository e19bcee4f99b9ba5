"""What is wrong with a run, in one line for lists: what failed, what nobody takes, why it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from perdure_actors import table_layout
from perdure_actors.core.activity_states import SCHEDULED
from perdure_actors.core.state import FAILED
from perdure_schemas.replies import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure_actors.core.state import ActivityState, RunState
    from perdure_actors.visibility.indexed import Indexed
    from perdure_schemas.payloads import Failure

LOOKED_AT_MAX: Final = 100
"""So many pending activities of a run are looked at for the worst of them."""
NOT_STARTED_MS: Final = 300
"""A task that no worker has taken for so long is said to wait for one."""
_CHARS_MAX: Final = 300
_OUTER: Final = frozenset({"activity", "child_workflow"})


def failure_line(failure: Failure | None) -> str:
    """The cause of a failure in a line: that a step failed says nothing, its cause does."""
    chain = failure.chain if failure else []
    if not chain:
        return ""
    link = next((one for one in chain if one.kind not in _OUTER), chain[-1])
    line = link.message.split("\n", 1)[0]
    if link.type and not line.startswith(link.type):
        line = f"{link.type}: {line}" if line else link.type
    return line if len(line) <= _CHARS_MAX else f"{line[: _CHARS_MAX - 1]}…"


def trouble_of(shard: Indexed, state: RunState, *, has_failed: bool) -> Trouble | None:
    """What a list says beneath a run; has_failed: whether an activity without outcome has."""
    if state.closing is not None:
        # That one was ended or ran out of time is said by its status, and nothing by its failure.
        line = failure_line(state.closing.failure) if state.closing.status == FAILED else ""
        return Trouble(kind=FAILED, message=line) if line else None
    if state.shown_status != state.status:
        return None
    activities = list(pending(shard, state.run_id))
    if has_failed:
        failing = [one for one in activities if one.last_failure is not None]
        if failing:
            return _retrying(max(failing, key=lambda one: one.attempt), len(failing))
    return next((found for one in activities if (found := unserved_task(shard, one))), None)


def pending(shard: Indexed, run_id: str) -> Iterator[ActivityState]:
    """The pending activities of a run, so many."""
    start, end = table_layout.activities_range(run_id)
    for _, value in shard.table.scan(start, end, limit=LOOKED_AT_MAX):
        yield table_layout.decode_activity(value)


def unserved_task(shard: Indexed, activity: ActivityState) -> Trouble | None:
    """That nobody takes the task of an activity; None where somebody does, or it is no task."""
    scheduled = activity.scheduled
    waited_ms = shard.world.now_ms() - activity.attempt_ms
    if activity.state != SCHEDULED or scheduled.local or waited_ms < NOT_STARTED_MS:
        return None
    why = shard.unserved(scheduled.task_queue)
    if not why:
        return None
    lacks = "no worker listens on" if why == "no_worker" else "there are no topics of"
    return Trouble(
        kind=why,
        message=f"{lacks} task queue {scheduled.task_queue!r}",
        activity_id=scheduled.activity_id,
        activity_type=scheduled.activity_type,
        attempt=activity.attempt,
        since_ms=activity.waits_ms or activity.attempt_ms,
    )


def _retrying(activity: ActivityState, activities: int) -> Trouble:
    scheduled = activity.scheduled
    policy = scheduled.retry_policy
    return Trouble(
        kind="paused" if activity.paused else "retrying",
        message=failure_line(activity.last_failure),
        activity_id=scheduled.activity_id,
        activity_type=scheduled.activity_type,
        attempt=activity.attempt,
        maximum_attempts=policy.maximum_attempts if policy else 0,
        next_ms=activity.retry_ms,
        since_ms=activity.scheduled_ms,
        activities=activities,
    )
