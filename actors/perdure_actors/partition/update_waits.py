"""Who waits for an update: told when it is so far, or that its run ended first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from perdure_actors import table_layout
from perdure_actors.core.messages import abandoned
from perdure_schemas.message_events import WorkflowUpdateCompleted
from perdure_schemas.replies import Refused, UpdateAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from perdure_schemas.payloads import Record, ReplyTo
    from perdure_topics.ports import Table

ACCEPTED = "accepted"
COMPLETED = "completed"


class ReadsEvents(Protocol):
    """Whoever reads histories."""

    def event_at(self, run_id: str, seq: int) -> Record | None:
        """An event of a run's history by its seq."""


def update_answer(
    table: Table, events: ReadsEvents, run_id: str, update_id: str, stage: str
) -> Record | None:
    """How far an update is, by the table; None while it has not reached the stage."""
    data = table.get(table_layout.update_key(run_id, update_id))
    state = table.get(table_layout.run_key(run_id))
    if data is None or state is None:
        text = f"run {run_id} has no update {update_id!r}"
        return Refused(code="not_found", message=text, run_id=run_id)
    update = table_layout.decode_update(data)
    if update.completed_seq:
        event = events.event_at(run_id, update.completed_seq)
        assert isinstance(event, WorkflowUpdateCompleted), "an outcome is where its row says"
        return _answer_of(run_id, event)
    if not table_layout.decode_run(state).is_open:
        return _abandoned(run_id, update_id)
    if stage == ACCEPTED:
        return UpdateAnswer(update_id=update_id, run_id=run_id, stage=ACCEPTED)
    return None


def _answer_of(run_id: str, event: WorkflowUpdateCompleted) -> UpdateAnswer:
    return UpdateAnswer(
        update_id=event.update_id,
        run_id=run_id,
        stage=COMPLETED,
        result=event.result,
        failure=event.failure,
    )


def _abandoned(run_id: str, update_id: str) -> UpdateAnswer:
    return UpdateAnswer(update_id=update_id, run_id=run_id, stage=COMPLETED, failure=abandoned())


class UpdateWaits:
    """The askers of one partition that wait for an update."""

    def __init__(
        self, table: Table, events: ReadsEvents, answer: Callable[[ReplyTo, Record], None]
    ) -> None:
        self._table = table
        self._events = events
        self._answer = answer
        self._waiting: dict[str, dict[str, dict[str, ReplyTo]]] = {}
        """By run, update and correlation id."""

    def wait(self, reply: ReplyTo, run_id: str, update_id: str, stage: str = "") -> None:
        """Answer an asker once an update is so far; at once if that is accepted."""
        answer = update_answer(self._table, self._events, run_id, update_id, stage or reply.wait)
        if answer is not None:
            self._answer(reply, answer)
            return
        updates = self._waiting.setdefault(run_id, {})
        updates.setdefault(update_id, {})[reply.correlation_id] = reply

    @property
    def runs(self) -> Iterable[str]:
        """The runs of which somebody waits for an update."""
        return self._waiting

    def of_run(self, run_id: str) -> list[ReplyTo]:
        """Who waits for an update of a run."""
        waiting = self._waiting.get(run_id, {}).values()
        return [reply for replies in waiting for reply in replies.values()]

    def happened(self, run_id: str, events: Sequence[Record]) -> None:
        """Events of a run are accepted: tell those who wait for outcomes among them."""
        updates = self._waiting.get(run_id)
        if updates is None:
            return
        for event in events:
            if isinstance(event, WorkflowUpdateCompleted):
                for reply in updates.pop(event.update_id, {}).values():
                    self._answer(reply, _answer_of(run_id, event))
        if not updates:
            del self._waiting[run_id]

    def closed(self, run_id: str) -> None:
        """A run has ended: its handlers will not."""
        for update_id, waiting in self._waiting.pop(run_id, {}).items():
            for reply in waiting.values():
                self._answer(reply, _abandoned(run_id, update_id))

    def keep_house(self, now_ms: int) -> None:
        """Forget who has given up waiting."""
        for run_id, updates in list(self._waiting.items()):
            for update_id, waiting in list(updates.items()):
                for correlation_id, reply in list(waiting.items()):
                    if reply.deadline_ms and reply.deadline_ms < now_ms:
                        del waiting[correlation_id]
                if not waiting:
                    del updates[update_id]
            if not updates:
                del self._waiting[run_id]
