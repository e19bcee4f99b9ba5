"""How a run's code ends: which exceptions end the run, which continue it, and which block it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from perdure_actors.replay.blocked import BlockedError, DeadlockError
from perdure_actors.replay.call_site import last_user_line, leaves_of, user_stack
from perdure_actors.replay.exceptions import FailureError, is_cancelled_exception
from perdure_actors.replay.failures import failure_of
from perdure_actors.replay.raised import kind_of, said_by
from perdure_schemas.bounds import cut
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.events import WorkflowCanceled, WorkflowContinuedAsNew, WorkflowFailed
from perdure_schemas.payloads import Record

# A timeout that the code has set for itself is an outcome, and no mistake in it.
_OUTCOMES = (FailureError, asyncio.CancelledError, TimeoutError)
LEAVES_MAX = 5
SAID_CHARS_MAX = 3_000
GROUP_CHARS_MAX = 300


class ContinueAsNewError(BaseException):
    """Ends the run by starting the next one; for nobody to catch."""

    def __init__(self, event: WorkflowContinuedAsNew) -> None:
        super().__init__("the run continues as a new one")
        self.event = event


class Ending(Protocol):
    """What the end of a run depends on."""

    converter: PayloadConverter
    cancel_reason: str | None
    failure_exception_types: tuple[type[BaseException], ...]

    @property
    def workflow_type(self) -> str:
        """The name of the workflow's type."""


def end_of(error: BaseException, run: Ending) -> Record:
    """The output event that an exception out of the run method stands for.

    Raises BlockedError for an exception that is no failure, or cannot be written as one.
    """
    if isinstance(error, ContinueAsNewError):
        return error.event
    try:
        leaves = _failures(error, run)
        if leaves is None:
            raise blocked_by(error, run.workflow_type) from error
        site = last_user_line(error)
        # What nobody asked for is a failure: the result of a cancelled task, let out by a handler.
        if run.cancel_reason is not None and all(map(is_cancelled_exception, leaves)):
            return WorkflowCanceled(call_site=site)
        return WorkflowFailed(failure=failure_of(error, run.converter), call_site=site)
    except (BlockedError, DeadlockError):
        raise
    except BaseException as problem:
        # What it says of itself is user code as well.
        raise blocked_by(problem, run.workflow_type) from error


def blocked_by(error: BaseException, workflow_type: str) -> BlockedError:
    """The block that an exception of user code leads to, whatever it is."""
    if isinstance(error, BlockedError):
        return error
    leaves = leaves_of(error)
    # What is no failure is why the run is blocked, whatever else is in the group.
    leaves.sort(key=lambda leaf: isinstance(leaf, _OUTCOMES))
    said = "; ".join(map(_said, leaves[:LEAVES_MAX]))
    more = f" (and {len(leaves) - LEAVES_MAX} more)" if len(leaves) > LEAVES_MAX else ""
    group = ""
    if isinstance(error, BaseExceptionGroup):
        title = _asked(lambda one: str(one.args[0]), error)
        group = cut(f", in {kind_of(error)}: {title}", GROUP_CHARS_MAX)
    return BlockedError(
        "error",
        f"{workflow_type} raised {said}{more}{group}. "
        "The run goes on by itself when fixed code is deployed; to fail a run instead, raise "
        f"ApplicationError, or list {kind_of(leaves[0])} in failure_exception_types.",
        stack_trace=_asked(user_stack, error),
    )


def _said(error: BaseException) -> str:
    """What one error is and says, and where it was raised."""
    kind, text, site = kind_of(error), said_by(error), _asked(last_user_line, error)
    what = kind if text == kind else f"{kind}: {cut(text, SAID_CHARS_MAX)}"
    return f"{what} at {site}" if site else what


def _asked(about: Callable[[BaseException], str], error: BaseException) -> str:
    """What can be said of an error, if it lets it be said."""
    try:
        return about(error)
    except DeadlockError:
        raise
    except BaseException:
        return ""


def is_failure(error: BaseException, run: Ending) -> bool:
    """Whether an exception is a failure, or a group of nothing else."""
    return _failures(error, run) is not None


def _failures(error: BaseException, run: Ending) -> list[BaseException] | None:
    """The failures an error holds: itself, or all of a group's; None when one is no failure."""
    leaves = leaves_of(error)
    kinds = (*_OUTCOMES, *run.failure_exception_types)
    return leaves if all(isinstance(leaf, kinds) for leaf in leaves) else None
