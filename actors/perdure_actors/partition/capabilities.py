"""What the parts of a shard may use of it: the seam between the loop and what it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections import deque

    from perdure_actors import table_layout
    from perdure_actors.core.decision import Step
    from perdure_actors.core.state import Run
    from perdure_actors.partition.context import PartitionContext
    from perdure_actors.partition.doubt import Doubt, Trial
    from perdure_actors.partition.executor import Executor
    from perdure_actors.partition.fence import Fence
    from perdure_actors.partition.outbox import Outbox
    from perdure_actors.partition.run_cache import CachedRun, RunCache
    from perdure_actors.partition.services import Services
    from perdure_actors.partition.timer_queue import TimerQueue
    from perdure_actors.partition.transition import InFlight, PendingReplies, TransitionBuilder
    from perdure_actors.visibility.row_cache import Listed
    from perdure_schemas.commands import ReadHistory
    from perdure_schemas.payloads import Record, ReplyTo
    from perdure_topics.fold import Cursor
    from perdure_topics.ports import Table


class Owned(Protocol):
    """An owned partition, as its parts see it."""

    services: Services
    fence: Fence
    partition: int
    task_queue: str
    table: Table
    meta: table_layout.Meta
    cursor: Cursor
    upto: int
    input_leader_epoch: int
    world: PartitionContext
    residents: RunCache
    activation: Executor
    alarms: TimerQueue
    dispatch: Outbox
    pending: deque[InFlight]
    owed: PendingReplies
    listed: Listed
    doubt: Doubt

    @property
    def has_room(self) -> bool:
        """Whether more may be decided before what is proposed is accepted."""

    def draft(self) -> TransitionBuilder:
        """A transition in the making, with the number of the next record."""

    def append_draft(
        self, resident: CachedRun | None, draft: TransitionBuilder, *, covers: bool
    ) -> None:
        """Propose what a draft holds."""

    def propose(self, step: Step | None, workflow_id: str = "", *, covers: bool) -> None:
        """Append a transition, or without a step a Progress."""

    def propose_events(self, run: Run, events: list[Record]) -> None:
        """Propose events of a run that no input brought."""

    def propose_mark(self, trial: Trial) -> None:
        """Say in the log that something is about to be run that may have killed its host."""

    def propose_lost(self, first: int, end: int) -> None:
        """Say in the log that inputs are gone, or were cut back, and go on from there."""

    def decide_taken(self, steps: list[Step], workflow_id: str) -> None:
        """Propose what a taken command brings."""

    def answer(self, reply: ReplyTo, record: Record) -> None:
        """Send an answer; only what is accepted may be in it."""

    def wait(self, reply: ReplyTo, run_id: str, update_id: str = "", stage: str = "") -> None:
        """Answer an asker once a run has closed, or an update of it is so far."""

    def watch(self, run_id: str, ask: ReadHistory) -> None:
        """Answer a history ask once there are events for it."""

    def count(self, name: str) -> None:
        """Count something for the metrics."""
