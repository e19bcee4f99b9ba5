"""A recorded history as the code takes it again: which input, and what was asked for after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.events import CLOSING, INPUTS, OUTPUTS, WorkflowBlocked, WorkflowResumed
from perdure_schemas.payloads import Record


class Recalled(NamedTuple):
    """One activation of a history."""

    event: Record
    seq: int
    recorded: list[Record]
    """What the code asked for then."""


class Recall:
    """The walk over a run's history: inputs that waited while the code could not go on, its end."""

    def __init__(self) -> None:
        self._waiting: dict[int, Record] = {}
        self._closing = ""

    def took(self, seq: int) -> None:
        """An input was taken that may have waited."""
        self._waiting.pop(seq, None)

    def activations(self, events: Sequence[Record], seq: int, where: str) -> Iterator[Recalled]:
        """The activations of a recorded transition whose first event has the given seq.

        Raises BlockedError for a history that no code can have.
        """
        self._check_end(events, seq, where)
        untaken = {event.input_seq for event in events if type(event) is WorkflowBlocked}
        index = 0
        while index < len(events):
            event = events[index]
            kind = type(event)
            at = seq + index
            index += 1
            if isinstance(event, WorkflowResumed):
                at = event.input_seq
                event = self._resumed(at)
            elif kind not in INPUTS:
                continue
            elif at in untaken or self._waiting:
                self._waiting[at] = event
                continue
            recorded = []
            while index < len(events) and type(events[index]) not in _STARTS_ACTIVATION:
                if type(events[index]) in OUTPUTS:
                    recorded.append(events[index])
                index += 1
            yield Recalled(event, at, recorded)

    def _check_end(self, events: Sequence[Record], seq: int, where: str) -> None:
        """A run ends once."""
        for place, event in enumerate(events):
            if not isinstance(event, CLOSING):
                continue
            closing = f"{type(event).__name__} (event {seq + place})"
            if self._closing:
                raise BlockedError(
                    "corrupt",
                    f"the history of {where} has two closing events, {self._closing} and"
                    f" {closing}: a run ends once, and what follows that is nothing of its code's",
                )
            self._closing = closing

    def _resumed(self, seq: int) -> Record:
        event = self._waiting.pop(seq, None)
        if event is None:
            raise BlockedError(
                "nondeterminism",
                f"the history resumes with event {seq}, which did not wait; the history is damaged",
            )
        return event


_STARTS_ACTIVATION = INPUTS | {WorkflowResumed}
