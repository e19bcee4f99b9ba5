"""Overrides of a test environment: clock, tables, partitions, limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perdure_topics.clock import SystemClock
from perdure_topics.names import PARTITIONS_DEFAULT
from perdure_topics.ports import Clock, TableStore

if TYPE_CHECKING:
    # A client hosts nothing: it loads no host.
    from perdure_actors.core.decision import Limits
    from perdure_actors.host.thread import Pace


@dataclass(frozen=True)
class Overrides:
    """What the workers of a client use instead."""

    clock: Clock = field(default_factory=SystemClock)
    pace: Pace | None = None
    tables: Callable[[], TableStore] | None = None
    """Makes the tables of a host; without it, they are on a disk."""
    partitions: int = PARTITIONS_DEFAULT
    """Of task queues that are made when a worker first serves them."""
    limits: Limits | None = None
    awaiting: Callable[[], AbstractContextManager[None]] = nullcontext
    """Around whatever waits for what a workflow does: a result, an update, a query."""
    failures: Sequence[type[BaseException]] = ()
    """Exceptions that fail a workflow beside those that a worker names."""
    watch: Callable[[Callable[[], bool]], None] | None = None
    """Takes what says whether a client has answers to read."""
