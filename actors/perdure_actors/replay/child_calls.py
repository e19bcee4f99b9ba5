"""Children as a run's code sees them: asked for, started, awaited, cancelled, signalled."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from perdure_actors.replay.cancellable import (
    WAIT_CANCELLATION_COMPLETED,
    Asker,
    Cancellation,
    Step,
    StepHandle,
    Steps,
    cancellation_of,
    settle,
)
from perdure_actors.replay.exceptions import WorkflowAlreadyStartedError
from perdure_actors.replay.failures import exception_of
from perdure_actors.replay.loop import Future, Loop
from perdure_schemas.child_commands import CANCELED_UNSTARTED
from perdure_schemas.child_events import (
    ChildCancelRequested,
    ChildWorkflowCanceled,
    ChildWorkflowCompleted,
    ChildWorkflowFailed,
    ChildWorkflowInitiated,
    ChildWorkflowStarted,
    ChildWorkflowStartFailed,
    ChildWorkflowTerminated,
    ChildWorkflowTimedOut,
)
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.payloads import CarriedChild, Failure, FailureCause

T = TypeVar("T")
WAIT_CANCELLATION_REQUESTED = "wait_cancellation_requested"
WAITING = (WAIT_CANCELLATION_COMPLETED, WAIT_CANCELLATION_REQUESTED)
CANCEL_CALL = "cancel-child-"
"""The call by which a parent hears that its child was asked to cancel, before the child's id."""


class PendingChild(Step):
    """A child that the code asked for and that has no outcome yet."""

    __slots__ = ("began", "initiated", "is_executed", "run_id")

    def __init__(self, initiated: ChildWorkflowInitiated, result_type: Any, loop: Loop) -> None:
        self.initiated = initiated
        self.began: Future[None] = Future(loop=loop)
        """Done once it is known whether the child runs."""
        self.is_executed = False
        """Whether the code waits for its end, and for its start only on the way there."""
        self.run_id = ""
        super().__init__(initiated, initiated.cancellation_type, result_type, loop)


class ChildHandle(StepHandle[T, PendingChild]):
    """The task that stands for a child that was asked for."""

    __slots__ = ()


