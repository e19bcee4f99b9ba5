"""What a batch is, and how far it is, as JSON that any converter carries."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec

from perdure_schemas.answers.reset_points import read_point
from perdure_schemas.payloads import Payload

BATCH_ID_PREFIX: Final = "perdure-batch:"
PROGRESS_KEY: Final = "perdure.batch"
"""The memo of a batch's workflow that says how far it is."""
STEP: Final = "perdure.batch.step"
"""The activity of a batch: one page of runs."""
ACTIONS: Final = ("cancel", "terminate", "signal", "retry", "reset", "delete")
PAGE_RUNS: Final = 100
PAGE_S: Final = 10
"""A page is no more than what the rate allows in so many seconds."""
FAILURES_MAX: Final = 100
"""So many failures are kept; all are counted."""
RATE_MAX: Final = 1_000.0
_QUOTED: Final = re.compile(r"'(?:[^']|'')*'|`[^`]*`|\"[^\"]*\"")
_CLAUSE: Final = re.compile(r"\b(order|group)\s+by\b", re.IGNORECASE)


@dataclass
class BatchAction:
    """What is done to each run."""

    kind: str
    reason: str = ""
    signal_name: str = ""
    signal_input: list[Payload] = field(default_factory=list)
    to: str = ""
    """Where a reset goes back to."""
    exclude: list[str] = field(default_factory=list)
    """What of later messages a reset leaves out."""


@dataclass
class BatchFailure:
    """A run that an action failed on."""

    workflow_id: str
    run_id: str
    message: str


@dataclass
class BatchProgress:
    """How far a batch is."""

    done: int = 0
    skipped: int = 0
    """Runs that had closed by then, or were gone."""
    failed: int = 0
    total: int = 0
    """How many runs the filter named as it began."""
    paused: bool = False
    failures: list[BatchFailure] = field(default_factory=list)
    """The first of those that failed."""

    def add(self, other: BatchProgress) -> None:
        """Count what another page brought."""
        self.done += other.done
        self.skipped += other.skipped
        self.failed += other.failed
        self.failures = [*self.failures, *other.failures][:FAILURES_MAX]


@dataclass
class BatchState:
    """A batch, and where it goes on."""

    id: str
    query: str
    action: BatchAction
    rate: float
    """Runs a second."""
    identity: str = ""
    before: datetime | None = None
    """Only runs that began before it are meant: what an action begins is not."""
    token: bytes = b""
    progress: BatchProgress = field(default_factory=BatchProgress)


@dataclass
class Page:
    """What one page brought."""

    progress: BatchProgress
    token: bytes = b""
    """Where the next page begins; empty after the last."""


@dataclass
class BatchRun:
    """A run that a batch acts on."""

    id: str
    run_id: str
    task_queue: str


@dataclass
class PageState:
    """A page as its attempts share it: which runs, and what came of those that were acted on.

    What is acted on may leave the filter, so the runs are listed once.
    """

    runs: list[BatchRun]
    token: bytes
    progress: BatchProgress = field(default_factory=BatchProgress)
    handled: list[str] = field(default_factory=list)
    """The ids of the runs that are counted."""


def encode(value: BatchState | Page | PageState | BatchProgress) -> bytes:
    """A record as JSON."""
    return msgspec.json.encode(value)


def decode_state(data: bytes) -> BatchState:
    """A batch from JSON."""
    return msgspec.json.decode(data, type=BatchState)


def decode_page(data: bytes) -> Page:
    """A page's outcome from JSON."""
    return msgspec.json.decode(data, type=Page)


def decode_page_state(data: bytes) -> PageState:
    """A page as an attempt before has left it, from JSON."""
    return msgspec.json.decode(data, type=PageState)


def decode_progress(data: bytes) -> BatchProgress:
    """A batch's progress from JSON."""
    return msgspec.json.decode(data, type=BatchProgress)


def check_batch(query: str, action: BatchAction, rate: float) -> None:
    """Raise ValueError for a batch that cannot be."""
    if not query.strip():
        raise ValueError("a batch without a filter would be about every run: give one")
    if _CLAUSE.search(_QUOTED.sub("''", query)):
        raise ValueError("the filter of a batch has no ORDER BY and no GROUP BY")
    if action.kind not in ACTIONS:
        raise ValueError(f"a batch can {', '.join(ACTIONS)}; {action.kind!r} is none of them")
    if action.kind == "signal" and not action.signal_name:
        raise ValueError("a batch of signals needs the signal's name")
    if action.kind == "reset":
        read_point(action.to)
    if not 0 < rate <= RATE_MAX:
        raise ValueError(f"the rate is {rate:g} runs a second; it is over 0, and {RATE_MAX:g} most")


def runs_query(state: BatchState) -> str:
    """The filter of the runs that a batch is about."""
    if state.before is None:
        return state.query
    before = state.before.astimezone(UTC).isoformat(timespec="milliseconds")
    return f"({state.query}) AND StartTime <= '{before.replace('+00:00', 'Z')}'"
