"""How many runs meet a filter: from the kept counts where they tell, else from index rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from perdure_actors import table_layout
from perdure_actors.core.state import BLOCKED, RUNNING
from perdure_actors.visibility.fields import FIELDS, STATUS_NAMES
from perdure_actors.visibility.filters import fields_of, meets
from perdure_actors.visibility.page_tokens import Token, encode_token
from perdure_actors.visibility.query_plan import is_exact, places, plan_of
from perdure_actors.visibility.run_row import RunRow
from perdure_actors.visibility.values import run_at
from perdure_schemas.payloads import Payload
from perdure_schemas.replies import Refused, RunGroup, RunPage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure_actors.visibility.indexed import Indexed
    from perdure_actors.visibility.language import Query
    from perdure_actors.visibility.values import Attribute, Value
    from perdure_schemas.payloads import Record
    from perdure_topics.ports import Table

COUNTED_MAX: Final = 5_000
"""So many index rows are counted in one answer; it says where to go on."""
READ_MAX: Final = 1_000
"""The same for runs that are read to be counted."""
GROUPS_MAX: Final = 1_000
_KEPT: Final = frozenset({"ExecutionStatus", "WorkflowType", "TaskQueue"})
"""What the kept counts know of runs."""


class _Kind:
    """The runs of one type and status, as a filter sees them."""

    def __init__(self, task_queue: str, key: bytes, row: bytes) -> None:
        self.workflow_type, self.status = table_layout.count_of(key)
        self.task_queue = task_queue
        self.count = table_layout.unpack_count(row)

    def value(self, field: str) -> Value | None:
        """A field that they share."""
        known = {"ExecutionStatus": self.status, "WorkflowType": self.workflow_type}
        return known.get(field, self.task_queue)

    def attribute(self, name: str) -> Attribute | None:
        """They share no search attribute."""
        raise AssertionError(f"the counts know nothing of {name}")


def _kinds(shard: Indexed) -> Iterator[_Kind]:
    for key, row in shard.table.scan(*table_layout.prefix_range(table_layout.COUNTS)):
        yield _Kind(shard.task_queue, key, row)


def open_and_blocked(table: Table) -> tuple[int, int]:
    """How many runs are open, and how many of those are blocked."""
    running = blocked = 0
    for key, row in table.scan(*table_layout.prefix_range(table_layout.COUNTS)):
        status = table_layout.count_of(key)[1]
        running += table_layout.unpack_count(row) if status == RUNNING else 0
        blocked += table_layout.unpack_count(row) if status == BLOCKED else 0
    return running + blocked, blocked


def kept_count(table: Table, key: bytes) -> int:
    """A count that is kept in a row of its own."""
    row = table.get(key)
    return table_layout.unpack_count(row) if row else 0


def count_page(shard: Indexed, query: Query, token: Token) -> Record:
    """A part of the count of the runs that meet a filter."""
    named = {*fields_of(query.where), *([query.group] if query.group else [])}
    if named <= _KEPT:
        return _from_counts(shard, query)
    plan = plan_of(shard.table, query.where)
    by_rows = not query.group and is_exact(shard.table, query.where)
    left = COUNTED_MAX if by_rows else READ_MAX
    count, groups, place = 0, dict[bytes, int](), b""
    for place in places(shard.table, plan, token.after):
        row = None if by_rows else RunRow.load(shard, run_at(place))
        if by_rows or (row is not None and meets(row, query.where)):
            count += 1
            if row is not None and query.group:
                _add(groups, _values(row, query.group), 1)
                if len(groups) > GROUPS_MAX:
                    text = f"GROUP BY {query.group} makes over {GROUPS_MAX} groups"
                    return Refused(code="invalid", message=f"{text}: narrow the filter")
        left -= 1
        if left <= 0:
            return _page(count, groups, encode_token(Token(after=place)))
    return _page(count, groups, b"")


def _from_counts(shard: Indexed, query: Query) -> RunPage:
    count, groups = 0, dict[bytes, int]()
    for kind in _kinds(shard):
        if meets(kind, query.where):
            count += kind.count
            if query.group:
                _add(groups, [_shown(query.group, kind.value(query.group))], kind.count)
    return _page(count, groups, b"")


def _values(row: RunRow, field: str) -> list[object]:
    """What a run is counted under; each word of a list is a group of its own."""
    if field in FIELDS:
        return [_shown(field, row.value(field))]
    found = row.attribute(field)
    return list(found.values) if found and found.values else [None]


def _shown(field: str, value: Value | None) -> object:
    return STATUS_NAMES.get(str(value), value) if field == "ExecutionStatus" else value


def _add(groups: dict[bytes, int], values: list[object], count: int) -> None:
    for value in values:
        key = msgspec.json.encode(value)
        groups[key] = groups.get(key, 0) + count


def _page(count: int, groups: dict[bytes, int], token: bytes) -> RunPage:
    return RunPage(
        count=count,
        next_page_token=token,
        groups=[
            RunGroup(values=[_payload(value)], count=number) for value, number in groups.items()
        ],
    )


def _payload(value: bytes) -> Payload:
    return Payload(encoding="binary/null") if value == b"null" else Payload(data=value)
