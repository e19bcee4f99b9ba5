"""Queries: open runs are asked in their place among the inputs, closed ones from their history.

Nothing of a query is written. Its answer waits, like any other, for a record that covers it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from perdure_actors.core.decision import Rejection
from perdure_actors.core.messages import blocked
from perdure_actors.core.start import starting_now
from perdure_actors.core.state import COMPLETED, CONTINUED_AS_NEW
from perdure_actors.core.targets import named_run
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.replies import QueryAnswer, Refused

if TYPE_CHECKING:
    from perdure_actors.core.decision import Step
    from perdure_actors.core.world import RunStateView
    from perdure_actors.partition.context import PartitionContext
    from perdure_actors.partition.run_cache import CachedRun
    from perdure_schemas.message_commands import QueryWorkflow
    from perdure_schemas.payloads import Record

PATIENCE_MS = 10_000
"""How long a query waits for the first step of the run that it asks."""


class Answers(Protocol):
    """Whoever asks the code of runs."""

    def query(self, resident: CachedRun, ask: QueryWorkflow) -> QueryAnswer:
        """What a query of the code returns. Raises BlockedError when it cannot be asked."""


class FindsRuns(Protocol):
    """Whoever holds the runs of a partition."""

    def find(self, run_id: str) -> CachedRun | None:
        """A run by its id, loaded when it must be."""


class Proposes(Protocol):
    """Whoever makes transitions of decided steps."""

    def propose(self, step: Step | None, workflow_id: str = "", *, covers: bool) -> object:
        """Append a transition."""


class CodeQueries:
    """The queries of the code of one partition's runs."""

    def __init__(
        self, world: PartitionContext, runs: FindsRuns, code: Answers, proposes: Proposes
    ) -> None:
        self._world = world
        self._runs = runs
        self._code = code
        self._proposes = proposes

    def begins_soon(self, ask: QueryWorkflow) -> bool:
        """Whether the run that is asked has its first step yet to come, and soon."""
        newest = self._world.current(ask.workflow_id)
        if newest is None:
            return False
        state, actor = newest.state, newest.actor
        if not state.is_open and actor.next_start is not None:
            run_id, at_ms = actor.next_run_id, actor.alarm_ms
        elif state.is_open and not state.begun and state.block is None:
            run_id, at_ms = state.run_id, state.begin_ms
        else:
            return False
        patience_ms = PATIENCE_MS
        if ask.reply.deadline_ms:
            left_ms = ask.reply.deadline_ms - self._world.now_ms()
            patience_ms = min(PATIENCE_MS, left_ms)
        is_meant = ask.run_id in ("", run_id)
        return is_meant and self._world.time_ms < at_ms <= self._world.now_ms() + patience_ms

    def ask_run(self, ask: QueryWorkflow) -> Record | None:
        """What an open run answers now; None for a closed one, whose history must be read."""
        self._start_what_is_due(ask)
        newest = self._world.current(ask.workflow_id)
        if newest is not None and ask.run_id and ask.run_id == newest.actor.next_run_id:
            return _not_ready(ask, ask.run_id)
        run = named_run(self._world, ask.workflow_id, ask.run_id)
        if isinstance(run, Rejection):
            return _refused(run)
        if not run.state.is_open:
            return None
        if run.state.block is not None:
            return _refused(blocked(run))
        if not run.state.begun:
            return _not_ready(ask, run.state.run_id)
        resident = self._runs.find(run.state.run_id)
        assert resident is not None, "a run that was found is resident"
        return self._answer(resident, ask)

    def _start_what_is_due(self, ask: QueryWorkflow) -> None:
        """A run that follows at once is the one that is asked, not the one that ended."""
        newest = self._world.current(ask.workflow_id)
        if newest is None or ask.run_id not in ("", newest.actor.next_run_id):
            return
        now_ms = self._world.time_ms
        if newest.actor.next_start is not None and newest.actor.alarm_ms <= now_ms:
            self._proposes.propose(starting_now(newest, now_ms), ask.workflow_id, covers=False)

    def named(self, ask: QueryWorkflow) -> QueryWorkflow:
        """A query about the newest run as one about that very run."""
        run = self._world.current(ask.workflow_id) if not ask.run_id else None
        return replace(ask, run_id=run.state.run_id) if run is not None else ask

    def ask_closed(self, ask: QueryWorkflow) -> Record:
        """What a closed run answers, by the history in the table."""
        run = named_run(self._world, ask.workflow_id, ask.run_id)
        if isinstance(run, Rejection):
            return _refused(run)
        if _is_rejected(run.state, ask.reject_condition):
            return QueryAnswer(run_id=run.state.run_id, rejected_status=run.state.status)
        resident = self._runs.find(run.state.run_id)
        assert resident is not None, "a run that was found is resident"
        return self._answer(resident, ask)

    def _answer(self, resident: CachedRun, ask: QueryWorkflow) -> Record:
        run_id = resident.run.state.run_id
        try:
            answer = self._code.query(resident, ask)
        except BlockedError as error:
            return Refused(code="query_failed", message=error.message, run_id=run_id)
        most = self._world.limits.query_bytes_max
        size = len(answer.result.data) if answer.result is not None else 0
        if size > most:
            text = (
                f"query {ask.query_name!r} returned {size} bytes; {most} is the most:"
                " return a reference to where the data is"
            )
            return Refused(code="too_large", message=text, run_id=run_id)
        return answer


def _not_ready(ask: QueryWorkflow, run_id: str) -> Refused:
    text = f"workflow {ask.workflow_id!r} has not begun, so it cannot answer a query yet"
    return Refused(code="not_ready", message=text, run_id=run_id)


def _is_rejected(state: RunStateView, condition: str) -> bool:
    if condition == "not_open":
        return not state.is_open
    clean = state.is_open or state.status in (COMPLETED, CONTINUED_AS_NEW)
    return condition == "not_completed_cleanly" and not clean


def _refused(rejection: Rejection) -> Refused:
    return Refused(
        code=rejection.code,
        message=rejection.message,
        run_id=rejection.run_id,
        status=rejection.status,
    )
