"""Invariants of signals that wait for a start (A, T): each kept once, then taken or said expired.

What waits is worked out anew from the events alone: kept until a start of its id takes all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from perdure_schemas.events import WorkflowStarted
from perdure_schemas.message_events import SignalBuffered, SignalExpired
from perdure_schemas.payloads import SignalInput
from tests.simulation.ledger import Entry, Ledger


class Waiting(NamedTuple):
    """A signal that waits, and the record that said so."""

    entry: Entry
    event: SignalBuffered


class WaitingCheck:
    """Walks every partition's records."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: dict[str, list[Waiting]] = {}
        self.kept: dict[tuple[str, str], Entry] = {}
        """Where each was kept, by workflow and request id."""
        self.expired: set[tuple[str, str]] = set()
        self.delivered = 0

    def walk(self) -> None:
        """Check every record in the order of its partition."""
        for entry in sorted(self._ledger.entries, key=lambda one: (one.partition, one.offset)):
            for event in entry.events:
                if isinstance(event, SignalBuffered):
                    self._keep(entry, event)
                elif isinstance(event, SignalExpired):
                    self._expire(entry, event)
                elif isinstance(event, WorkflowStarted):
                    self._start(entry, event)

    @property
    def still(self) -> Iterator[tuple[str, str]]:
        """What waits at the end of the log."""
        for workflow_id, found in self._waiting.items():
            for one in found:
                yield workflow_id, one.event.signal.request_id

    def _fail(self, letter: str, entry: Entry, text: str) -> None:
        self._ledger.fail(letter, f"events-{entry.partition}@{entry.offset}: {text}")

    def _keep(self, entry: Entry, event: SignalBuffered) -> None:
        key = (event.workflow_id, event.signal.request_id)
        if key in self.kept:
            self._fail("A", entry, f"signal {key[1]} of {key[0]} is kept twice")
        self.kept[key] = entry
        self._waiting.setdefault(event.workflow_id, []).append(Waiting(entry, event))

    def _expire(self, entry: Entry, event: SignalExpired) -> None:
        name = f"signal {event.request_id} of {event.workflow_id}"
        found = self._waiting.get(event.workflow_id, [])
        gone = [one for one in found if one.entry.pseq == event.pseq]
        if not gone or gone[0].event.signal.request_id != event.request_id:
            self._fail("A", entry, f"{name} expires, and does not wait")
            return
        early_ms = gone[0].event.expires_ms - entry.time_ms
        if early_ms > 0:
            self._fail("T", entry, f"{name} expires {early_ms} ms early")
        found.remove(gone[0])
        self.expired.add((event.workflow_id, event.request_id))

    def _start(self, entry: Entry, event: WorkflowStarted) -> None:
        """Clients of this world start without signals: all that a start has, waited for it."""
        taken = self._waiting.pop(entry.body.workflow_id, [])
        self.delivered += len(taken)
        if _ids([one.event.signal for one in taken]) != _ids(event.signals):
            text = f"a run of {entry.body.workflow_id} starts with {_ids(event.signals)}, and"
            waited = _ids([one.event.signal for one in taken])
            self._fail("A", entry, f"{text} {waited} waited for it")


def _ids(signals: list[SignalInput]) -> list[str]:
    return [signal.request_id for signal in signals]
