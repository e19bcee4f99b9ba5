"""Invariants of what was let out (A, B, G): answers, outcomes and tasks, and what is accepted."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from perdure_schemas import child_commands
from perdure_schemas import commands as cmd
from perdure_schemas import events as ev
from perdure_schemas import message_commands as msg
from perdure_schemas import operator_commands as opc
from perdure_schemas import operator_events as ope
from perdure_schemas import replies as rep
from perdure_schemas.avro import UnreadableRecordError, decode
from perdure_schemas.payloads import Record
from perdure_schemas.tasks import ActivityTask
from perdure_schemas.transition import Outcome
from tests.simulation.evidence import Report
from tests.simulation.ledger import CLOSING, Entry, Ledger, Stored, Violation

COMMAND_BYTES_MAX = 1024 * 1024
ROUTED = (
    cmd.StartWorkflow,
    cmd.CancelWorkflow,
    cmd.TerminateWorkflow,
    msg.SignalWorkflow,
    msg.UpdateWorkflow,
    opc.PauseActivity,
    opc.UnpauseActivity,
    opc.ResetActivity,
    opc.RetryActivityNow,
    opc.FailActivityNow,
    opc.UpdateActivityOptions,
)

KNOWN = {module.__name__ for module in (cmd, msg, opc, child_commands)}
"""Where the commands are that a host takes."""


@dataclass
class Op:
    """What a client asked for and what it heard; unanswered is "info": it may have happened."""

    kind: str
    workflow_id: str
    correlation_id: str
    request_id: str = ""
    partition: int = -1
    invoked_ms: int = 0
    answered_ms: int = 0
    answer: Record | None = None
    offset: int = -1
    """The events offset that the answer is current to."""

    @property
    def outcome(self) -> str:
        """ok, fail or info."""
        if self.answer is None:
            return "info"
        return "fail" if isinstance(self.answer, rep.Refused) else "ok"


def read_commands(records: Iterable[Stored]) -> tuple[list[Report], list[Stored]]:
    """The commands of a topic in order, and the records that are none."""
    found: list[Report] = []
    poison: list[Stored] = []
    for record in sorted(records, key=lambda one: (one.partition, one.offset)):
        try:
            command = decode(record.value, bytes_max=COMMAND_BYTES_MAX)
        except UnreadableRecordError:
            poison.append(record)
            continue
        if type(command).__module__ not in KNOWN:
            poison.append(record)
            continue
        found.append(Report(record.partition, record.offset, record.timestamp_ms, command))
    return found, poison


class AnswerCheck:
    """Holds everything that left against the ledger."""

    def __init__(self, ledger: Ledger, reports: Sequence[Report]) -> None:
        self._ledger = ledger
        self._reports = reports
        self._by_request: dict[tuple[str, str], list[tuple[Entry, Outcome]]] = {}
        self._by_input: dict[tuple[int, int], list[tuple[Entry, Outcome]]] = {}
        for entry, outcome in ledger.outcomes:
            self._by_input.setdefault((entry.partition, outcome.offset), []).append(
                (entry, outcome)
            )
            if outcome.request_id and outcome.outcome in ("applied", "refused"):
                key = (outcome.workflow_id, outcome.request_id)
                self._by_request.setdefault(key, []).append((entry, outcome))
        self._asks: dict[str, Report] = {}
        # An ask may be on the log more than once; its first time counts.
        for report in sorted(reports, key=lambda one: one.appended_ms):
            reply = getattr(report.command, "reply", None)
            if reply is not None:
                self._asks.setdefault(reply.correlation_id, report)
        self._granted: dict[bytes, str] = {}

    def _fail(self, letter: str, text: str) -> None:
        self._ledger.violations.append(Violation(letter, text))

    # -- outcomes --

    def check_outcomes(self, poison: Sequence[Stored]) -> None:
        """A: every taken command has its outcome once; C: no input has two."""
        for (partition, offset), found in self._by_input.items():
            if len(found) > 1:
                self._fail("C", f"input {partition}@{offset} has {len(found)} outcomes")
            entry = found[0][0]
            if not entry.after < offset <= entry.upto:
                text = f"covers inputs ({entry.after}, {entry.upto}], not {offset}"
                self._fail("C", f"events-{entry.partition}@{entry.offset} {text}")
        for key, found in self._by_request.items():
            if len(found) > 1:
                self._fail("A", f"request {key} was taken {len(found)} times")
        forwarded = {
            (entry.partition, outcome.offset)
            for entry, outcome in self._ledger.outcomes
            if outcome.outcome in ("forwarded", "dead")
        }
        for report in self._reports:
            command: Any = report.command
            if report.offset > self._ledger.upto.get(report.partition, -1):
                continue
            if not isinstance(command, ROUTED) or not command.request_id:
                continue
            taken = (command.workflow_id, command.request_id) in self._by_request
            if not taken and (report.partition, report.offset) not in forwarded:
                name = f"{type(command).__name__} of {command.workflow_id}"
                self._fail("A", f"{name} at {report.partition}@{report.offset} has no outcome")
        for record in poison:
            if record.offset <= self._ledger.upto.get(record.partition, -1):
                outcomes = self._by_input.get((record.partition, record.offset), [])
                if [outcome.outcome for _, outcome in outcomes] != ["dead"]:
                    self._fail("A", f"poison at {record.partition}@{record.offset} was dropped")

    def check_reports(self) -> None:
        """A: no report of a current attempt was read and dropped."""
        covering: dict[int, list[Entry]] = {}
        for entry in self._ledger.entries:
            covering.setdefault(entry.partition, []).append(entry)
        ends = _ends_of_attempts(self._ledger)
        for report in self._reports:
            command: Any = report.command
            if not isinstance(command, cmd.CompleteActivity | cmd.FailActivity):
                continue
            issue = self._ledger.issued.get(command.token)
            if issue is None or (report.partition, report.offset) in self._by_input:
                continue
            cover = _first_covering(covering.get(report.partition, []), report.offset)
            end = ends.get((issue.run_id, issue.activity_id, issue.fact.seq))
            if cover is not None and (end is None or end > cover.offset):
                name = f"{type(command).__name__} at {report.partition}@{report.offset}"
                text = f"of attempt {issue.attempt} of activity {issue.activity_id}"
                self._fail("A", f"{name} {text} of run {issue.run_id} was read and dropped")

    # -- replies --

    def check_replies(self, records: Iterable[Stored]) -> None:
        """Nothing is answered before it is accepted (rule 5), and every answer is true."""
        sent: dict[int, list[tuple[int, rep.Reply]]] = {}
        for record in sorted(records, key=lambda one: (one.partition, one.offset)):
            reply = decode(record.value)
            if not isinstance(reply, rep.Reply):
                self._fail("A", f"a {type(reply).__name__} among the replies")
                continue
            self._check_reply(reply, decode(reply.body))
            sent.setdefault(reply.partition, []).append((record.timestamp_ms, reply))
        for replies in sent.values():
            self._check_freshness(sorted(replies, key=lambda one: one[0]))

    def _check_freshness(self, replies: Sequence[tuple[int, rep.Reply]]) -> None:
        """G: an answer is never older than what had been let out before it was asked for."""
        times = [sent_ms for sent_ms, _ in replies]
        newest: list[int] = []
        for _, reply in replies:
            newest.append(max(newest[-1] if newest else -1, reply.offset))
        for _, reply in replies:
            report = self._asks.get(reply.correlation_id)
            if report is None or isinstance(report.command, cmd.ClaimActivity):
                continue
            if isinstance(decode(reply.body), rep.Notice):
                # A hint while somebody waits, from whoever holds itself to be the owner.
                continue
            before = bisect_left(times, report.appended_ms)
            if before and reply.offset < newest[before - 1]:
                name = f"{type(report.command).__name__} at {report.partition}@{report.offset}"
                text = f"was answered from {reply.offset}; {newest[before - 1]} had been shown"
                self._fail("G", f"{name} {text} before it was asked")

    def _check_reply(self, reply: rep.Reply, body: Record) -> None:
        if isinstance(body, rep.WorkerOrders):
            self._check_orders(reply, body)
            return
        report = self._asks.get(reply.correlation_id)
        if report is None:
            return
        command: Any = report.command
        where = f"the answer {type(body).__name__} to {type(command).__name__}"
        where += f" of {getattr(command, 'workflow_id', '')} current to {reply.offset}"
        if isinstance(body, rep.RunClosed):
            self._check_closed(reply, body, where)
        elif isinstance(command, ROUTED) and isinstance(body, rep.Accepted | rep.Refused):
            self._check_taken(reply, command, body, where)
        elif isinstance(command, cmd.DescribeWorkflow):
            self._check_description(reply, command, body, where)
        elif isinstance(body, rep.Refused) and isinstance(command, cmd.AwaitResult):
            self._check_missing(reply, command, where)

    def _check_closed(self, reply: rep.Reply, body: rep.RunClosed, where: str) -> None:
        run = self._ledger.runs.get(body.run_id)
        closing = run.closing if run else None
        if run is None or closing is None or closing.entry.offset > reply.offset:
            self._fail("A", f"{where}: run {body.run_id} is not closed there")
            return
        event: Any = closing.event
        if run.status_at(reply.offset) != body.status:
            self._fail("A", f"{where}: says {body.status}, the log {run.status_at(reply.offset)}")
        if getattr(event, "result", None) != body.result:
            self._fail("A", f"{where}: another result than the log's")

    def _check_taken(self, reply: rep.Reply, command: Any, body: Any, where: str) -> None:
        if not command.request_id:
            return
        found = self._by_request.get((command.workflow_id, command.request_id), [])
        said = "refused" if isinstance(body, rep.Refused) else "applied"
        brings = getattr(command, "update", None) is not None
        if (
            said == "refused"
            and brings
            and any(one.reason.startswith(body.code) for _, one in found)
        ):
            # The start was taken, and the update that it brought was not.
            said = found[0][1].outcome
        if said == "refused" and body.code == "not_found" and found:
            gone = self._ledger.forgotten.get(found[0][1].run_id)
            if gone is not None and gone.offset <= reply.offset:
                # Asked once more what became of a run that is known no more.
                return
        if not any(outcome.outcome == said for _, outcome in found):
            self._fail("A", f"{where}: no accepted record has it {said}")
            return
        entry, outcome = found[0]
        if entry.offset > reply.offset:
            self._fail("A", f"{where}: it was accepted at {entry.offset}, later")
        if isinstance(body, rep.Accepted):
            if body.run_id != outcome.run_id:
                self._fail("A", f"{where}: names run {body.run_id}, the log {outcome.run_id}")
            run = self._ledger.runs.get(body.run_id)
            is_start = isinstance(command, cmd.StartWorkflow)
            if run is None and is_start and body.started:
                self._fail("A", f"{where}: run {body.run_id} does not exist")

    def _check_description(self, reply: rep.Reply, command: Any, body: Any, where: str) -> None:
        if isinstance(body, rep.Refused):
            self._check_missing(reply, command, where)
        elif isinstance(body, rep.RunDescription):
            run = self._ledger.runs.get(body.summary.run_id)
            status = run.status_at(reply.offset) if run else ""
            if status != body.summary.status:
                self._fail("G", f"{where}: says {body.summary.status}, the log {status!r}")

    def _check_missing(self, reply: rep.Reply, command: Any, where: str) -> None:
        for run in self._ledger.of_workflow(command.workflow_id):
            wanted = command.run_id in ("", run.run_id)
            gone = self._ledger.forgotten.get(run.run_id)
            is_gone = gone is not None and gone.offset <= reply.offset
            if wanted and run.started.entry.offset <= reply.offset and not is_gone:
                self._fail("G", f"{where}: refused, but run {run.run_id} exists there")

    def _check_orders(self, reply: rep.Reply, orders: rep.WorkerOrders) -> None:
        """D: a grant names the worker of an accepted ActivityStarted, one an attempt."""
        report = self._asks.get(reply.correlation_id)
        if not orders.granted or not orders.token:
            return
        issue = self._ledger.issued.get(orders.token)
        if issue is None:
            self._fail("B", f"an attempt was granted that nobody issued ({orders.token.hex()})")
            return
        workers = [
            fact.event.worker_id
            for fact in self._ledger.runs[issue.run_id].facts
            if isinstance(fact.event, ev.ActivityStarted)
            and fact.event.activity_id == issue.activity_id
            and fact.event.attempt == issue.attempt
            and fact.seq > issue.fact.seq
            and fact.entry.offset <= reply.offset
        ]
        if not workers:
            name = f"attempt {issue.attempt} of activity {issue.activity_id} of {issue.run_id}"
            self._fail("B", f"{name} was granted at {reply.offset} before its start was accepted")
        elif report is not None and getattr(report.command, "worker_id", "") not in workers:
            self._fail("D", f"attempt {issue.attempt} was granted to one that did not claim it")

    # -- tasks and dead letters --

    def check_tasks(self, records: Iterable[Stored]) -> None:
        """B: every task was issued by an accepted event, and says the same as it."""
        for record in records:
            task = decode(record.value)
            if not isinstance(task, ActivityTask):
                self._fail("B", f"a {type(task).__name__} among the tasks")
                continue
            issue = self._ledger.issued.get(task.token)
            named = (task.run_id, task.activity_id, task.attempt)
            if issue is None:
                self._fail("B", f"the task {named} was never accepted")
            elif (issue.run_id, issue.activity_id, issue.attempt) != named:
                self._fail("F", f"the task {named} bears the token of {issue[:3]}")

    def check_dead(self, records: Iterable[Stored]) -> None:
        """A: what was put aside is where people find it."""
        kept = set()
        for record in records:
            headers = dict(record.headers or ())
            partition = headers.get("perdure-partition", b"-1")
            kept.add((int(partition), int(headers.get("perdure-offset", b"-1"))))
        moved = {getattr(report.command, "request_id", "") for report in self._reports}
        for entry, outcome in self._ledger.outcomes:
            key = (entry.partition, outcome.offset)
            if outcome.outcome == "dead" and key not in kept:
                self._fail("A", f"the dead letter of input {key} is lost")
            elif outcome.outcome == "forwarded" and outcome.value is not None:
                command: Any = decode(outcome.value)
                if command.request_id not in moved:
                    self._fail("A", f"the forwarded input {key} is lost")


def _ends_of_attempts(ledger: Ledger) -> dict[tuple[str, str, int], int]:
    """Where each issued attempt was over: (run, activity, seq of its issue) -> events offset."""
    ends: dict[tuple[str, str, int], int] = {}
    for run in ledger.runs.values():
        current: dict[str, int] = {}
        for fact in run.facts:
            event: Any = fact.event
            if isinstance(event, CLOSING):
                for activity_id, seq in current.items():
                    ends.setdefault((run.run_id, activity_id, seq), fact.entry.offset)
            elif isinstance(event, ev.ActivityScheduled):
                current[event.activity_id] = fact.seq
            elif _ends_attempt(event) and event.activity_id in current:
                key = (run.run_id, event.activity_id, current[event.activity_id])
                ends.setdefault(key, fact.entry.offset)
                if isinstance(event, ev.ActivityAttemptScheduled):
                    current[event.activity_id] = fact.seq
    return ends


def _ends_attempt(event: Any) -> bool:
    if isinstance(event, ope.ActivityPaused):
        # It went unused, or it was the last.
        return event.attempt > 0
    return isinstance(event, _ENDS_ATTEMPT)


_ENDS_ATTEMPT = (
    ev.ActivityAttemptScheduled,
    ev.ActivityRetryScheduled,
    ev.ActivityCompleted,
    ev.ActivityFailed,
    ev.ActivityTimedOut,
    ev.ActivityCanceled,
)


def _first_covering(entries: Sequence[Entry], offset: int) -> Entry | None:
    at = bisect_left(entries, offset, key=lambda entry: entry.upto)
    return entries[at] if at < len(entries) else None
