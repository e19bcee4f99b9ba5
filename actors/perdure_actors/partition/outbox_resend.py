"""Effects sent again: after a take-over, and before a topic's retention can have dropped them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from perdure_actors import table_layout
from perdure_actors.core.decision import SendAgain, SendTask
from perdure_actors.partition.outbox import kept_effect
from perdure_schemas.tracing import trace_of

if TYPE_CHECKING:
    from perdure_actors.core.state import ActivityState, Run
    from perdure_actors.partition.context import PartitionContext
    from perdure_actors.partition.outbox import Outbox
    from perdure_topics.fold import Cursor
    from perdure_topics.ports import Table

RESEND_EVERY_MS = 3_600_000


class OutboxResend:
    """Sends again what may not have gone out, or what nobody has started."""

    def __init__(self, table: Table, world: PartitionContext, outbox: Outbox) -> None:
        self._table = table
        self._world = world
        self._outbox = outbox
        self._due_ms = world.time_ms + RESEND_EVERY_MS
        self._sent_ms: dict[bytes, int] = {}

    def keep_house(self, now_ms: int) -> None:
        """Send again, every now and then, before a task can have been dropped."""
        if now_ms >= self._due_ms:
            self._due_ms = now_ms + RESEND_EVERY_MS
            self.resend_stale(now_ms)

    def resend_stale(self, now_ms: int) -> None:
        """Send again, same token, what was not started for half the time a task is kept."""
        limit_ms = now_ms - self._world.limits.retention_resend_ms
        sent_before, self._sent_ms = self._sent_ms, {}
        for key, value in self._table.scan(*table_layout.prefix_range(table_layout.ACTIVITIES)):
            activity = table_layout.decode_activity(value)
            if activity.state != "scheduled" or activity.scheduled.local:
                continue
            sent_ms = max(activity.attempt_ms, sent_before.get(key, 0))
            if sent_ms < limit_ms:
                self._resend(table_layout.run_of_activity(key), activity)
                sent_ms = now_ms
            if sent_ms != activity.attempt_ms:
                self._sent_ms[key] = sent_ms

    def resend_unacknowledged(self, cursor: Cursor) -> None:
        """After a take-over: send again what may not have gone out, as what it was sent first."""
        table, outbox, dispatched = self._table, self._outbox, self._outbox.dispatched
        unsent = []
        for key, value in table.scan(*table_layout.prefix_range(table_layout.ACTIVITIES)):
            activity = table_layout.decode_activity(value)
            run_id = table_layout.run_of_activity(key)
            if activity.state == "started":
                if not activity.worker_id:
                    continue
                self._world.liveness.hold(
                    activity.worker_id, run_id, activity.scheduled.activity_id
                )
            elif activity.scheduled.local:
                continue
            elif activity.state == "scheduled" and activity.issued.pseq > dispatched:
                unsent.append((activity.issued.pseq, run_id, activity))
        # In the order of their records: `dispatched` is told by the oldest without an ack.
        for _, run_id, activity in sorted(unsent, key=lambda item: item[0]):
            self._resend(run_id, activity)
        acknowledged = []
        for key, value in table.scan(*table_layout.effects_range()):
            pseq, place = table_layout.place_of_effect(key)
            if pseq <= dispatched:
                acknowledged.append(key)
                continue
            first_epoch, effect = kept_effect(value)
            outbox.send(pseq, [effect], epoch=first_epoch, place=place)
        outbox.send(cursor.pseq, [], epoch=cursor.epoch)
        table.write((), acknowledged)

    def _resend(self, run_id: str, activity: ActivityState) -> None:
        run = self._world.run(run_id)
        if run is None:
            return
        task = _task_of(run, activity)
        self._outbox.send(activity.issued.pseq, [task], epoch=activity.issued.epoch)


def task_again(world: PartitionContext, effect: SendAgain) -> SendTask | None:
    """The task of an attempt that was handed back; None when nobody needs it any more."""
    run = world.run(effect.run_id)
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
