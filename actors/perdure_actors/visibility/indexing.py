"""The rows that runs are found by, written in one batch with the state they speak of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from perdure_actors import table_layout
from perdure_actors.core.search_attribute_types import settled, type_of
from perdure_actors.core.state import BLOCKED
from perdure_actors.visibility.values import (
    TIME,
    TRUTH,
    WORD,
    attribute_of,
    index_values,
    position,
    sortable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from perdure_actors.core.state import Run
    from perdure_schemas.payloads import Payload
    from perdure_topics.ports import Table

MS_NS: Final = 1_000_000
_NAME_BYTES_MAX: Final = 256
_NAMES_MAX: Final = 10_000
"""Of so many attributes of a partition the types are known."""


def type_in_table(table: Table, name: str) -> str:
    """The type that the runs of a table have given a search attribute; empty when none has it."""
    if not is_indexable(name):
        return ""
    counts = _counts_in(table, name)
    return settled(counts) if counts else ""


def _counts_in(table: Table, name: str) -> dict[str, int]:
    rows_of = table.scan(*table_layout.types_range(name))
    return {table_layout.type_in(key): table_layout.unpack_count(row) for key, row in rows_of}


class Shown(NamedTuple):
    """What the index rows of a run say of it."""

    status: str = ""
    attributes: Mapping[str, Payload] = {}
    activities: int = 0
    troubles: frozenset[str] = frozenset()
    """What is true of it, of `TROUBLES`."""


TROUBLES: Final = ("HasPendingFailures", "Retrying")
"""The fields that have a row where they are true."""
_EXHAUSTED: Final = "Exhausted"
_NONE: Final = frozenset[str]()
_KEPT: Final = {
    "Retrying": table_layout.RETRYING,
    _EXHAUSTED: table_layout.EXHAUSTED,
}


def shown_of(run: Run, failing: frozenset[str] = _NONE) -> Shown:
    """What the index rows of a run should say; failing: its activities that have failed yet."""
    troubles = _NONE
    if run.state.is_open and (failing or run.state.parked):
        parked = frozenset(run.state.parked)
        troubles = frozenset(
            [
                *(["HasPendingFailures"] if failing else []),
                *(["Retrying"] if failing - parked else []),
                *([_EXHAUSTED] if parked else []),
            ]
        )
    return Shown(run.state.shown_status, run.search_attributes, len(run.activities), troubles)


def truth_key(field: str, place: bytes) -> bytes:
    """The row of a run of which something is true."""
    return table_layout.found_prefix(field, sortable(TRUTH, True)) + place


def is_indexable(name: str) -> bool:
    """Whether a field of this name has an index."""
    return "\0" not in name and len(name.encode()) <= _NAME_BYTES_MAX


def attribute_keys(attributes: Mapping[str, Payload], place: bytes) -> Iterator[bytes]:
    """The index rows of a run's search attributes."""
    for name, payload in attributes.items():
        found = attribute_of(payload)
        if found is None or not is_indexable(name):
            continue
        for value in index_values(found):
            yield table_layout.found_prefix(name, value) + place


