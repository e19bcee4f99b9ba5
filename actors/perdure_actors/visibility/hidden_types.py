"""Which runs lists and counts leave out unless they are asked for: schedules and batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from perdure_actors import table_layout
from perdure_actors.core.state import BATCH_TYPE, BLOCKED, SCHEDULER_TYPE
from perdure_actors.visibility.filters import All, Compare, Not, Some

if TYPE_CHECKING:
    from perdure_actors.visibility.filters import Node
    from perdure_topics.ports import Table

_OWN: Final = "perdure"
"""What the types and ids of built-in workflows begin with."""
_HIDDEN: Final = (SCHEDULER_TYPE, BATCH_TYPE)
_NAMES: Final = frozenset({"WorkflowType", "WorkflowId"})
_SHOWN: Final = Some(
    (
        Not(Some(tuple(Compare("WorkflowType", "=", (kind,)) for kind in _HIDDEN))),
        # One that needs a person shows, whoever asks for what.
        Compare("ExecutionStatus", "=", (BLOCKED,)),
    )
)


def without_hidden(table: Table, where: Node) -> Node:
    """A filter that leaves out what is hidden, where there is any and it was not asked for."""
    if _asks_for_hidden(where) or not _has_hidden(table):
        return where
    return All((where, _SHOWN))


def _asks_for_hidden(node: Node) -> bool:
    if isinstance(node, All | Some):
        return any(map(_asks_for_hidden, node.parts))
    if isinstance(node, Not):
        return _asks_for_hidden(node.part)
    if not isinstance(node, Compare):
        return False
    if node.field in _NAMES:
        return any(isinstance(one, str) and one.startswith(_OWN) for one in node.values)
    return node.field == "RunId"


def _has_hidden(table: Table) -> bool:
    return any(
        True for kind in _HIDDEN for _ in table.scan(*table_layout.counts_range(kind), limit=1)
    )
