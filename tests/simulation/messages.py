"""Invariants of messages (A, G): each taken once, answered when it is, and seen by queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from perdure_schemas import events
from perdure_schemas import message_commands as msg
from perdure_schemas import message_events as ev
from perdure_schemas import replies as rep
from perdure_schemas.events import WorkflowStarted
from perdure_schemas.payloads import SignalInput
from tests.simulation.answers import Op
from tests.simulation.evidence import Report
from tests.simulation.ledger import Fact, Ledger, RunLog
from tests.simulation.timetables import is_schedule
from tests.simulation.waiting import WaitingCheck


class MessageCheck:
    """Holds signals, updates and queries against the ledger."""

    def __init__(self, ledger: Ledger, reports: Sequence[Report]) -> None:
        self._ledger = ledger
        self._reports = reports
        self._waits = WaitingCheck(ledger)
        self._waits.walk()
        self._signals: dict[tuple[str, str], list[tuple[RunLog, Fact]]] = {}
        self._updates: dict[tuple[str, str], list[tuple[RunLog, Fact]]] = {}
        self._done: dict[tuple[str, str], list[Fact]] = {}
        for run in ledger.runs.values():
            for fact in run.facts:
                self._note(run, fact)

    def _note(self, run: RunLog, fact: Fact) -> None:
        event = fact.event
        if isinstance(event, WorkflowStarted):
            self._check_brought(run, fact, event)
            for signal in event.signals:
                key = (run.workflow_id, signal.request_id)
                self._signals.setdefault(key, []).append((run, fact))
        elif isinstance(event, ev.WorkflowSignaled):
            key = (run.workflow_id, event.request_id)
            self._signals.setdefault(key, []).append((run, fact))
        elif isinstance(event, ev.WorkflowUpdateAccepted):
            key = (run.workflow_id, event.update_id)
            self._updates.setdefault(key, []).append((run, fact))
        elif isinstance(event, ev.WorkflowUpdateCompleted):
            self._done.setdefault((run.run_id, event.update_id), []).append(fact)

    def _check_brought(self, run: RunLog, fact: Fact, event: WorkflowStarted) -> None:
        """A: an update that its run begins with is accepted in the record of the start."""
        if event.update is None:
            return
        found = [
            one
            for one in run.facts
            if one.seq == fact.seq + 1
            and one.entry.offset == fact.entry.offset
            and getattr(one.event, "update_id", "") == event.update.update_id
        ]
        if not found:
            name = f"update {event.update.update_id} of {run.workflow_id} run {run.run_id}"
            self._fail("A", f"{name} is not in the record of the start that it came with")

    def _fail(self, letter: str, text: str) -> None:
        self._ledger.fail(letter, text)

    def check_taken_once(self) -> None:
        """A: a message that was applied happened once, one that was refused did not."""
        outcomes = {
            (outcome.workflow_id, outcome.request_id): outcome.outcome
            for _, outcome in self._ledger.outcomes
            if outcome.request_id and outcome.outcome in ("applied", "refused")
        }
        unheard = {*self._waits.still, *self._waits.expired}
        for workflow_id, name, key, happened in self._sent():
            # What waits for a start, or did so in vain, has been taken all the same.
            found = happened + ((workflow_id, key) in unheard)
            wanted = {"applied": 1, "refused": 0}.get(outcomes.get((workflow_id, key), ""))
            if wanted is not None and found != wanted:
                said = outcomes[workflow_id, key]
                self._fail("A", f"{name} of {workflow_id} was {said} and happened {found} times")
        for (run_id, update_id), facts in self._done.items():
            if len(facts) > 1:
                self._fail("C", f"update {update_id} of run {run_id} ended {len(facts)} times")
        for (workflow_id, update_id), taken in self._updates.items():
            if len(taken) > 1:
                text = f"update {update_id} of {workflow_id} was accepted {len(taken)} times"
                self._fail("A", text)

    def _sent(self) -> Iterator[tuple[str, str, str, int]]:
        """Each message that was sent: workflow, name, request id, and how often it happened."""
        seen = set()
        for report in self._reports:
            command = report.command
            if not isinstance(command, msg.SignalWorkflow | msg.UpdateWorkflow):
                continue
            key = (command.workflow_id, command.request_id)
            if not command.request_id or key in seen:
                continue
            seen.add(key)
            if isinstance(command, msg.SignalWorkflow):
                found = self._signals.get(key, [])
                name = f"signal {command.request_id}"
            else:
                found = self._updates.get((command.workflow_id, command.update_id), [])
                name = f"update {command.update_id}"
            yield *key[:1], name, key[1], len(found)

    def check_answers(self, ops: Sequence[Op]) -> None:
        """A, G: answers say what is accepted where they say it is."""
        told = [op for op in ops if op.kind == "signal" and isinstance(op.answer, rep.Accepted)]
        for op in told:
            self._check_signal(op)
        for op in ops:
            if isinstance(op.answer, rep.UpdateAnswer):
                self._check_update(op, op.answer)
            elif isinstance(op.answer, rep.QueryAnswer):
                self._check_query(op, op.answer, told)

    def _check_signal(self, op: Op) -> None:
        assert isinstance(op.answer, rep.Accepted)
        found = self._signals.get((op.workflow_id, op.request_id), [])
        if not op.answer.run_id:
            kept = self._waits.kept.get((op.workflow_id, op.request_id))
            if kept is None or kept.offset > op.offset:
                text = f"signal {op.request_id} of {op.workflow_id} was said to wait at {op.offset}"
                self._fail("A", f"{text} and was not kept there")
            return
        if not any(
            run.run_id == op.answer.run_id and fact.entry.offset <= op.offset for run, fact in found
        ):
            text = f"signal {op.request_id} of {op.workflow_id} was acknowledged at {op.offset}"
            self._fail("A", f"{text} and is not in run {op.answer.run_id} there")

    def _check_update(self, op: Op, answer: rep.UpdateAnswer) -> None:
        where = f"update {answer.update_id} of {op.workflow_id} answered at {op.offset}"
        found = self._updates.get((op.workflow_id, answer.update_id), [])
        taken = [fact for run, fact in found if run.run_id == answer.run_id]
        if answer.stage == "rejected":
            if found:
                self._fail("A", f"{where}: refused, and accepted all the same")
        elif not taken or taken[0].entry.offset > op.offset:
            self._fail("A", f"{where}: it was not accepted there")
        elif answer.stage == "completed":
            self._check_outcome(op, answer, where)

    def _check_outcome(self, op: Op, answer: rep.UpdateAnswer, where: str) -> None:
        done = self._done.get((answer.run_id, answer.update_id), [])
        run = self._ledger.runs[answer.run_id]
        event = done[0].event if done and done[0].entry.offset <= op.offset else None
        if event is None:
            closing = run.closing
            if closing is None or closing.entry.offset > op.offset or answer.failure is None:
                self._fail("A", f"{where}: it had no outcome there")
        elif isinstance(event, ev.WorkflowUpdateCompleted) and event.result != answer.result:
            self._fail("A", f"{where}: another result than the log's")

    def _check_query(self, op: Op, answer: rep.QueryAnswer, told: Sequence[Op]) -> None:
        """What a query saw is what its run was told by then, and all that was acknowledged."""
        if answer.result is None:
            return
        where = f"query of {op.workflow_id} run {answer.run_id} answered at {op.offset}"
        run = self._ledger.runs.get(answer.run_id)
        if run is None:
            self._fail("G", f"{where}: there is no such run")
            return
        if is_schedule(run):
            return
        seen: list[str] = msgspec.json.decode(answer.result.data)
        signals: list[tuple[ev.WorkflowSignaled | SignalInput, int]] = []
        for fact in run.facts:
            if isinstance(fact.event, WorkflowStarted):
                signals += [(one, fact.entry.offset) for one in fact.event.signals]
            elif isinstance(fact.event, ev.WorkflowSignaled):
                signals.append((fact.event, fact.entry.offset))
        tokens = [
            msgspec.json.decode(event.input[0].data)
            for event, offset in signals
            if offset <= op.offset
        ]
        if seen != tokens[: len(seen)]:
            self._fail("G", f"{where}: saw {seen}, the log has {tokens}")
        known = {
            one.request_id
            for one in told
            if one.answered_ms < op.invoked_ms
            and isinstance(one.answer, rep.Accepted)
            and one.answer.run_id in (answer.run_id, "")
        }
        known -= _never_taken(run)
        missed = [event for event, _ in signals[len(seen) :] if event.request_id in known]
        if missed:
            self._fail("G", f"{where}: {len(missed)} signals acknowledged before were not seen")


def _never_taken(run: RunLog) -> set[str]:
    """The signals that still waited for fixed code when their blocked run was ended."""
    if run.closing is None:
        return set()
    waiting: set[int] = set()
    names: dict[int, str] = {}
    for fact in run.facts:
        event = fact.event
        if isinstance(event, ev.WorkflowSignaled):
            names[fact.seq] = event.request_id
        if isinstance(event, events.WorkflowBlocked):
            waiting.add(event.input_seq)
        elif isinstance(event, events.WorkflowResumed):
            waiting.discard(event.input_seq)
        elif waiting and type(event) in events.INPUTS:
            waiting.add(fact.seq)
    return {names[seq] for seq in waiting if seq in names}
