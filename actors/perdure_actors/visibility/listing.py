"""A page of runs or of a count: read from index rows, so many a turn, and gone on with by token.

The list of a filter has the blocked runs first, then the newest; with ORDER BY it is sorted by the
field, and runs without one come last. Each run has a rank: bytes that sort as the list does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from perdure_actors.core.state import BLOCKED
from perdure_actors.table_layout import BLOCKED as BLOCKED_RUNS
from perdure_actors.table_layout import found_prefix, prefix_range
from perdure_actors.visibility.counting import count_page
from perdure_actors.visibility.filters import All, Compare, Missing, Node, meets
from perdure_actors.visibility.hidden_types import without_hidden
from perdure_actors.visibility.language import FilterError, Order, Query, parse
from perdure_actors.visibility.page_tokens import BadTokenError, Token, decode_token, encode_token
from perdure_actors.visibility.query_plan import place_at, places, plan_of, walk
from perdure_actors.visibility.run_row import RunRow, sort_keys
from perdure_actors.visibility.values import inverted, run_at
from perdure_schemas.replies import Refused, RunPage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure_actors.visibility.indexed import Indexed
    from perdure_schemas.commands import ListWorkflows
    from perdure_schemas.payloads import Record
    from perdure_topics.ports import Table

PAGE_MAX: Final = 1_000
PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""A page is full with so many bytes too; one run more may be over it."""
SCANNED_MAX: Final = 1_000
"""So many runs are held against a filter in one answer; it says where to go on."""
_IS_BLOCKED: Final = Compare("ExecutionStatus", "=", (BLOCKED,))
_FIRST, _REST = 0, 1
_ENDED: Final = b"\xff"


def list_runs(shard: Indexed, ask: ListWorkflows) -> Record:
    """A page of a partition's runs, or of their count."""
    try:
        query = parse(ask.query, counts=ask.count_only)
        token = decode_token(ask.page_token)
    except (FilterError, BadTokenError) as error:
        return Refused(code="invalid", message=str(error))
    query = replace(query, where=without_hidden(shard.table, query.where))
    if ask.count_only:
        return count_page(shard, query, token)
    size = min(max(ask.page_size, 1), PAGE_MAX)
    page = _Page(shard, query.where, size)
    if query.order is None:
        return _blocked_first(page, query, token)
    if query.order.field == "StartTime":
        return _by_start(page, query.order, token)
    return _by_field(page, query.order, token)


class _Page:
    """A page in the making."""

    def __init__(self, shard: Indexed, where: Node, size: int) -> None:
        self.shard = shard
        self.where = where
        self._size = size
        self._left = SCANNED_MAX
        self._bytes_left = PAGE_BYTES_MAX
        self._runs: list[bytes] = []
        self._ranks: list[bytes] = []

    @property
    def is_full(self) -> bool:
        """Whether it has all it was asked for, or has read all it may."""
        return len(self._runs) >= self._size or self._left <= 0 or self._bytes_left <= 0

    def row(self, place: bytes) -> RunRow | None:
        """The run of a position when it meets the filter."""
        self._left -= 1
        row = RunRow.load(self.shard, run_at(place))
        return row if row is not None and meets(row, self.where) else None

    def add(self, row: RunRow, rank: bytes) -> None:
        """Take a run in."""
        packed = row.packed()
        self._bytes_left -= len(packed)
        self._runs.append(packed)
        self._ranks.append(rank)
        self.shard.listed.keep(row.state.run_id, row)

    def done(self, token: Token | None) -> RunPage:
        """The answer, with where to go on."""
        return RunPage(
            runs=self._runs,
            ranks=self._ranks,
            count=len(self._runs),
            next_page_token=encode_token(token) if token else b"",
        )


def _blocked_first(page: _Page, query: Query, token: Token) -> RunPage:
    began_ms = token.began_ms or page.shard.world.now_ms()
    table, after = page.shard.table, token.after
    for phase in (_FIRST, _REST):
        if phase < token.phase or (phase == _FIRST and not _any_blocked(table)):
            continue
        node = All((_IS_BLOCKED, query.where)) if phase == _FIRST else query.where
        for place in places(table, plan_of(table, node), after):
            row = page.row(place)
            if row is not None and row.stands_first(began_ms) == (phase == _FIRST):
                page.add(row, bytes([phase]) + place)
            if page.is_full:
                return page.done(Token(phase, place, began_ms))
        after = b""
    return page.done(None)


def _any_blocked(table: Table) -> bool:
    return any(True for _ in table.scan(*prefix_range(BLOCKED_RUNS), limit=1))


def _by_start(page: _Page, order: Order, token: Token) -> RunPage:
    table, reverse = page.shard.table, not order.descends
    for place in places(table, plan_of(table, page.where), token.after, reverse=reverse):
        row = page.row(place)
        if row is not None:
            page.add(row, inverted(place) + _ENDED if reverse else place)
        if page.is_full:
            return page.done(Token(_FIRST, place))
    return page.done(None)


def _by_field(page: _Page, order: Order, token: Token) -> RunPage:
    """First the runs with a value, by the rows of its index; then those without, newest first."""
    table = page.shard.table
    if token.phase == _FIRST:
        for key in _keys(page, order, token.after):
            at = place_at(key, 0)
            row = page.row(key[at:])
            # Of several values, the first in the list's direction is where the run stands.
            if row is not None and _stands_at(row, order, key[:at]):
                rank = inverted(key) + _ENDED if order.descends else key
                page.add(row, bytes([_FIRST]) + rank)
            if page.is_full:
                return page.done(Token(_FIRST, key))
    page.where = All((page.where, Missing(order.field)))
    after = token.after if token.phase == _REST else b""
    for place in places(table, plan_of(table, page.where), after):
        row = page.row(place)
        if row is not None:
            page.add(row, bytes([_REST]) + place)
        if page.is_full:
            return page.done(Token(_REST, place))
    return page.done(None)


def _keys(page: _Page, order: Order, after: bytes) -> Iterator[bytes]:
    """The values of a field with the runs that have them, in the order of the list."""
    prefix = found_prefix(order.field)
    start, end = prefix, prefix + b"\xff"
    if after and order.descends:
        end = prefix + after
    elif after:
        start = prefix + after + b"\0"
    return walk(page.shard.table, prefix, start, end, reverse=order.descends)


def _stands_at(row: RunRow, order: Order, value: bytes) -> bool:
    keys = sort_keys(row, order.field)
    return bool(keys) and value == (max(keys) if order.descends else min(keys))
