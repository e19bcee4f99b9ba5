"""Bugs of messages to plant: lost, taken twice, answered too early, asked of a deposed host."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from perdure_actors.core import messages
from perdure_actors.core.decision import Decision, Step
from perdure_actors.partition.decide_command import CommandDecider, Concluded
from perdure_actors.partition.inbox import Inbox
from perdure_actors.partition.recovery import Recovery
from perdure_actors.partition.signal_buffer_store import SignalBufferStore
from perdure_schemas.avro import decode
from perdure_schemas.message_commands import UpdateWorkflow
from perdure_schemas.message_events import SignalBuffered
from perdure_schemas.replies import Accepted, UpdateAnswer

_decide_signal = messages.decide_signal
_decide_one = CommandDecider._decide_one
_begun_with_update = CommandDecider._begun_with_update
_query = Inbox._query
_apply_partition = Recovery._apply_partition


def lost_between_runs(world: Any, command: Any, now_ms: int) -> Any:
    """The run that follows starts, and nobody gives it the signal."""
    verdict = _decide_signal(world, command, now_ms)
    if not isinstance(verdict, Decision) or verdict.again is None:
        return verdict
    run_id = verdict.steps[0].run_id
    answer = Accepted(workflow_id=command.workflow_id, run_id=run_id, first_run_id=run_id)
    return Decision(verdict.steps, answer, run_id)


def buffer_lost(self: Recovery, body: Any, pseq: int) -> None:
    """A new owner reads over the signals that waited for a start."""
    kept = [data for data in body.events if not isinstance(decode(data), SignalBuffered)]
    _apply_partition(self, replace(body, events=kept), pseq)


def buffer_starts_twice(self: SignalBufferStore, workflow_id: str) -> Any:
    """A run starts with what waited, and it waits on."""
    del self, workflow_id
    return {}


def answered_before_acceptance(self: Any, command: Any, now_ms: int) -> Any:
    """An update is told to be accepted when it was decided."""
    verdict: Any = _decide_one(self, command, now_ms)
    is_new = isinstance(verdict, Decision) and verdict.is_checked
    if is_new and isinstance(command, UpdateWorkflow) and command.reply is not None:
        answer = UpdateAnswer(update_id=command.update_id, run_id=verdict.run_id, stage="accepted")
        journal = self._proposes._journal
        place = journal._partition, journal.meta.offset
        self._code._services.answers.send(command.reply, answer, *place)
    return verdict


def begun_apart(self: Any, workflow_id: str, decision: Any) -> Any:
    """A start and the update that it brings are two records; a host may die between them."""
    done = _begun_with_update(self, workflow_id, decision)
    if not isinstance(done, Concluded):
        return done
    *before, last = done.steps
    apart = [Step(last.run_id, [event]) for event in last.events]
    return replace(done, steps=[*before, *apart])


def query_at_once(self: Inbox, offset: int, ask: Any) -> None:
    """A query of an open run is answered without waiting for a record that covers it."""
    answer = self._code_queries.ask_run(ask)
    if answer is None:
        _query(self, offset, ask)
    else:
        self._requests._answer(ask.reply, answer)
