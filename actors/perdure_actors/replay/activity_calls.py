"""Activities as a run's code sees them: asked for, awaited, cancelled. How they run is not seen."""

from __future__ import annotations

from typing import Any, TypeVar

from perdure_actors.replay.cancellable import (
    WAIT_CANCELLATION_COMPLETED,
    Asker,
    Cancellation,
    Step,
    StepHandle,
    Steps,
)
from perdure_actors.replay.failures import exception_of
from perdure_actors.replay.loop import Loop
from perdure_schemas.bounds import utf8
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.events import (
    ActivityCanceled,
    ActivityCancelRequested,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ActivityTimedOut,
)
from perdure_schemas.payloads import Failure, FailureCause

T = TypeVar("T")


class PendingActivity(Step):
    """An activity that the code asked for and that has no outcome yet."""

    __slots__ = ("scheduled",)

    def __init__(self, scheduled: ActivityScheduled, result_type: Any, loop: Loop) -> None:
        self.scheduled = scheduled
        super().__init__(scheduled, scheduled.cancellation_type, result_type, loop)


class ActivityHandle(StepHandle[T, PendingActivity]):
    """The task that stands for a started activity."""

    __slots__ = ()


class Activities(Steps[PendingActivity]):
    """The activities of one run."""

    def __init__(self, asker: Asker) -> None:
        super().__init__(asker)
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

    def _cancel_request(self, step: PendingActivity, reason: str) -> ActivityCancelRequested:
        return ActivityCancelRequested(
            activity_id=step.scheduled.activity_id, call_site=self._asker.call_site()
        )

    def _is_awaited(self, step: PendingActivity, kind: str, found: Cancellation) -> bool:
        return kind == WAIT_CANCELLATION_COMPLETED

    def take_completed(self, event: ActivityCompleted) -> None:
        """An activity returned."""
        pending = self._pending.pop(event.activity_id, None)
        if pending is None:
            return
        pending.end(self._asker.loop)
        what = f"the result of activity {pending.scheduled.activity_type!r}"
        pending.give_payload(event.result, self._converter(pending), what)

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
        self, step: PendingActivity, *, by_asyncio: bool, cause: FailureCause | None = None
    ) -> None:
        self._pending.pop(step.scheduled.activity_id, None)
        step.is_over = True
        if by_asyncio:
            step.future.cancel(step.msg)
            return
        link = _link(step, "Activity cancelled", retry_state="cancel_requested")
        reason = cause or FailureCause(kind="canceled", message="Cancelled")
        failed = Failure(chain=[link, reason])
        step.refuse(exception_of(failed, self._converter(step)))


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
