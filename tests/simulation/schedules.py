"""Invariants of schedules (S): each time is taken once, or counted as missed or skipped.

A schedule is followed over all runs of its chain by what it was told, what it asked for and what
it showed of itself. When it is due is worked out anew here; its own arithmetic is not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from perdure._schedules import schedule_records
from perdure._schedules.schedule import CATCHUP_WINDOW_DEFAULT
from perdure._schedules.schedule import ScheduleOverlapPolicy as Overlap
from perdure_schemas import child_events as ce
from perdure_schemas import events as ev
from perdure_schemas import replies as rep
from perdure_schemas.fact_events import MemoUpserted
from tests.simulation.answers import Op
from tests.simulation.families import OUTCOMES
from tests.simulation.ledger import Entry, Ledger, RunLog, Stored
from tests.simulation.timetables import (
    EPOCH,
    INSTANT,
    Chain,
    Turn,
    chains,
    holds,
    is_over,
    schedule_of,
    standing_of,
    time_of,
    times_between,
    value_of,
)

LOOKED_MAX = 500
SETTLED_MS = 15_000
"""How soon after the last fault a schedule has heard of everything."""
LATE = timedelta(seconds=20)
"""How late a healed schedule may be when it is deleted."""


class ScheduleCheck:
    """Follows every schedule of a ledger."""

    def __init__(self, ledger: Ledger, commands: Iterable[Stored] = ()) -> None:
        self._ledger = ledger
        self._asked_ms = {(one.partition, one.offset): one.timestamp_ms for one in commands}
        self.chains = [Chain(runs) for runs in chains(ledger)]

    def check_all(self, *, healed_ms: int | None = None) -> None:
        """Walk every schedule; healed_ms: since when nothing went wrong, by the log's clock."""
        for chain in self.chains:
            self._walk(chain)
            closing = chain.runs[-1].closing
            if chain.shown is None or closing is None:
                continue
            self._check_limit(chain, closing.entry)
            if healed_ms is not None and closing.entry.appended_ms > healed_ms + SETTLED_MS:
                self._check_end(chain, chain.shown, closing.entry)

    def _fail(self, entry: Entry, text: str) -> None:
        where = f"events-{entry.partition}@{entry.offset}"
        self._ledger.fail("S", f"{where}: schedule {entry.body.workflow_id} {text}")

    def _walk(self, chain: Chain) -> None:
        blocked = any(isinstance(f.event, ev.WorkflowBlocked) for r in chain.runs for f in r.facts)
        if blocked:
            # Inputs that waited are taken later, and say another time than their own.
            return
        for run in chain.runs:
            for _, facts in groupby(run.facts, key=lambda fact: fact.entry.offset):
                found = list(facts)
                self._take(chain, run, found[0].entry, [fact.event for fact in found])

    def _take(self, chain: Chain, run: RunLog, entry: Entry, events: list[Any]) -> None:
        shown = chain.shown
        for event in events:
            if isinstance(event, MemoUpserted) and schedule_records.LISTED_KEY in event.memo:
                shown = schedule_records.decode_listed(
                    value_of(event.memo[schedule_records.LISTED_KEY])
                )
        # One that is deleted does nothing more, and one that was to follow has not begun.
        if shown is None or any(isinstance(event, ev.WorkflowTerminated) for event in events):
            return
        now = EPOCH + timedelta(milliseconds=entry.time_ms)
        asked = [event for event in events if isinstance(event, ce.ChildWorkflowInitiated)]
        turn = Turn(entry, now, events, asked, shown, chain.shown)
        self._begin(chain, turn)
        self._balance(chain, turn)
        self._check_asked(chain, turn)
        policies = {one.policy.pause_on_failure for one in (turn.before or shown, shown)}
        # One that was taken in the moment of a change may be of either schedule.
        pauses = policies.pop() if len(policies) == 1 else None
        for child in asked:
            chain.running[child.child_id] = (run.run_id, pauses)
        if chain.counts and chain.buffered and not chain.running:
            self._fail(entry, f"lets {chain.buffered} actions wait, and nothing runs")
        chain.shown = shown
        chain.history.append((entry.offset, run.run_id, shown))
        for event in events:
            if isinstance(event, ev.WorkflowContinuedAsNew):
                self._check_going_on(chain, turn, event)

    def _begin(self, chain: Chain, turn: Turn) -> None:
        """What a transition was told of children, its own and those it has taken over."""
        for event in turn.events:
            if isinstance(event, ev.WorkflowStarted):
                left = {child.child_id for child in event.children}
                if left != set(chain.running):
                    text = f"goes on with children {sorted(left)}, and {sorted(chain.running)} run"
                    self._fail(turn.entry, text)
            elif isinstance(event, ce.ChildWorkflowStartFailed) or type(event) in OUTCOMES:
                asker, pauses = chain.running.pop(event.child_id, ("", False))
                if not asker:
                    self._fail(turn.entry, f"hears of child {event.child_id}, which does not run")
                fails = isinstance(event, ce.ChildWorkflowFailed | ce.ChildWorkflowTimedOut)
                if pauses and fails and not turn.shown.state.paused:
                    self._fail(turn.entry, "is not paused, though an action has failed")
                is_new = turn.shown.state.paused and not (turn.before and turn.before.state.paused)
                if is_new and not (fails and pauses is not False):
                    self._fail(turn.entry, f"is paused after a {type(event).__name__}")

    # -- which are due --

    def _looked(self, turn: Turn) -> list[datetime]:
        """The times that this transition was the one to look at."""
        before, shown = turn.before, turn.shown
        if before is None:
            upto = shown.created_at
            return [] if holds(shown) else times_between(schedule_of(shown), upto, shown.upto)
        paused_by_failure = shown.state.paused and not turn.told("pause")
        if holds(before) or (paused_by_failure and not before.state.paused):
            return []
        if not turn.told("update") or shown.spec == before.spec:
            return times_between(schedule_of(before), before.upto, shown.upto)
        # What was due before the change, and then what is due by it at this very moment.
        found = times_between(schedule_of(before), before.upto, turn.now)
        last = max([before.upto, *found, turn.now - INSTANT])
        return found + times_between(schedule_of(shown), last, shown.upto)

    def _asked_by_hand(self, turn: Turn) -> list[tuple[datetime, Overlap]]:
        """The actions that somebody asked for in this transition."""
        policy = turn.shown.policy.overlap
        found = []
        second = turn.now.replace(microsecond=0)
        for (overlap,) in turn.told("trigger"):
            found.append((second, Overlap(overlap or policy)))
        for (spans,) in turn.told("backfill"):
            for one in schedule_records.decode_backfills(spans):
                times = times_between(schedule_of(turn.shown), one.start_at - INSTANT, one.end_at)
                found += [(at, Overlap(one.overlap or policy)) for at in times]
        started = turn.events[0]
        is_first = turn.before is None and isinstance(started, ev.WorkflowStarted)
        if is_first and schedule_records.decode_state(value_of(started.input[0])).triggers:
            found.append((second, policy))
        return found

    def _balance(self, chain: Chain, turn: Turn) -> None:
        """Every time that was looked at is taken, missed, skipped, or waits."""
        looked, by_hand = self._looked(turn), self._asked_by_hand(turn)
        shown, before = turn.shown, turn.before
        acted = shown.num_actions - (before.num_actions if before else 0)
        missed = shown.num_missed - (before.num_missed if before else 0)
        skipped = shown.num_skipped - (before.num_skipped if before else 0)
        if acted != len(turn.asked):
            self._fail(turn.entry, f"counts {acted} actions, and takes {len(turn.asked)}")
        self._check_missed(turn, looked, missed)
        said = sum(bool(one.reason) and one.taken_at == turn.now for one in shown.recent)
        if said < min(missed + skipped, schedule_records.LISTED_MAX):
            self._fail(turn.entry, f"skips and misses {missed + skipped}, and says so of {said}")
        chain.due.update(looked)
        chain.due.update(at for at, _ in by_hand)
        chain.by_hand.update(at for at, _ in by_hand)
        chain.buffered += len(looked) + len(by_hand) - acted - missed - skipped
        if is_over(shown):
            # What has no action left is dropped where it waits.
            chain.counts = False
        if chain.counts and chain.buffered < 0:
            text = f"takes, misses and skips {-chain.buffered} more than were due"
            self._fail(turn.entry, text)
        if not holds(shown):
            self._check_idle(turn, looked)
            self._check_skipped(chain, turn, looked, skipped)
        self._check_overlap(chain, turn, looked, by_hand)

    def _check_missed(self, turn: Turn, looked: Sequence[datetime], missed: int) -> None:
        """Only what was due before the catch-up window is missed, and all of that."""
        schedule = schedule_of(turn.before or turn.shown)
        window = schedule.policy.catchup_window or CATCHUP_WINDOW_DEFAULT
        jitter = schedule.spec.jitter or timedelta(0)
        most = sum(turn.now - at > window for at in looked)
        least = sum(turn.now - at - jitter > window for at in looked)
        if not least <= missed <= most:
            text = f"misses {missed} of {len(looked)} times; {least} to {most} were too late"
            self._fail(turn.entry, text)

    def _check_idle(self, turn: Turn, looked: Sequence[datetime]) -> None:
        """Nothing that is due is left unlooked at, and nothing is looked at before it is due."""
        if looked and looked[-1] > turn.now:
            self._fail(turn.entry, f"looks at {looked[-1]} at {turn.now}")
        jitter = turn.shown.spec.jitter or timedelta(0)
        left = times_between(schedule_of(turn.shown), turn.shown.upto, turn.now - jitter)
        if left and len(looked) < LOOKED_MAX:
            self._fail(turn.entry, f"does not look at {len(left)} times that are due")

    def _check_skipped(
        self, chain: Chain, turn: Turn, looked: Sequence[datetime], skipped: int
    ) -> None:
        """Nothing is skipped where nothing was in its way."""
        if skipped and not chain.running and not turn.asked and turn.before is not None:
            text = f"skips {skipped} of {len(looked)} times, and nothing ran"
            self._fail(turn.entry, text)

    # -- which are taken --

    def _check_overlap(
        self,
        chain: Chain,
        turn: Turn,
        looked: Sequence[datetime],
        by_hand: Sequence[tuple[datetime, Overlap]],
    ) -> None:
        """Only what may overlap begins beside what runs."""
        before = turn.before or turn.shown
        beside = sum(overlap is Overlap.ALLOW_ALL for _, overlap in by_hand)
        if Overlap.ALLOW_ALL in (before.policy.overlap, turn.shown.policy.overlap):
            beside += len(looked)
        alone = 0 if chain.running else 1
        if len(turn.asked) > beside + alone:
            text = f"takes {len(turn.asked)} actions beside {sorted(chain.running)} that run;"
            self._fail(turn.entry, f"{text} {beside} may overlap")

    def _check_asked(self, chain: Chain, turn: Turn) -> None:
        """What is taken was due, and not taken before; a paused or spent schedule takes nothing."""
        before = turn.before
        held = before is not None and holds(before) and holds(turn.shown)
        for child in turn.asked:
            at = time_of(child.workflow_id)
            if not chain.due[at]:
                self._fail(turn.entry, f"takes the action of {at}, which was not due, or again")
            chain.due[at] -= 1
            if held and not chain.by_hand[at]:
                self._fail(turn.entry, f"takes the action of {at} while it is paused or over")
            # Where one of a time is by hand and one is not, the other was the first.
            chain.by_hand[at] = min(chain.by_hand[at], chain.due[at])

    # -- from run to run --

    def _check_going_on(self, chain: Chain, turn: Turn, event: ev.WorkflowContinuedAsNew) -> None:
        """Nothing is lost between two runs."""
        state = schedule_records.decode_state(value_of(event.input[0]))
        standing, shown = state.standing, turn.shown
        if standing is None:
            self._fail(turn.entry, "goes on without its standing")
            return
        watched = {one.child_id for one in state.watched}
        if watched != set(chain.running):
            text = f"goes on watching {sorted(watched)}, and {sorted(chain.running)} run"
            self._fail(turn.entry, text)
        if chain.counts and len(standing.buffered) != chain.buffered:
            text = f"goes on with {len(standing.buffered)} actions that wait, of {chain.buffered}"
            self._fail(turn.entry, text)
        if standing_of(standing, state.schedule) != standing_of(shown, schedule_of(shown)):
            self._fail(turn.entry, "goes on as another than it showed itself")

    def _check_limit(self, chain: Chain, last: Entry) -> None:
        """A schedule keeps to its limit; nobody takes actions of a limited one by hand here."""
        started, shown = chain.runs[0].started.event, chain.shown
        assert isinstance(started, ev.WorkflowStarted)
        made = schedule_records.decode_state(value_of(started.input[0])).schedule.state
        if made.limited_actions and shown and shown.num_actions > made.remaining_actions:
            text = f"took {shown.num_actions} actions of {made.remaining_actions} that it has"
            self._fail(last, text)

    def _check_end(self, chain: Chain, shown: schedule_records.Listed, last: Entry) -> None:
        """A schedule that was deleted when all was well was not behind in anything."""
        now = EPOCH + timedelta(milliseconds=last.time_ms)
        jitter = shown.spec.jitter or timedelta(0)
        left = times_between(schedule_of(shown), shown.upto, now - jitter - LATE)
        if left and not holds(shown):
            self._fail(last, f"was deleted {len(left)} times behind")
        # Inputs are taken in order: what came in before the wish to delete it has been heard.
        asked_ms = self._asked_ms.get((last.partition, last.upto), last.appended_ms)
        ended = self._ended_before(chain, asked_ms - SETTLED_MS)
        for child_id, (asker, _) in chain.running.items():
            if (asker, child_id) in ended:
                self._fail(last, f"was never told that child {child_id} has ended")

    def _ended_before(self, chain: Chain, time_ms: int) -> set[tuple[str, str]]:
        """The children of a schedule that ended for good before a time by the log's clock."""
        parents = {run.run_id for run in chain.runs}
        found = set()
        for run in self._ledger.runs.values():
            started, closing = run.started.event, run.closing
            if not isinstance(started, ev.WorkflowStarted) or started.parent is None:
                continue
            if closing is None or isinstance(closing.event, ev.WorkflowContinuedAsNew):
                continue
            if started.parent.run_id in parents and closing.entry.appended_ms < time_ms:
                found.add((started.parent.run_id, started.child_id))
        return found

    # -- answers --

    def check_answers(self, ops: Sequence[Op]) -> None:
        """Whoever asked how a schedule stands saw what it showed, and nothing from the past."""
        shown = {run.run_id: chain for chain in self.chains for run in chain.runs}
        for op in ops:
            answer = op.answer
            if not isinstance(answer, rep.QueryAnswer) or answer.result is None:
                continue
            chain = shown.get(answer.run_id)
            if chain is None:
                continue
            heard = [
                one.offset
                for one in ops
                if one.workflow_id == op.workflow_id and 0 < one.answered_ms < op.invoked_ms
            ]
            known = [
                (at, standing_of(one, schedule_of(one)))
                for at, run_id, one in chain.history
                if run_id == answer.run_id and at <= op.offset
            ]
            first = sum(at <= max(heard, default=-1) for at, _ in known)
            described = schedule_records.decode_described(value_of(answer.result))
            told = standing_of(described.standing, described.schedule)
            if known and told not in [one for _, one in known[max(first - 1, 0) :]]:
                text = f"query of {op.workflow_id} at {op.offset}: another standing than the log's"
                self._ledger.fail("S", text)
