"""Effects sent again: after a take-over, and before a topic's retention can have dropped them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from perdure_actors import table_layout
from perdure_actors.core.decision import SendAgain, SendTask
from perdure_actors.partition.outbox_rows import kept_effect
from perdure_schemas.tracing import trace_of

if TYPE_CHECKING:
    from perdure_actors.core.state import ActivityState, Run
    from perdure_actors.partition.capabilities import Owned


class OutboxResend:
    """Sends again what nobody has started, before its task can have been dropped."""

    def __init__(self, shard: Owned) -> None:
        self._shard = shard
        self._sent_ms: dict[bytes, int] = {}

    def resend_stale(self, now_ms: int) -> None:
        """Send again, same token, what was not started for half the time a task is kept."""
        limit_ms = now_ms - self._shard.world.limits.retention_resend_ms
        sent_before, self._sent_ms = self._sent_ms, {}
        for key, value in self._shard.table.scan(
            *table_layout.prefix_range(table_layout.ACTIVITIES)
        ):
            activity = table_layout.decode_activity(value)
            if activity.state != "scheduled" or activity.scheduled.local:
                continue
            sent_ms = max(activity.attempt_ms, sent_before.get(key, 0))
            if sent_ms < limit_ms:
                _resend(self._shard, table_layout.run_of_activity(key), activity)
                sent_ms = now_ms
            if sent_ms != activity.attempt_ms:
                self._sent_ms[key] = sent_ms


def resend_unacknowledged(shard: Owned) -> None:
    """After a take-over: send again what may not have gone out, as what it was sent first."""
    dispatched, epoch = shard.dispatch.dispatched, shard.cursor.epoch
    unsent = []
    for key, value in shard.table.scan(*table_layout.prefix_range(table_layout.ACTIVITIES)):
        activity = table_layout.decode_activity(value)
        run_id = table_layout.run_of_activity(key)
        if activity.state == "started":
            if not activity.worker_id:
                continue
            shard.world.soft.hold(activity.worker_id, run_id, activity.scheduled.activity_id)
        elif activity.scheduled.local:
            continue
        elif activity.state == "scheduled" and activity.issued.pseq > dispatched:
            unsent.append((activity.issued.pseq, run_id, activity))
    # In the order of their records, because `dispatched` is told by the oldest without an ack.
    for _, run_id, activity in sorted(unsent, key=lambda item: item[0]):
        _resend(shard, run_id, activity)
    acknowledged = []
    for key, value in shard.table.scan(*table_layout.effects_range()):
        pseq, place = table_layout.place_of_effect(key)
        if pseq <= dispatched:
            acknowledged.append(key)
            continue
        first_epoch, effect = kept_effect(value)
        shard.dispatch.send(pseq, [effect], epoch=first_epoch, place=place)
    shard.dispatch.send(shard.cursor.pseq, [], epoch=epoch)
    shard.table.write((), acknowledged)


def task_again(shard: Owned, effect: SendAgain) -> SendTask | None:
    """The task of an attempt that was handed back; None when nobody needs it any more."""
    run = shard.world.run(effect.run_id)
    activity = run.activities.get(effect.activity_id) if run is not None else None
    if run is None or activity is None or activity.state != "scheduled":
        return None
    return _task_of(run, activity)._replace(moved=True)


def _task_of(run: Run, activity: ActivityState) -> SendTask:
    state = run.state
    return SendTask(
        state.workflow_id,
        state.run_id,
        run.started.workflow_type,
        replace(activity, scheduled=activity.terms),
        resent=True,
        trace=trace_of(run.started, state.run_id),
    )


def _resend(shard: Owned, run_id: str, activity: ActivityState) -> None:
    run = shard.world.run(run_id)
    if run is None:
        return
    task = _task_of(run, activity)
    shard.dispatch.send(activity.issued.pseq, [task], epoch=activity.issued.epoch)
