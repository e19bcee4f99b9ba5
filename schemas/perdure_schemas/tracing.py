"""Which trace a run belongs to, and the ids of its spans: derived, so that all find the same.

A span's id follows from the run and the event that began it. So whoever shows a run again shows
the same spans, and a host can tell a worker the span of an attempt before anybody has exported
it. What is not given by a caller follows from the first run of the chain.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from msgspec.structs import replace

from perdure_schemas.payloads import Payload

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from perdure_schemas.command_headers import Command
    from perdure_schemas.events import WorkflowStarted

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
TRACE_ENCODING = "binary/plain"
SAMPLED = 1
_W3C = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_W3C_CHARS_MAX = 512


C = TypeVar("C", bound="Command")


class TraceContext(NamedTuple):
    """A place in a trace: the trace, the span there, and whether it is recorded."""

    trace_id: int
    span_id: int = 0
    """0 for none: the trace begins here."""
    sampled: bool = True
    state: str = ""
    """The W3C tracestate, as it came."""

    def header(self) -> str:
        """The W3C traceparent of this place."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{SAMPLED if self.sampled else 0:02x}"


def parse_context(header: str, state: str = "") -> TraceContext | None:
    """The place that a W3C traceparent names; None when it names none."""
    match = _W3C.fullmatch(header) if len(header) <= _W3C_CHARS_MAX else None
    if match is None:
        return None
    trace_id, span_id, flags = (int(text, 16) for text in match.groups())
    if not trace_id or not span_id:
        return None
    if len(state) > _W3C_CHARS_MAX or not state.isprintable():
        state = ""
    return TraceContext(trace_id, span_id, bool(flags & SAMPLED), state)


def carried(header: Mapping[str, Payload]) -> TraceContext | None:
    """The caller's place in a trace, where it came with the header."""
    parent = header.get(TRACEPARENT)
    if parent is None:
        return None
    return parse_context(_text(parent), _text(header.get(TRACESTATE)))


def trace_of(started: WorkflowStarted, run_id: str) -> TraceContext:
    """The trace of a run, and the caller's span in it: as carried, or of the chain's first run."""
    found = carried(started.header)
    if found is not None:
        return found
    first = started.first_run_id or run_id
    return TraceContext(_number(first.encode(), 16))


def span_id_of(run_id: str, seq: int, part: str = "") -> int:
    """The id of the span that an event of a run began; `part` names one within it."""
    return _number(f"{run_id}/{seq}/{part}".encode(), 8)


def run_span_id(run_id: str) -> int:
    """The id of the span of a whole run."""
    return span_id_of(run_id, 1)


def attempt_span_id(run_id: str, scheduled_seq: int, attempt: int) -> int:
    """The id of the span of one attempt of the activity that an event scheduled."""
    return span_id_of(run_id, scheduled_seq, str(attempt))


def with_context(header: Mapping[str, Payload], place: TraceContext) -> dict[str, Payload]:
    """A header that carries a place in a trace."""
    out = {**header, TRACEPARENT: _payload(place.header())}
    out.pop(TRACESTATE, None)
    if place.state:
        out[TRACESTATE] = _payload(place.state)
    return out


def beneath(
    header: Mapping[str, Payload], started: WorkflowStarted, run_id: str, seq: int
) -> dict[str, Payload]:
    """The header of what a run sends by an event: beneath that event's span, unless it says."""
    if TRACEPARENT in header:
        return dict(header)
    place = trace_of(started, run_id)._replace(span_id=span_id_of(run_id, seq))
    return with_context(header, place)


def with_trace_of(
    header: Mapping[str, Payload], other: Mapping[str, Payload]
) -> dict[str, Payload]:
    """A header, with the trace that another one carries where it carries none itself."""
    if TRACEPARENT in header or TRACEPARENT not in other:
        return dict(header)
    names = [name for name in (TRACEPARENT, TRACESTATE) if name in other]
    return {**header, **{name: other[name] for name in names}}


def adopt_headers(command: C, headers: Iterable[tuple[str, bytes]]) -> C:
    """A command with the trace of the record it came in, where it carries none itself."""
    # A header of a record may have no value.
    found = {name: value or b"" for name, value in headers}
    header = command.header
    if TRACEPARENT not in found or header is None or TRACEPARENT in header:
        return command
    place = parse_context(
        found[TRACEPARENT].decode("ascii", "replace"),
        found.get(TRACESTATE, b"").decode("ascii", "replace"),
    )
    if place is None:
        return command
    return replace(command, header=with_context(header, place))


def _number(data: bytes, size: int) -> int:
    """A number of so many bytes, never 0, which would be no id."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=size).digest(), "big") or 1


def _payload(text: str) -> Payload:
    return Payload(encoding=TRACE_ENCODING, data=text.encode())


def _text(payload: Payload | None) -> str:
    return payload.data.decode("ascii", "replace") if payload is not None else ""
