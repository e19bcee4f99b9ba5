"""Calls of other workflows as a run's code sees them: sent, and answered."""

from __future__ import annotations

import asyncio

from perdure_actors.replay.cancellable import Asker
from perdure_actors.replay.child_calls import CANCEL_CALL, Children
from perdure_actors.replay.exceptions import ApplicationError, WorkflowAlreadyStartedError
from perdure_actors.replay.loop import Future
from perdure_schemas.child_events import (
    CallInitiated,
    ExternalCancelFailed,
    ExternalCancelRequested,
    ExternalSignaled,
    ExternalSignalFailed,
    ExternalStarted,
    ExternalStartFailed,
    ExternalStartInitiated,
)

Failed = ExternalCancelFailed | ExternalSignalFailed | ExternalStartFailed
Done = ExternalCancelRequested | ExternalSignaled | ExternalStarted


class Calls:
    """The calls of one run that are not answered."""

    def __init__(self, asker: Asker, children: Children) -> None:
        self._asker = asker
        self._children = children
        self._pending: dict[str, tuple[CallInitiated, Future[str]]] = {}
        self._count = 0

    def next_id(self) -> str:
        """The number of the next call, by which its run's history knows it."""
        self._count += 1
        return str(self._count)

    async def send(self, initiated: CallInitiated) -> str:
        """Send a call and wait for its answer; the run that took it.

        Cancelled before it has left it never leaves; later only the wait for it ends. Raises
        ApplicationError, its type the reason, when the other workflow did not take it, and
        WorkflowAlreadyStartedError for a start whose id is used.
        """
        asker = self._asker
        asker.ask(initiated)
        future: Future[str] = Future(loop=asker.loop)
        self._pending[initiated.call_id] = initiated, future
        try:
            return await future
        except asyncio.CancelledError:
            self._pending.pop(initiated.call_id, None)
            asker.take_back(initiated)
            raise

    def take_done(self, event: Done) -> None:
        """The other workflow took a call."""
        if event.call_id.startswith(CANCEL_CALL):
            self._children.take_cancel_answered(event.call_id.removeprefix(CANCEL_CALL))
            return
        found = self._pending.pop(event.call_id, None)
        if found is not None and not found[1].done():
            found[1].set_result(event.run_id)

    def take_failed(self, event: Failed) -> None:
        """The other workflow did not take a call."""
        if event.call_id.startswith(CANCEL_CALL):
            self._children.take_cancel_answered(event.call_id.removeprefix(CANCEL_CALL))
            return
        found = self._pending.pop(event.call_id, None)
        if found is not None and not found[1].done():
            found[1].set_exception(_error_of(found[0], event))


def _error_of(initiated: CallInitiated, event: Failed) -> Exception:
    if isinstance(initiated, ExternalStartInitiated) and event.code == "already_started":
        return WorkflowAlreadyStartedError(initiated.workflow_id, initiated.workflow_type)
    return ApplicationError(event.message, type=event.code, non_retryable=True)
