"""A run in the table as filters and lists see it: its rows are read when they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from perdure_actors import table_layout
from perdure_actors.core.state import BLOCKED, Facts, RunState
from perdure_actors.visibility.blocks import block_of
from perdure_actors.visibility.fields import FIELDS
from perdure_actors.visibility.indexing import MS_NS, truth_key
from perdure_actors.visibility.troubles import pending, trouble_of, unserved_task
from perdure_actors.visibility.values import (
    TIME,
    TRUTH,
    WORD,
    attribute_of,
    index_values,
    position,
    sortable,
)
from perdure_schemas.avro import encode
from perdure_schemas.replies import RunSummary

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_actors.visibility.indexed import Indexed
    from perdure_actors.visibility.values import Attribute, Value
    from perdure_schemas.events import WorkflowStarted


class RunRow:
    """One run."""

    def __init__(self, shard: Indexed, state: RunState, data: bytes = b"") -> None:
        self.shard = shard
        self.state = state
        self.data = data
        self.bytes_read = len(data)
        self._started: WorkflowStarted | None = None
        self._facts: Facts | None = None
        self._attributes: dict[str, Attribute | None] = {}
        self._packed = b""

    @classmethod
    def load(cls, shard: Indexed, run_id: str) -> RunRow | None:
        """A run by its id; one that was listed lately is taken as it was read then."""
        data = shard.table.get(table_layout.run_key(run_id))
        if data is None:
            return None
        return shard.listed.find(run_id, data, cls) or cls(
            shard, table_layout.decode_run(data), data
        )

    @property
    def started(self) -> WorkflowStarted:
        """The event that it began with."""
        if self._started is None:
            data = self.shard.table.get(table_layout.started_key(self.state.run_id))
            assert data is not None, f"run {self.state.run_id} has no start in the table"
            self.bytes_read += len(data)
            self._started = table_layout.decode_started(data)
        return self._started

    @property
    def facts(self) -> Facts:
        """Its memo and search attributes as they are now."""
        if self._facts is None:
            data = self.shard.table.get(table_layout.facts_key(self.state.run_id))
            self.bytes_read += len(data or b"")
            self._facts = (
                table_layout.decode_facts(data)
                if data
                else Facts(self.started.memo, self.started.search_attributes)
            )
        return self._facts

    def stands_first(self, began_ms: int) -> bool:
        """Whether it was blocked when the list was begun."""
        return self.state.shown_status == BLOCKED and self.state.waits_since_ms <= began_ms

    def value(self, field: str) -> Value | None:
        """A field that every run has; None where this one has no value."""
        return _VALUES[field](self)

    def attribute(self, name: str) -> Attribute | None:
        """A search attribute."""
        if name not in self._attributes:
            payload = self.facts.search_attributes.get(name)
            self._attributes[name] = None if payload is None else attribute_of(payload)
        return self._attributes[name]

    def summary(self) -> RunSummary:
        """The run as a list shows it."""
        state, started = self.state, self.started
        return RunSummary(
            workflow_id=state.workflow_id,
            run_id=state.run_id,
            workflow_type=started.workflow_type,
            status=state.shown_status,
            start_ms=state.start_ms,
            close_ms=state.closing.time_ms if state.closing else 0,
            history_length=state.seq,
            task_queue=self.shard.task_queue,
            partition=self.shard.partition,
            memo=self.facts.memo,
            search_attributes=self.facts.search_attributes,
            block=block_of(self.shard.table, state),
            first_run_id=state.first_run_id,
            parent=started.parent,
            attempt=started.attempt,
            trouble=trouble_of(self.shard, state, has_failed=self.is_true_of("HasPendingFailures")),
        )

    def is_true_of(self, field: str) -> bool:
        """Whether something that has a row where it is true has one of this run."""
        place = position(self.state.start_ms, self.state.run_id)
        return self.state.is_open and self.shard.table.get(truth_key(field, place)) is not None

    @property
    def lacks_worker(self) -> bool:
        """Whether a task of it waits where nobody takes any."""
        if not self.state.is_open:
            return False
        found = pending(self.shard, self.state.run_id)
        return any(unserved_task(self.shard, one) is not None for one in found)

    def packed(self) -> bytes:
        """The same as a record."""
        if self._packed:
            return self._packed
        packed = encode(self.summary())
        # What an open run waits for changes without it: workers come and go.
        if not self.state.is_open:
            self._packed = packed
        return packed


def sort_keys(row: RunRow, field: str) -> list[bytes]:
    """The values of a field as its index has them."""
    if field in FIELDS:
        value = row.value(field)
        tag = {"time": TIME, "truth": TRUTH}.get(FIELDS[field].kind, WORD)
        return [] if value is None else [sortable(tag, value)]
    found = row.attribute(field)
    return index_values(found) if found else []


def _begin_ms(row: RunRow) -> int:
    return row.state.begin_ms or row.state.start_ms


def _close_ns(row: RunRow) -> int | None:
    closing = row.state.closing
    return closing.time_ms * MS_NS if closing else None


def _duration_ns(row: RunRow) -> int | None:
    closing = row.state.closing
    return max(closing.time_ms - _begin_ms(row), 0) * MS_NS if closing else None


def _parent_id(row: RunRow) -> str | None:
    parent = row.started.parent
    return parent.workflow_id if parent else None


def _parent_run_id(row: RunRow) -> str | None:
    parent = row.started.parent
    return parent.run_id if parent else None


def _root_id(row: RunRow) -> str:
    root = row.started.root
    return root.workflow_id if root else row.state.workflow_id


def _root_run_id(row: RunRow) -> str:
    root = row.started.root
    return root.run_id if root else row.state.run_id


_VALUES: Final[dict[str, Callable[[RunRow], Value | None]]] = {
    "ExecutionStatus": lambda row: row.state.shown_status,
    "WorkflowType": lambda row: row.started.workflow_type,
    "WorkflowId": lambda row: row.state.workflow_id,
    "StartTime": lambda row: row.state.start_ms * MS_NS,
    "CloseTime": _close_ns,
    "ExecutionTime": lambda row: _begin_ms(row) * MS_NS,
    "ExecutionDuration": _duration_ns,
    "HistoryLength": lambda row: row.state.seq,
    "HistorySizeBytes": lambda row: row.state.history_bytes,
    "RunId": lambda row: row.state.run_id,
    "TaskQueue": lambda row: row.shard.task_queue,
    "ParentWorkflowId": _parent_id,
    "ParentRunId": _parent_run_id,
    "RootWorkflowId": _root_id,
    "RootRunId": _root_run_id,
    "HasPendingFailures": lambda row: row.is_true_of("HasPendingFailures"),
    "Retrying": lambda row: row.is_true_of("Retrying"),
    "NoWorker": lambda row: row.lacks_worker,
}
