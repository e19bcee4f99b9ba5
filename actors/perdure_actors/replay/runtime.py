"""How functions that user code calls reach the run they are called in: through its loop."""

from __future__ import annotations

import asyncio

from perdure_actors.replay.blocked import NotInWorkflowError
from perdure_actors.replay.coroutine import Coroutine
from perdure_actors.replay.loop import Loop


def current() -> Coroutine:
    """The run whose code is being run.

    Raises NotInWorkflowError anywhere else.
    """
    loop = asyncio._get_running_loop()
    if type(loop) is Loop:
        run = loop.owner
        assert isinstance(run, Coroutine), "a run's loop is owned by its coroutine"
        return run
    raise NotInWorkflowError(
        "this function of perdure.workflow works only inside a workflow's own code, "
        "not in an activity, a client or a thread"
    )


def maybe_current() -> Coroutine | None:
    """The run whose code is being run, or None."""
    loop = asyncio._get_running_loop()
    if type(loop) is not Loop:
        return None
    return current()