class Children(Steps[PendingChild]):
    """The children of one run."""

    def __init__(self, asker: Asker) -> None:
        super().__init__(asker)
        self._pending: dict[str, PendingChild] = {}
        self.known: dict[str, ChildWorkflowInitiated] = {}
        """The newest child of each workflow id that was asked for."""
        self._count = 0

    def next_id(self) -> str:
        """The number of the next child, by which its run's history knows it."""
        self._count += 1
        return str(self._count)

    def take_over(self, children: Sequence[CarriedChild]) -> None:
        """Go on with the children that the run before left to this one."""
        for child in children:
            self._count = max(self._count, int(child.child_id))
            initiated = ChildWorkflowInitiated(
                child_id=child.child_id,
                workflow_id=child.workflow_id,
                workflow_type=child.workflow_type,
                task_queue=child.task_queue,
                parent_close_policy=child.parent_close_policy,
                cancellation_type=child.cancellation_type,
            )
            pending = PendingChild(initiated, None, self._asker.loop)
            pending.is_cancel_asked = child.cancel_requested
            if child.run_id:
                pending.run_id = child.run_id
                pending.began.set_result(None)
            self._pending[child.child_id] = pending

    @property
    def pending(self) -> Sequence[PendingChild]:
        """The children without an outcome."""
        return list(self._pending.values())

    def ask(self, initiated: ChildWorkflowInitiated, result_type: Any) -> PendingChild:
        """Ask for a child."""
        self._asker.ask(initiated)
        self.known[initiated.workflow_id] = initiated
        pending = PendingChild(initiated, result_type, self._asker.loop)
        self._pending[initiated.child_id] = pending
        return pending

    async def began(self, pending: PendingChild) -> None:
        """Return when the child runs; being cancelled cancels it.

        Raises WorkflowAlreadyStartedError or ChildWorkflowError when it does not come to that.
        """
        while True:
            try:
                await pending.began
                return
            except asyncio.CancelledError as error:
                if pending.is_over:
                    raise
                pending.began = Future(loop=self._asker.loop)
                self.cancel(pending, cancellation_of(self._asker.loop, error))

    def _cancel_request(self, step: PendingChild, reason: str) -> ChildCancelRequested:
        return ChildCancelRequested(
            child_id=step.initiated.child_id, reason=reason, call_site=self._asker.call_site()
        )

    def _is_awaited(self, step: PendingChild, kind: str, found: Cancellation) -> bool:
        # Nobody may serve its queue: who waits for its start alone, or not for ever, is let go.
        is_waited_for = step.is_executed and not found.by_asyncio
        return kind in WAITING and (step.began.done() or is_waited_for)

    def stop(self, pending: PendingChild, *, reason: str, terminate: bool) -> None:
        """Ask a child to cancel itself, or end it; whoever awaits it goes on awaiting."""
        if pending.is_over or (pending.is_cancel_asked and not terminate):
            return
        pending.is_cancel_asked = True
        self._asker.ask(
            ChildCancelRequested(
                child_id=pending.initiated.child_id,
                reason=reason,
                terminate=terminate,
                call_site=self._asker.call_site(),
            )
        )

    def take_started(self, event: ChildWorkflowStarted) -> None:
        """A child runs."""
        pending = self._pending.get(event.child_id)
        if pending is not None:
            pending.run_id = event.run_id
            if not pending.began.done():
                pending.began.set_result(None)

    def take_start_failed(self, event: ChildWorkflowStartFailed) -> None:
        """A child could not be started."""
        pending = self._pending.get(event.child_id)
        if pending is None:
            return
        initiated = pending.initiated
        if event.code == CANCELED_UNSTARTED:
            self._end_canceled(pending, by_asyncio=pending.is_wanted_by_asyncio)
            return
        if event.code == "already_started":
            pending.end(self._asker.loop)
            self._end(
                pending,
                WorkflowAlreadyStartedError(initiated.workflow_id, initiated.workflow_type),
            )
            return
        cause = FailureCause(message=event.message, type=event.code, non_retryable=True)
        self._fail(event.child_id, [cause], "Child workflow could not be started")

    def take_completed(self, event: ChildWorkflowCompleted) -> None:
        """A child returned."""
        pending = self._pending.pop(event.child_id, None)
        if pending is None:
            return
        pending.end(self._asker.loop)
        what = f"the result of child workflow {pending.initiated.workflow_type!r}"
        pending.give_payload(event.result, self._converter(pending), what)

    def take_failed(self, event: ChildWorkflowFailed) -> None:
        """A child failed for good."""
        chain, state = event.failure.chain, event.retry_state
        self._fail(event.child_id, chain, "Child workflow failed", event.run_id, state)

    def take_timed_out(self, event: ChildWorkflowTimedOut) -> None:
        """A child outlived its time."""
        cause = FailureCause(
            kind="timeout", message="Child workflow timed out", timeout_type="start_to_close"
        )
        text, state = "Child workflow timed out", event.retry_state
        self._fail(event.child_id, [cause], text, event.run_id, state)

    def take_terminated(self, event: ChildWorkflowTerminated) -> None:
        """A child was ended from outside."""
        text = "Child workflow terminated"
        cause = FailureCause(kind="terminated", message=event.reason or text)
        self._fail(event.child_id, [cause], text, event.run_id)

    def take_canceled(self, event: ChildWorkflowCanceled) -> None:
        """A child ended cancelled, whoever asked it to."""
        pending = self._pending.get(event.child_id)
        if pending is not None:
            pending.run_id = event.run_id
            cause = FailureCause(kind="canceled", message="Cancelled", details=event.details)
            by_asyncio = pending.is_wanted_by_asyncio
            self._end_canceled(pending, by_asyncio=by_asyncio, cause=cause)

    def take_cancel_answered(self, child_id: str) -> None:
        """A child was asked to cancel, or was gone: one that waits for no more ends its wait."""
        pending = self._pending.get(child_id)
        if pending is not None:
            self._end_canceled(pending, by_asyncio=pending.is_wanted_by_asyncio)

    def _converter(self, pending: PendingChild) -> PayloadConverter:
        return self._asker.converters.of_workflow(pending.initiated.workflow_id)

    def _fail(
        self,
        child_id: str,
        chain: list[FailureCause],
        message: str,
        run_id: str = "",
        retry_state: str = "",
    ) -> None:
        pending = self._pending.get(child_id)
        if pending is not None:
            pending.end(self._asker.loop)
            link = _link(pending, message, run_id=run_id, retry_state=retry_state)
            failure = Failure(chain=[link, *chain])
            self._end(pending, exception_of(failure, self._converter(pending)))

    def _end_canceled(
        self, step: PendingChild, *, by_asyncio: bool, cause: FailureCause | None = None
    ) -> None:
        if by_asyncio:
            self._forget(step)
            step.began.cancel(step.msg)
            step.future.cancel(step.msg)
            return
        link = _link(
            step,
            "Child workflow cancelled",
            run_id=step.run_id,
            retry_state="cancel_requested",
        )
        reason = cause or FailureCause(kind="canceled", message="Cancelled")
        failure = Failure(chain=[link, reason])
        self._end(step, exception_of(failure, self._converter(step)))

    def _end(self, pending: PendingChild, error: BaseException) -> None:
        self._forget(pending)
        settle(pending.began, error)
        pending.refuse(error)

    def _forget(self, pending: PendingChild) -> None:
        self._pending.pop(pending.initiated.child_id, None)
        pending.is_over = True


def _link(pending: PendingChild, message: str, *, run_id: str, retry_state: str) -> FailureCause:
    initiated = pending.initiated
    return FailureCause(
        kind="child_workflow",
        message=message,
        workflow_type=initiated.workflow_type,
        workflow_id=initiated.workflow_id,
        run_id=run_id or pending.run_id,
        retry_state=retry_state,
    )
