"""Spans as plain data, and the state of a run between two of its transitions."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from perdure_schemas.payloads import Failure
from perdure_schemas.tracing import TraceContext, run_span_id, span_id_of

MESSAGE_CHARS_MAX = 1_000
EVENTS_MAX = 128
"""Events that one span keeps; the last ones, with the number of those before."""

Attribute = str | int | bool
Attributes = dict[str, Attribute]


class SpanEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something that happened within a span."""

    name: str
    time_ms: int
    attributes: Attributes = {}


class Link(NamedTuple):
    """Another span that this one goes on from."""

    trace_id: int
    span_id: int


class Span(NamedTuple):
    """A span as it is exported: it has begun and ended, and never changes."""

    name: str
    trace_id: int
    span_id: int
    parent_id: int
    """0 for the first of its trace."""
    start_ms: int
    end_ms: int
    attributes: Attributes
    events: tuple[SpanEvent, ...] = ()
    error: str | None = None
    """Why it counts as failed; None when it does not."""
    links: tuple[Link, ...] = ()
    trace_state: str = ""


class Kept(msgspec.Struct):
    """The events of an open span, as many as may be."""

    events: list[SpanEvent] = []
    dropped: int = 0

    def add(self, name: str, time_ms: int, attributes: Attributes) -> None:
        """Keep one more, and let go of the oldest where there are too many."""
        self.events.append(SpanEvent(name, time_ms, attributes))
        if len(self.events) > EVENTS_MAX:
            del self.events[0]
            self.dropped += 1


class OpenActivity(msgspec.Struct):
    """An activity without an outcome."""

    seq: int
    activity_type: str
    task_queue: str
    start_ms: int
    attempt: int = 1
    resets: int = 0
    """How often its attempts began to be counted anew."""
    attempt_ms: int = 0
    """When the attempt was issued; 0 while it is backing off."""
    started_ms: int = 0
    kept: Kept = msgspec.field(default_factory=Kept)


class OpenTimer(msgspec.Struct):
    """A timer that has not fired."""

    seq: int
    start_ms: int
    duration_ms: int


class OpenCall(msgspec.Struct):
    """Something else that has begun and not ended: a child, an update, a call of another run."""

    seq: int
    start_ms: int
    name: str
    facts: Attributes
    link: tuple[bytes, int] | None = None
    """The caller's span: trace id and span id."""


class RunView(msgspec.Struct):
    """What of a run its later spans need. Its events alone make it what it is."""

    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    trace_id: bytes
    start_ms: int
    caller_id: int = 0
    """The span that the run is beneath; 0 for none."""
    sampled: bool = True
    trace_state: str = ""
    attempt: int = 1
    first_run_id: str = ""
    continued_run_id: str = ""
    seq: int = 0
    """The seq of the last event it has seen."""
    is_open: bool = True
    activities: dict[str, OpenActivity] = {}
    timers: dict[str, OpenTimer] = {}
    calls: dict[str, OpenCall] = {}
    kept: Kept = msgspec.field(default_factory=Kept)

    @property
    def trace(self) -> TraceContext:
        """The run's trace, and the caller's span in it."""
        trace_id = int.from_bytes(self.trace_id, "big")
        return TraceContext(trace_id, self.caller_id, self.sampled, self.trace_state)

    @property
    def span_id(self) -> int:
        """The span of the run itself."""
        return run_span_id(self.run_id)

    def facts(self) -> Attributes:
        """The attributes that every span of the run has, to be found by."""
        return {"perdure.workflow.id": self.workflow_id, "perdure.run.id": self.run_id}


class At(NamedTuple):
    """Where an event stands: the run, its number there, its time, and where its spans go."""

    run: RunView
    seq: int
    time_ms: int
    out: list[Span]

    def span(
        self,
        name: str,
        span_id: int,
        start_ms: int,
        attributes: Attributes,
        *,
        parent_id: int = 0,
        **more: Any,
    ) -> None:
        """Give out a span that ends here, beneath the run's where no other parent is named."""
        run = self.run
        self.out.append(
            Span(
                name,
                run.trace.trace_id,
                span_id,
                parent_id or run.span_id,
                min(start_ms, self.time_ms),
                self.time_ms,
                {**run.facts(), **attributes},
                trace_state=run.trace.state,
                **more,
            )
        )

    def mark(self, name: str, of: int, attributes: Attributes, error: str | None = None) -> None:
        """Show at once what may stay open for long, by a span without length beneath it."""
        span_id = span_id_of(self.run.run_id, self.seq, "mark")
        marked = {**attributes, "perdure.mark": True}
        self.span(name, span_id, self.time_ms, marked, parent_id=of, error=error)


def message_of(failure: Failure | None) -> str:
    """What a failure says, on a line: type and message of its first link that is the user's."""
    if failure is None or not failure.chain:
        return "failed"
    link = next((link for link in failure.chain if link.message), failure.chain[0])
    text = f"{link.type}: {link.message}" if link.type else link.message or link.kind
    return text[:MESSAGE_CHARS_MAX]
