"""Where a reset goes back to: a point as people name it, and the event that it is in a history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from perdure_schemas.avro import decode
from perdure_schemas.events import INPUTS, ActivityScheduled, WorkflowBlocked, WorkflowResumed
from perdure_schemas.replies import HistoryBatch

FIRST_TASK: Final = "first-workflow-task"
LAST_TASK: Final = "last-workflow-task"
FIRST_ACTIVITY: Final = "first-activity"
LAST_ACTIVITY: Final = "last-activity"
EVENT: Final = "event"
BUILD: Final = "build"
TIME: Final = "time"
NAMED: Final = (FIRST_TASK, LAST_TASK, FIRST_ACTIVITY, LAST_ACTIVITY)
FORMS: Final = f"{', '.join(NAMED)}, an event's number, build:ID, or time:2026-01-31T12:00:00Z"


class ResetPoint(NamedTuple):
    """A point of a history, as it is asked for."""

    kind: str
    value: str = ""

    @property
    def shown(self) -> str:
        """The point in words."""
        return f"{self.kind} {self.value}" if self.value else self.kind


def read_point(text: str) -> ResetPoint:
    """A point from how people write it, Temporal's spellings among them.

    Raises ValueError for what is none.
    """
    plain = text.strip()
    if plain.isascii() and plain.isdigit():
        return ResetPoint(EVENT, plain)
    kind, colon, value = plain.partition(":")
    if colon and kind.lower() in (EVENT, BUILD, TIME) and value:
        point = ResetPoint(kind.lower(), value)
        if point.kind == EVENT and not (value.isascii() and value.isdigit()):
            raise ValueError(f"{value!r} is no event's number")
        if point.kind == TIME:
            time_ms_of(value)
        return point
    squeezed = plain.replace("-", "").replace("_", "").lower()
    for name in NAMED:
        if name.replace("-", "") == squeezed:
            return ResetPoint(name)
    raise ValueError(f"a reset goes to {FORMS}; {text!r} is none of them")


def time_ms_of(text: str) -> int:
    """A point in time in ISO 8601, in UTC where it names no zone. Raises ValueError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; write it as 2026-01-31T12:00:00Z") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


class _Activation(NamedTuple):
    """An input that the code took."""

    seq: int
    time_ms: int
    build: str
    asks_activity: bool


def seq_at(point: ResetPoint, batches: Iterable[HistoryBatch], where: str) -> int:
    """The event of a history that a reset to a point goes back to.

    Raises ValueError when the history has no such point.
    """
    if point.kind == EVENT:
        return int(point.value)
    taken = list(_activations(batches))
    if not taken:
        raise ValueError(f"{where} has no history")
    found = _find(point, taken)
    if found is None:
        what = {
            FIRST_ACTIVITY: "has asked for no activity",
            LAST_ACTIVITY: "has asked for no activity",
            BUILD: f"took no step by build {point.value}",
            TIME: f"took no step at {point.value} or later",
        }
        raise ValueError(f"{where} {what[point.kind]}")
    return found.seq


def _find(point: ResetPoint, taken: list[_Activation]) -> _Activation | None:
    if point.kind == FIRST_TASK:
        return taken[0]
    if point.kind == LAST_TASK:
        return taken[-1]
    if point.kind == BUILD:
        return next((one for one in taken if one.build == point.value), None)
    if point.kind == TIME:
        since_ms = time_ms_of(point.value)
        return next((one for one in taken if one.time_ms >= since_ms), None)
    asking = [one for one in taken if one.asks_activity]
    if not asking:
        return None
    return asking[0 if point.kind == FIRST_ACTIVITY else -1]


def _activations(batches: Iterable[HistoryBatch]) -> Iterator[_Activation]:
    """The inputs that the code took, each with whether it asked for activities then."""
    waiting: set[int] = set()
    now: _Activation | None = None
    for batch in batches:
        events = [decode(data) for data in batch.events]
        untaken = {one.input_seq for one in events if isinstance(one, WorkflowBlocked)}
        for seq, event in enumerate(events, batch.seq):
            taken = 0
            if isinstance(event, WorkflowResumed):
                waiting.discard(event.input_seq)
                # What was taken late cannot be gone back to alone: that which blocked it can.
                taken = event.input_seq if not waiting else 0
            elif type(event) in INPUTS:
                if seq in untaken or waiting:
                    waiting.add(seq)
                else:
                    taken = seq
            elif isinstance(event, ActivityScheduled) and now is not None:
                now = now._replace(asks_activity=True)
            if taken:
                if now is not None:
                    yield now
                now = _Activation(taken, batch.time_ms, batch.code_version, asks_activity=False)
    if now is not None:
        yield now
