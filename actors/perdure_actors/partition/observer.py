"""What is accepted, shown to who looks on: run by run, in the order of the log. Nothing waits here.

A view of a run is kept beside it in memory, and made anew from its history when it has gone. How
far everything is shown stands in the log, so that the next owner shows what its predecessor may
not have had the time to.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from perdure_actors.partition.executor import history_of
from perdure_actors.partition.services import Seen
from perdure_schemas.avro import decode, decode_as
from perdure_schemas.transition import TransitionBody

if TYPE_CHECKING:
    from perdure_actors.partition.run_cache import CachedRun, RunCache
    from perdure_actors.partition.services import Services
    from perdure_actors.partition.transition import InFlight
    from perdure_actors.table_layout import Meta
    from perdure_schemas.payloads import Record
    from perdure_topics.ports import Table

RECENT_MAX = 1_000
RECENT_BYTES_MAX = 16 * 1024 * 1024


class RecentTransition(NamedTuple):
    """An accepted transition as a reader of the log has it."""

    pseq: int
    time_ms: int
    body: bytes


class RecentTransitions:
    """The last accepted transitions that were read, as many as may be kept."""

    def __init__(self) -> None:
        self._kept: deque[RecentTransition] = deque()
        self._bytes = 0

    def add(self, one: RecentTransition) -> None:
        """Keep one more, and let go of the oldest where there are too many."""
        self._kept.append(one)
        self._bytes += len(one.body)
        while len(self._kept) > RECENT_MAX or self._bytes > RECENT_BYTES_MAX:
            self._bytes -= len(self._kept.popleft().body)

    def after(self, pseq: int) -> list[RecentTransition]:
        """Those that came after a record."""
        return [one for one in self._kept if one.pseq > pseq]


class Observer:
    """Shows the accepted transitions of one incarnation of an owner to its viewer."""

    def __init__(
        self, services: Services, partition: int, table: Table, meta: Meta, run_cache: RunCache
    ) -> None:
        self._table = table
        self._meta = meta
        self._run_cache = run_cache
        self._trouble = services.trouble
        viewer = services.viewer
        self._view = None if viewer is None else viewer.open(partition, meta.shown)
        self._last = self._said = meta.shown
        self.accepted_count = 0

    @property
    def shown(self) -> int:
        """The pseq up to which everything has been shown."""
        return self._meta.shown if self._view is None else self._view.shown()

    @property
    def owes_word(self) -> bool:
        """Whether all is shown, and the log does not say so yet."""
        return self._said < self._last <= self.shown

    def say(self) -> int:
        """What the next record says: the pseq up to which everything has been shown."""
        self._said = self.shown
        return self._said

    def flush(self, timeout_s: float) -> None:
        """Wait so long for what is on its way to be shown."""
        if self._view is not None and timeout_s:
            self._view.flush(timeout_s)

    def accepted(self, pending: InFlight) -> None:
        """Show a transition that has just been accepted."""
        resident, envelope = pending.resident, pending.envelope
        self.accepted_count += 1
        trouble = self._trouble
        if trouble is not None and resident is not None and pending.events:
            trouble.accepted(resident.run, pending.events, now_ms=envelope.time_ms)
        if self._view is None:
            return
        self._view.took(time.perf_counter() - pending.began_s)
        if resident is None:
            self._view.passed(envelope.pseq)
            return
        self._show(resident, pending.first_seq, envelope.pseq, envelope.time_ms, pending.events)

    def repeat(self, recent: RecentTransitions) -> None:
        """After a take-over: show what may not have been shown."""
        if self._view is None:
            return
        for one in recent.after(self._view.shown()):
            body = decode_as(TransitionBody, one.body)
            resident = self._run_cache.find(body.run_id) if body.run_id else None
            if resident is None:
                self._view.passed(one.pseq)
                continue
            events = [decode(data) for data in body.events]
            self._show(resident, body.seq, one.pseq, one.time_ms, events)

    def _show(
        self, resident: CachedRun, seq: int, pseq: int, time_ms: int, events: list[Record]
    ) -> None:
        assert self._view is not None
        state = resident.run.state
        if resident.view is None and seq > 1:
            self._recall(resident, seq)
        seen = Seen(state.workflow_id, state.run_id, seq, time_ms, events)
        resident.view = self._view.see(resident.view, seen, pseq)
        self._last = pseq

    def _recall(self, resident: CachedRun, before_seq: int) -> None:
        """Make a view anew from the run's history; what that shows has been shown before."""
        assert self._view is not None
        state = resident.run.state
        for _, _, time_ms, body in history_of(self._table, state.run_id):
            if body.seq >= before_seq:
                return
            events = [decode(data) for data in body.events]
            seen = Seen(state.workflow_id, state.run_id, body.seq, time_ms, events)
            resident.view = self._view.see(resident.view, seen)