class Indexing:
    """Writes the index rows of one table, and keeps its counts."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._counts: dict[bytes, int] = {}
        self._types: dict[str, dict[str, int]] = {}
        """How many runs have each attribute, by type, for the names that came up."""

    def clear(self) -> None:
        """Forget the counts: what was not accepted was never counted."""
        self._counts.clear()
        self._types.clear()

    def save(
        self, run: Run, before: Shown, ops: dict[bytes, bytes | None], failing: frozenset[str]
    ) -> Shown:
        """Add the rows that changed since they were saved last; what they say now."""
        now, state = shown_of(run, failing), run.state
        if now.activities != before.activities:
            self._add(table_layout.PENDING_ACTIVITIES, now.activities - before.activities, ops)
        if now.troubles != before.troubles:
            self._trouble(run, before.troubles, now.troubles, ops)
        if now.status == before.status and now.attributes is before.attributes:
            return now
        place = position(state.start_ms, state.run_id)
        if not before.status:
            ops[table_layout.index_key(place)] = b""
            ops[_text_key("WorkflowId", state.workflow_id) + place] = b""
            ops[_text_key("WorkflowType", run.started.workflow_type) + place] = b""
        if now.status != before.status:
            self._move(run, before.status, now.status, place, ops)
        if now.attributes is not before.attributes:
            had = set(attribute_keys(before.attributes, place))
            has = set(attribute_keys(now.attributes, place))
            ops.update(dict.fromkeys(had - has))
            ops.update(dict.fromkeys(has - had, b""))
            self._retype(before.attributes, now.attributes, ops)
        return now

    def erase(self, run: Run, ops: dict[bytes, bytes | None]) -> None:
        """Drop the rows of a closed run, and count it no more."""
        state, workflow_type, status = run.state, run.started.workflow_type, run.state.shown_status
        place = position(state.start_ms, state.run_id)
        assert state.closing is not None, "an open run is not erased"
        closed = sortable(TIME, state.closing.time_ms * MS_NS)
        rows = [
            table_layout.index_key(place),
            _text_key("WorkflowId", state.workflow_id) + place,
            _text_key("WorkflowType", workflow_type) + place,
            _text_key("ExecutionStatus", status) + place,
            table_layout.found_prefix("CloseTime", closed) + place,
            *attribute_keys(run.search_attributes, place),
        ]
        ops.update(dict.fromkeys(rows))
        self._add(table_layout.count_key(workflow_type, status), -1, ops)
        self._retype(run.search_attributes, {}, ops)

    def _trouble(
        self, run: Run, before: frozenset[str], now: frozenset[str], ops: dict[bytes, bytes | None]
    ) -> None:
        """What is true of a run now and was not, or the other way: its rows, and the counts."""
        place = position(run.state.start_ms, run.state.run_id)
        for field in before ^ now:
            if field in TROUBLES:
                ops[truth_key(field, place)] = b"" if field in now else None
            if field in _KEPT:
                self._add(_KEPT[field], 1 if field in now else -1, ops)

    def _move(
        self, run: Run, before: str, now: str, place: bytes, ops: dict[bytes, bytes | None]
    ) -> None:
        """Another status: its rows, its count, and once it is closed when that was."""
        state, workflow_type = run.state, run.started.workflow_type
        if before:
            ops[_text_key("ExecutionStatus", before) + place] = None
            self._add(table_layout.count_key(workflow_type, before), -1, ops)
        ops[_text_key("ExecutionStatus", now) + place] = b""
        self._add(table_layout.count_key(workflow_type, now), 1, ops)
        if now == BLOCKED:
            ops[table_layout.blocked_key(state.run_id)] = b""
        elif before == BLOCKED:
            ops[table_layout.blocked_key(state.run_id)] = None
        if state.closing is not None:
            closed = sortable(TIME, state.closing.time_ms * MS_NS)
            ops[table_layout.found_prefix("CloseTime", closed) + place] = b""

    def type_of(self, name: str) -> str:
        """The type that runs here have given a search attribute; empty when none has it."""
        counts = self._types_of(name)
        return settled(counts) if counts else ""

    def _types_of(self, name: str) -> dict[str, int] | None:
        """How many runs have an attribute, by type; None for one name too many."""
        counts = self._types.get(name)
        if counts is not None:
            return counts
        if len(self._types) >= _NAMES_MAX or not is_indexable(name):
            return None
        self._types[name] = counts = _counts_in(self._table, name)
        return counts

    def _retype(
        self,
        before: Mapping[str, Payload],
        now: Mapping[str, Payload],
        ops: dict[bytes, bytes | None],
    ) -> None:
        """Count the types of what a run has now, and no more those of what it had."""
        for attributes, delta in ((before, -1), (now, 1)):
            for name, payload in attributes.items():
                counts, said = self._types_of(name), type_of(payload)
                if counts is None or not said:
                    continue
                count = counts.get(said, 0) + delta
                if count > 0:
                    counts[said] = count
                else:
                    counts.pop(said, None)
                ops[table_layout.type_key(name, said)] = (
                    table_layout.pack_count(count) if count > 0 else None
                )

    def _add(self, key: bytes, delta: int, ops: dict[bytes, bytes | None]) -> None:
        count = self._counts.get(key)
        if count is None:
            row = self._table.get(key)
            count = table_layout.unpack_count(row) if row else 0
        self._counts[key] = count = count + delta
        assert count >= 0, f"a count below none: {key!r}"
        ops[key] = table_layout.pack_count(count) if count else None


def _text_key(field: str, value: str) -> bytes:
    return table_layout.found_prefix(field, sortable(WORD, value))
