"""Which index rows to read for a filter: positions of runs that may meet it, newest first.

What is read is a superset: every run that is found is held against the whole filter, but where
the rows alone say that it meets it, which only counts ask.
"""

from __future__ import annotations

from heapq import merge
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from perdure_actors import table_layout
from perdure_actors.core.state import BLOCKED, RUNNING
from perdure_actors.visibility.fields import FIELDS
from perdure_actors.visibility.filters import EVERYTHING, All, Compare, Node, Some, reading
from perdure_actors.visibility.indexing import MS_NS, is_indexable
from perdure_actors.visibility.values import (
    NUMBER,
    PART,
    REST,
    TIME,
    TRUTH,
    WORD,
    first_since,
    first_upto,
    is_told_apart,
    position,
    sortable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure_actors.visibility.values import Value
    from perdure_topics.ports import Table

PROBED: Final = (16, 128)
"""So many keys are looked at to tell a short range from long ones: few where that tells."""
SPAN_MAX: Final = 2_000
"""A range of values with more runs than this is not put in order: all runs are read instead."""
PREFIXES_MAX: Final = 64
_CHUNK: Final = (16, 512)
_END: Final = b"\xff" * 9
_TAGS: Final = (WORD, NUMBER, TIME, TRUTH, PART)


class Plan(NamedTuple):
    """What to read: prefixes of index rows, or some positions; and between which positions."""

    prefixes: tuple[bytes, ...] = (table_layout.INDEX,)
    places: tuple[bytes, ...] | None = None
    first: bytes = b""
    end: bytes = _END


def plan_of(table: Table, node: Node) -> Plan:
    """What to read for a filter."""
    times, others = _parted(node)
    first, end = _between(times)
    found = _narrowest(table, others) or Plan()
    return found._replace(first=first, end=end)


def is_exact(table: Table, node: Node) -> bool:
    """Whether the rows that a filter's plan names alone say that a run meets it."""
    times, others = _parted(node)
    if not others:
        return all(len(time.values) == 1 or time.op != "=" for time in times)
    if len(others) > 1 or times or not _is_exact(table, others[0]):
        return False
    return _narrowed(table, others[0]) is not None


def _parted(node: Node) -> tuple[list[Compare], list[Node]]:
    """The conditions of a filter that must all be met: on the start of a run, and others."""
    parts = node.parts if isinstance(node, All) else (node,)
    times = [part for part in parts if isinstance(part, Compare) and part.field == "StartTime"]
    return times, [part for part in parts if part not in times]


def _narrowest(table: Table, parts: list[Node]) -> Plan | None:
    """Of what may be read for conditions that must all be met, the least."""
    found = [plan for part in parts if (plan := _narrowed(table, part)) is not None]
    if len(found) < 2:
        # How much it reads is looked at only where there is a choice.
        return found[0] if found else None
    best = found[0]
    for most in PROBED:
        size, best = min(((_size(table, plan, most), plan) for plan in found), key=itemgetter(0))
        if size < most:
            break
    return best


def _narrowed(table: Table, node: Node) -> Plan | None:
    """What may be read for a condition; None when no index tells."""
    if isinstance(node, Compare):
        return _by_value(table, node)
    if isinstance(node, All):
        return _narrowest(table, list(node.parts))
    if not isinstance(node, Some):
        return None
    prefixes: dict[bytes, None] = {}
    places: set[bytes] = set()
    for part in node.parts:
        found = _narrowed(table, part)
        if found is None:
            return None
        if found.places is None:
            prefixes.update(dict.fromkeys(found.prefixes))
        else:
            places.update(found.places)
    if len(prefixes) > PREFIXES_MAX or len(places) > SPAN_MAX:
        return None
    if not prefixes:
        return Plan((), tuple(sorted(places)))
    return Plan(tuple(prefixes)) if not places else None


def _by_value(table: Table, node: Compare) -> Plan | None:
    if node.field == "NoWorker" and node.values == (True,):
        # Who listens where is no state of a run: what is open is held against the filter.
        return _by_value(table, Compare("ExecutionStatus", "=", (BLOCKED, RUNNING)))
    if node.field == "RunId" and node.op == "=":
        return Plan((), tuple(sorted(_places_of_runs(table, node.values))))
    field = FIELDS.get(node.field)
    if field is not None and not field.is_indexed:
        return None
    if not is_indexable(node.field):
        return None
    if field is not None and field.kind == "truth" and False in node.values:
        # Only the runs of which it is true have a row.
        return None
    if node.op == "=":
        prefixes = _prefixes(node)
        return Plan(prefixes) if len(prefixes) <= PREFIXES_MAX else None
    return _span(table, node)


def _places_of_runs(table: Table, run_ids: tuple[Value, ...]) -> Iterator[bytes]:
    for run_id in run_ids:
        data = table.get(table_layout.run_key(str(run_id)))
        if data is not None:
            yield position(table_layout.decode_run(data).start_ms, str(run_id))


def _prefixes(node: Compare) -> tuple[bytes, ...]:
    """The rows of any of the values of a comparison, however an attribute may hold them."""
    found = {
        table_layout.found_prefix(node.field, sortable(tag, held))
        for value in node.values
        for tag in tags_of(node.field)
        for held in reading(tag, value)[:1]
    }
    if not node.is_system:
        found.add(table_layout.found_prefix(node.field, REST))
    return tuple(sorted(found))


def tags_of(field: str) -> tuple[bytes, ...]:
    """How the values of a field may be indexed."""
    known = FIELDS.get(field)
    if known is None:
        return _TAGS
    return {"time": (TIME,), "truth": (TRUTH,)}.get(known.kind, (WORD,))


def _span(table: Table, node: Compare) -> Plan | None:
    """The runs within a range of values, put in order; None when they are too many."""
    places: set[bytes] = set()
    left = SPAN_MAX
    for start, end in spans_of(node):
        after = len(table_layout.found_prefix(node.field))
        for key, _ in table.scan(start, end, limit=left + 1):
            left -= 1
            if left < 0:
                return None
            places.add(key[place_at(key, after) :])
    return Plan((), tuple(sorted(places)))


def spans_of(node: Compare) -> Iterator[tuple[bytes, bytes]]:
    """The ranges of index rows that a comparison by order names."""
    for tag in tags_of(node.field):
        held = [reading(tag, value)[:1] for value in node.values]
        if tag == PART or not all(held):
            continue
        bounds = [table_layout.found_prefix(node.field, sortable(tag, value)) for (value,) in held]
        low, high = (
            table_layout.found_prefix(node.field, tag),
            table_layout.found_prefix(node.field, tag) + b"\xff",
        )
        if node.op == "between":
            yield bounds[0], bounds[1] + _END
        elif node.op == "starts_with":
            # Without its end, the beginning of a text is that of all that begin so.
            begun = bounds[0][:-2]
            yield begun, begun + b"\xff"
        elif node.op in ("<", "<="):
            yield low, bounds[0] + _END
        else:
            yield bounds[0], high
    if not FIELDS.get(node.field):
        rest = table_layout.found_prefix(node.field, REST)
        yield rest, rest + _END


def place_at(key: bytes, after: int) -> int:
    """Where in an index row its position begins; after: where the value does."""
    tag = key[after : after + 1]
    if tag in (WORD, PART):
        return key.index(b"\0\0", after) + 2
    return after + {TRUTH: 2, REST: 1}.get(tag, 9)


def _size(table: Table, plan: Plan, most: int) -> int:
    """How much a plan reads, as far as that is worth knowing."""
    if plan.places is not None:
        return min(len(plan.places), most)
    size = 0
    for prefix in plan.prefixes:
        size += sum(1 for _ in table.scan(prefix, prefix + _END, limit=most - size))
        if size >= most:
            break
    return size


def _is_exact(table: Table, node: Node) -> bool:
    """Whether the index rows of a condition are those of the runs that meet it."""
    if node == EVERYTHING:
        return True
    if not isinstance(node, Compare) or node.op != "=" or not all(map(is_told_apart, node.values)):
        return False
    if node.is_system:
        return FIELDS[node.field].is_indexed
    rest = table_layout.found_prefix(node.field, REST)
    has_rest = any(True for _ in table.scan(rest, rest + _END, limit=1))
    return not has_rest and all(len(reading(PART, value)) <= 1 for value in node.values)


def _between(times: list[Compare]) -> tuple[bytes, bytes]:
    """The first position that comparisons with the start allow, and where the allowed end."""
    first, end = b"", _END
    for node in times:
        values = [int(value) for value in node.values]
        low, high = values if node.op == "between" else (min(values), max(values))
        if node.op in (">", ">=", "=", "between"):
            least = low // MS_NS + 1 if node.op == ">" else -(-low // MS_NS)
            end = min(end, first_since(least) if least > 0 else _END)
        if node.op in ("<", "<=", "=", "between"):
            most = -(-high // MS_NS) - 1 if node.op == "<" else high // MS_NS
            first = max(first, first_upto(most) if most >= 0 else _END)
    return first, end


def places(table: Table, plan: Plan, after: bytes, *, reverse: bool = False) -> Iterator[bytes]:
    """The positions that a plan names, each once, beyond the one after."""
    first, end = plan.first, plan.end
    if after and reverse:
        end = min(end, after)
    elif after:
        first = max(first, after + b"\0")
    if plan.places is not None:
        found = [place for place in plan.places if first <= place < end]
        yield from reversed(found) if reverse else found
        return
    walks = [
        walk(table, prefix, prefix + first, prefix + end, reverse=reverse)
        for prefix in plan.prefixes
    ]
    if len(walks) == 1:
        yield from walks[0]
        return
    last = b""
    for place in merge(*walks, reverse=reverse):
        if place != last:
            yield place
        last = place


def walk(
    table: Table, prefix: bytes, start: bytes, end: bytes, *, reverse: bool = False
) -> Iterator[bytes]:
    """What follows a prefix in the keys of a range: few at first, for most readers want few."""
    size, most = _CHUNK
    while start < end:
        keys = [key for key, _ in table.scan(start, end, reverse=reverse, limit=size)]
        for key in keys:
            yield key[len(prefix) :]
        if len(keys) < size:
            return
        if reverse:
            end = keys[-1]
        else:
            start = keys[-1] + b"\0"
        size = min(2 * size, most)
