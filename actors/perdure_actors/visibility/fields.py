"""The fields that every run has, what may be done with them, and literals as their values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal

from perdure_actors.core import state as states
from perdure_actors.visibility.values import Value, time_ns_of

Kind = Literal["text", "status", "number", "time", "duration", "truth"]


@dataclass(frozen=True)
class Field:
    """A field of every run."""

    name: str
    kind: Kind
    is_indexed: bool = False


FIELDS: Final = {
    field.name: field
    for field in (
        Field("ExecutionStatus", "status", is_indexed=True),
        Field("WorkflowType", "text", is_indexed=True),
        Field("WorkflowId", "text", is_indexed=True),
        Field("StartTime", "time"),
        Field("CloseTime", "time", is_indexed=True),
        Field("ExecutionTime", "time"),
        Field("ExecutionDuration", "duration"),
        Field("HistoryLength", "number"),
        Field("HistorySizeBytes", "number"),
        Field("RunId", "text"),
        Field("TaskQueue", "text"),
        Field("ParentWorkflowId", "text"),
        Field("ParentRunId", "text"),
        Field("RootWorkflowId", "text"),
        Field("RootRunId", "text"),
        Field("HasPendingFailures", "truth", is_indexed=True),
        Field("Retrying", "truth", is_indexed=True),
        Field("NoWorker", "truth"),
    )
}

STATUSES: Final = {
    "Running": states.RUNNING,
    "Blocked": states.BLOCKED,
    "Completed": states.COMPLETED,
    "Failed": states.FAILED,
    "Canceled": states.CANCELED,
    "Terminated": states.TERMINATED,
    "ContinuedAsNew": states.CONTINUED_AS_NEW,
    "TimedOut": states.TIMED_OUT,
}
"""Statuses as filters name them, and as they are recorded."""
_BY_LOWER: Final = {name.lower(): status for name, status in STATUSES.items()}
STATUS_NAMES: Final = {status: name for name, status in STATUSES.items()}

_UNITS_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
SHOWN_CHARS_MAX: Final = 100
DURATION_CHARS_MAX: Final = 100
"""A longer one is no duration, and its digits would be no number that a machine has."""
_PARTS: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d)")
_CLOCK: Final = re.compile(r"(\d+):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?")


def near_name(name: str) -> str:
    """The field that a name which is none was probably meant to be; empty when none is near."""
    lower = {field.lower(): field for field in FIELDS}
    near = get_close_matches(name.lower().replace("_", ""), lower, n=1, cutoff=0.93)
    return lower[near[0]] if near else ""


def value_of(field: Field, literal: Value) -> Value:
    """A literal as a field's value. Raises ValueError that says what the field takes."""
    convert = _CONVERSIONS[field.kind]
    value = convert(literal)
    if value is None:
        raise ValueError(f"{field.name} takes {_TAKES[field.kind]}, not {_shown(literal)}")
    return value


def _shown(literal: Value) -> str:
    shown = f"'{literal}'" if isinstance(literal, str) else str(literal)
    return shown if len(shown) <= SHOWN_CHARS_MAX else f"{shown[:SHOWN_CHARS_MAX]}..."


def _text(literal: Value) -> Value | None:
    return literal if isinstance(literal, str) else None


def _status(literal: Value) -> Value | None:
    key = literal.lower().replace("_", "").replace(" ", "") if isinstance(literal, str) else ""
    return _BY_LOWER.get(key) or _BY_LOWER.get(key.replace("cancelled", "canceled"))


def _number(literal: Value) -> Value | None:
    return None if isinstance(literal, str | bool) else literal


def _truth(literal: Value) -> Value | None:
    return literal if isinstance(literal, bool) else None


def _time(literal: Value) -> Value | None:
    if isinstance(literal, str):
        return time_ns_of(literal)
    return None if isinstance(literal, bool) else int(literal)


def _duration(literal: Value) -> Value | None:
    """Nanoseconds: of a number of them, of parts as 1h30m, or of a clock as 01:30:00."""
    if not isinstance(literal, str):
        return _number(literal)
    if len(literal) > DURATION_CHARS_MAX:
        return None
    clock = _CLOCK.fullmatch(literal)
    if clock:
        hours, minutes, seconds = (int(part) for part in clock.groups()[:3])
        fraction = int((clock[4] or "").ljust(9, "0"))
        return ((hours * 60 + minutes) * 60 + seconds) * 1_000_000_000 + fraction
    parts = _PARTS.findall(literal)
    if not parts or "".join(amount + unit for amount, unit in parts) != literal:
        return None
    return int(sum(float(amount) * _UNITS_NS[unit] for amount, unit in parts))


_CONVERSIONS: Final = {
    "text": _text,
    "status": _status,
    "number": _number,
    "time": _time,
    "duration": _duration,
    "truth": _truth,
}
_TAKES: Final = {
    "text": "a text in quotes",
    "status": f"one of {', '.join(STATUSES)}",
    "number": "a number",
    "time": "a time as '2026-11-24T09:00:00Z', or nanoseconds since 1970",
    "truth": "true or false",
    "duration": "a duration as '1h30m' or '01:30:00', or nanoseconds",
}
