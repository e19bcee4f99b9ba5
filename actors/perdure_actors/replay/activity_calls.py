"""Activities as a run's code sees them: asked for, awaited, cancelled. How they run is not seen."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, TypeVar, cast

from perdure_actors.replay.contexts import Converters
from perdure_actors.replay.failures import exception_of
from perdure_actors.replay.loop import Loop, Task, canceller
from perdure_actors.replay.outcome import Cancellation, Step, cancellation_by, cancellation_of
from perdure_schemas.bounds import utf8
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.events import (
    ActivityCanceled,
    ActivityCancelRequested,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ActivityTimedOut,
    WorkflowStarted,
)
from perdure_schemas.payloads import Failure, FailureCause, Record

T = TypeVar("T")
ABANDON = "abandon"
TRY_CANCEL = "try_cancel"
WAIT_CANCELLATION_COMPLETED = "wait_cancellation_completed"


class Asker(Protocol):
    """Where what the code asks for goes."""

    loop: Loop
    converters: Converters
    started: WorkflowStarted | None

    def ask(self, output: Record) -> None:
        """Add an output event to those of this activation."""

    def take_back(self, output: Record) -> bool:
        """Remove an output that this very activation asked for; whether it did."""

    def call_site(self) -> str:
        """Where user code stands."""


class PendingActivity(Step):
    """An activity that the code asked for and that has no outcome yet."""

    __slots__ = ("result_type", "scheduled")

    def __init__(self, scheduled: ActivityScheduled, result_type: Any, loop: Loop) -> None:
        self.scheduled = scheduled
        self.result_type = result_type
        super().__init__(loop)


class ActivityHandle(Task[T]):
    """The task that stands for a started activity."""

    __slots__ = ("_activities", "_pending")

    def __init__(self, activities: Activities, pending: PendingActivity, loop: Loop) -> None:
        self._activities = activities
        self._pending = pending
        super().__init__(activities.outcome(pending), loop=loop)

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the activity, in the way that its cancellation type says."""
        if self.done() or self._pending.is_over:
            return False
        # Not by asyncio's way: a task that has not begun would end without asking for anything.
        loop = cast("Loop", self.get_loop())
        found = cancellation_by(loop, canceller(), self, msg)
        self._activities.cancel(self._pending, found)
        return True


