"""A filter as a tree of conditions, and whether a run meets it. Two values only: met or not.

A run that has no value for a field meets no comparison with it, and so the negation of each.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from perdure_actors.visibility.fields import FIELDS
from perdure_actors.visibility.values import (
    NUMBER,
    PART,
    TIME,
    TRUTH,
    WORD,
    Attribute,
    time_ns_of,
    words_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from perdure_actors.visibility.values import Value


class Row(Protocol):
    """A run as a filter sees it."""

    def value(self, field: str) -> Value | None:
        """A field that every run has."""

    def attribute(self, name: str) -> Attribute | None:
        """A search attribute."""


@dataclass(frozen=True)
class Compare:
    """A field compared with values: any of them will do (between: lies within the two)."""

    field: str
    op: str
    """=, <, >, <=, >=, between or starts_with."""
    values: tuple[Value, ...]

    @property
    def is_system(self) -> bool:
        """Whether it is a field that every run has."""
        return self.field in FIELDS


@dataclass(frozen=True)
class Missing:
    """A field without a value."""

    field: str


@dataclass(frozen=True)
class Not:
    """What must not be met."""

    part: Node


@dataclass(frozen=True)
class All:
    """Conditions that must all be met."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Some:
    """Conditions of which one must be met."""

    parts: tuple[Node, ...]


Node = Compare | Missing | Not | All | Some
EVERYTHING: Final = All(())


def meets(row: Row, node: Node) -> bool:
    """Whether a run meets a condition."""
    if isinstance(node, All):
        return all(meets(row, part) for part in node.parts)
    if isinstance(node, Some):
        return any(meets(row, part) for part in node.parts)
    if isinstance(node, Not):
        return not meets(row, node.part)
    if isinstance(node, Missing):
        if node.field in FIELDS:
            return row.value(node.field) is None
        return row.attribute(node.field) is None
    if node.is_system:
        value = row.value(node.field)
        return value is not None and _holds(node.op, value, node.values)
    attribute = row.attribute(node.field)
    return attribute is not None and _attribute_holds(node, attribute)


_ORDERS: Final[dict[str, Callable[[Value, Value], bool]]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def _holds(op: str, value: Value, wanted: tuple[Value, ...]) -> bool:
    if op == "=":
        return value in wanted
    if op == "starts_with":
        return isinstance(value, str) and isinstance(wanted[0], str) and value.startswith(wanted[0])
    if op == "between":
        low, high = wanted
        return _ORDERS[">="](value, low) and _ORDERS["<="](value, high)
    return _ORDERS[op](value, wanted[0])


def _attribute_holds(node: Compare, attribute: Attribute) -> bool:
    wanted = [found for found in (reading(attribute.tag, value) for value in node.values) if found]
    if len(wanted) < len(node.values) and node.op != "=":
        return False
    if attribute.tag == PART:
        return node.op == "=" and any(set(words) <= set(attribute.values) for words in wanted)
    values = tuple(found[0] for found in wanted)
    return any(_holds(node.op, value, values) for value in attribute.values)


def reading(tag: bytes, literal: Value) -> tuple[Value, ...]:
    """A literal as an attribute of a tag would hold it; empty when it never would."""
    if tag == PART:
        return words_of(literal) if isinstance(literal, str) else ()
    if tag == TIME and isinstance(literal, str):
        time_ns = time_ns_of(literal)
        return () if time_ns is None else (time_ns,)
    fits = {
        WORD: isinstance(literal, str),
        TRUTH: isinstance(literal, bool),
        NUMBER: isinstance(literal, int | float) and not isinstance(literal, bool),
        TIME: isinstance(literal, int) and not isinstance(literal, bool),
    }
    return (literal,) if fits[tag] else ()


def fields_of(node: Node) -> Iterator[str]:
    """The fields that a filter names."""
    if isinstance(node, All | Some):
        for part in node.parts:
            yield from fields_of(part)
    elif isinstance(node, Not):
        yield from fields_of(node.part)
    else:
        yield node.field
