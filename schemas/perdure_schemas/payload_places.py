"""Where payloads sit in records: found and replaced by the shape of each class, never by hand.

Search attributes are left out everywhere, because indexes read them; headers where told.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, TypeVar

import msgspec

from perdure_schemas.payloads import Payload, Record

R = TypeVar("R", bound=Record)
Change = Callable[[Payload], Payload]
Walk = Callable[[Any, Change], Any]
"""Gives a value with its payloads changed; the very same value when none was."""

NEVER = frozenset({"search_attributes"})
HEADERS = frozenset({"header"})


def payloads_in(record: Record, *, headers: bool = False) -> list[Payload]:
    """The payloads of a record, in the order in which `with_payloads` takes them."""
    walk = _walk_of(type(record), headers)
    found: list[Payload] = []

    def note(payload: Payload) -> Payload:
        found.append(payload)
        return payload

    if walk is not None:
        walk(record, note)
    return found


def with_payloads(record: R, payloads: Iterable[Payload], *, headers: bool = False) -> R:
    """The record with other payloads in the places of those that `payloads_in` gave."""
    walk = _walk_of(type(record), headers)
    if walk is None:
        return record
    rest: Iterator[Payload] = iter(payloads)
    changed: R = walk(record, lambda _: next(rest))
    return changed


@cache
def _walk_of(kind: Any, headers: bool) -> Walk | None:  # noqa: FBT001 - a cache's key
    """How the payloads of a type are reached; None when it holds none."""
    if kind is Payload:
        return lambda value, change: change(value)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        inner = _walk_of(args[0], headers)
        return None if inner is None else _list_walk(inner)
    if origin is dict:
        inner = _walk_of(args[1], headers)
        return None if inner is None else _dict_walk(inner)
    if origin in (typing.Union, types.UnionType):
        return _union_walk({arg: _walk_of(arg, headers) for arg in args})
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct_walk(kind, headers)
    return None


def _list_walk(inner: Walk) -> Walk:
    def walk(value: Any, change: Change) -> Any:
        return [inner(item, change) for item in value] if value else value

    return walk


def _dict_walk(inner: Walk) -> Walk:
    def walk(value: Any, change: Change) -> Any:
        return {key: inner(item, change) for key, item in value.items()} if value else value

    return walk


def _union_walk(members: dict[Any, Walk | None]) -> Walk | None:
    by_class = {}
    for member, inner in members.items():
        if inner is not None:
            by_class[typing.get_origin(member) or member] = inner
    if not by_class:
        return None

    def walk(value: Any, change: Change) -> Any:
        inner = by_class.get(type(value))
        return value if inner is None else inner(value, change)

    return walk


def _struct_walk(kind: type[msgspec.Struct], headers: bool) -> Walk | None:  # noqa: FBT001
    skipped = NEVER if headers else NEVER | HEADERS
    hints = typing.get_type_hints(kind)
    inner: dict[str, Walk] = {}
    for name in kind.__struct_fields__:
        walk_of_field = None if name in skipped else _walk_of(hints[name], headers)
        if walk_of_field is not None:
            inner[name] = walk_of_field
    if not inner:
        return None

    def walk(value: Any, change: Change) -> Any:
        changed = {}
        for name, walk_of_field in inner.items():
            old = getattr(value, name)
            new = walk_of_field(old, change)
            if new is not old:
                changed[name] = new
        return msgspec.structs.replace(value, **changed) if changed else value

    return walk