class Activities:
    """The activities of one run."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._pending: dict[str, PendingActivity] = {}
        self._count = 0
        self._chosen_ids: set[str] = set()

    def next_id(self, chosen: str | None) -> str:
        """The id of the next activity: the user's choice, or its number.

        Raises ValueError for a choice that is taken.
        """
        if chosen is None:
            while True:
                self._count += 1
                number = str(self._count)
                if number not in self._chosen_ids:
                    return number
        chosen = utf8(chosen)
        if chosen in self._chosen_ids or chosen in self._pending:
            raise ValueError(
                f"activity_id {chosen!r} was used before in this run; every activity of a run "
                "needs an id of its own"
            )
        self._chosen_ids.add(chosen)
        return chosen

    def ask(self, scheduled: ActivityScheduled, result_type: Any) -> PendingActivity:
        """Ask for an activity."""
        asker = self._asker
        asker.ask(scheduled)
        pending = PendingActivity(scheduled, result_type, asker.loop)
        self._pending[scheduled.activity_id] = pending
        return pending

    def handle(self, pending: PendingActivity) -> ActivityHandle[Any]:
        """The task that awaits an activity."""
        return ActivityHandle(self, pending, self._asker.loop)

    async def outcome(self, pending: PendingActivity) -> Any:
        """The result of an activity; being cancelled cancels it."""
        while True:
            try:
                return await pending.future
            except asyncio.CancelledError as error:
                if pending.is_over:
                    raise
                pending.renew(self._asker.loop)
                self.cancel(pending, cancellation_of(self._asker.loop, error))

    def cancel(self, pending: PendingActivity, found: Cancellation) -> None:
        """Cancel an activity as its cancellation type says.

        What a person cancels ends, as in Temporal, with ActivityError caused by CancelledError;
        what asyncio cancels, for a timeout or a task group, ends with asyncio.CancelledError,
        which they count on.
        """
        if pending.is_over:
            return
        asker, scheduled = self._asker, pending.scheduled
        kind = scheduled.cancellation_type
        if kind != ABANDON and not pending.is_cancel_asked:
            pending.is_cancel_asked = True
            if asker.take_back(scheduled):
                kind = TRY_CANCEL
            else:
                asker.ask(
                    ActivityCancelRequested(
                        activity_id=scheduled.activity_id, call_site=asker.call_site()
                    )
                )
        if kind == WAIT_CANCELLATION_COMPLETED:
            pending.want(found)
            return
        pending.msg = found.msg
        self._end_canceled(pending, by_asyncio=found.by_asyncio)

    def take_completed(self, event: ActivityCompleted) -> None:
        """An activity returned."""
        pending = self._pending.pop(event.activity_id, None)
        if pending is None:
            return
        pending.end(self._asker.loop)
        payload = event.result
        if payload is None or pending.future.done():
            pending.give(None)
            return
        what = f"the result of activity {pending.scheduled.activity_type!r}"
        try:
            value = self._converter(pending).from_payload(payload, pending.result_type, what=what)
        except Exception as error:
            pending.refuse(error)
        else:
            pending.give(value)

    def take_failed(self, event: ActivityFailed) -> None:
        """An activity failed for good."""
        self._fail(event.activity_id, event.failure, "Activity task failed", event)

    def take_timed_out(self, event: ActivityTimedOut) -> None:
        """An activity timed out for good."""
        cause = FailureCause(
            kind="timeout", message="Activity task timed out", timeout_type=event.timeout_type
        )
        failure = event.failure or Failure(chain=[cause])
        self._fail(event.activity_id, failure, "Activity task timed out", event)

    def take_canceled(self, event: ActivityCanceled) -> None:
        """An activity ended because it was asked to."""
        pending = self._pending.get(event.activity_id)
        if pending is not None:
            self._end_canceled(
                pending,
                by_asyncio=pending.is_wanted_by_asyncio,
                cause=FailureCause(kind="canceled", message="Cancelled", details=event.details),
            )

    def _converter(self, pending: PendingActivity) -> PayloadConverter:
        return self._asker.converters.of_activity(pending.scheduled, self._asker.started)

    def _fail(
        self,
        activity_id: str,
        failure: Failure,
        message: str,
        event: ActivityFailed | ActivityTimedOut,
    ) -> None:
        pending = self._pending.pop(activity_id, None)
        if pending is None:
            return
        pending.end(self._asker.loop)
        identity = event.identity if isinstance(event, ActivityFailed) else ""
        link = _link(pending, message, identity=identity, retry_state=event.retry_state)
        failed = Failure(chain=[link, *failure.chain])
        pending.refuse(exception_of(failed, self._converter(pending)))

    def _end_canceled(
        self, pending: PendingActivity, *, by_asyncio: bool, cause: FailureCause | None = None
    ) -> None:
        self._pending.pop(pending.scheduled.activity_id, None)
        pending.is_over = True
        if by_asyncio:
            pending.future.cancel(pending.msg)
            return
        link = _link(pending, "Activity cancelled", retry_state="cancel_requested")
        reason = cause or FailureCause(kind="canceled", message="Cancelled")
        failed = Failure(chain=[link, reason])
        pending.refuse(exception_of(failed, self._converter(pending)))


def _link(
    pending: PendingActivity, message: str, *, identity: str = "", retry_state: str = ""
) -> FailureCause:
    scheduled = pending.scheduled
    return FailureCause(
        kind="activity",
        message=message,
        activity_type=scheduled.activity_type,
        activity_id=scheduled.activity_id,
        identity=identity,
        retry_state=retry_state,
    )
