"""Readers of types that hold unions of classes, which one pass over JSON cannot tell apart."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Collection, Mapping
from inspect import isabstract
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from perdure_schemas.likenesses import made_of

Convert = Callable[[Any], Any]
"""From what JSON holds to a value of a type. Raises ValueError for what does not fit."""
Leaf = Callable[[Any], Convert]
"""The conversion to a type that holds no such union. Raises TypeError for any other."""


def walked(hint: Any, leaf: Leaf) -> Convert:
    """The conversion to a type, its unions tried in the order they are written.

    Raises TypeError when the type holds what cannot be read anyway.
    """
    return _Walk(leaf).of(hint)


class _Walk:
    def __init__(self, leaf: Leaf) -> None:
        self._leaf = leaf
        self._made: dict[Any, Convert | None] = {}
        """None while it is being made: a type may hold itself."""

    def of(self, hint: Any) -> Convert:
        if hint in self._made:
            return self._made[hint] or self._later(hint)
        try:
            made = self._leaf(hint)
        except TypeError:
            self._made[hint] = None
            found = self._parts(hint)
            if found is None:
                raise
            made = found
        self._made[hint] = made
        return made

    def _later(self, hint: Any) -> Convert:
        """The conversion to a type that is being made, by the time it is used."""

        def convert(value: Any) -> Any:
            made = self._made[hint]
            assert made is not None, "a type is whole before a value is read"
            return made(value)

        return convert

    def _parts(self, hint: Any) -> Convert | None:
        """The conversion by the parts of a type; None for one that has none we know."""
        kind, args = get_origin(hint), get_args(hint)
        if kind in (Union, UnionType):
            return self._union(args)
        if kind is tuple and len(args) == 2 and args[1] is Ellipsis:
            return self._collection(tuple, args[0])
        if kind is tuple and args:
            return self._tuple(args)
        if isinstance(kind, type) and issubclass(kind, Mapping) and len(args) == 2:
            return self._mapping(kind, *args)
        if isinstance(kind, type) and issubclass(kind, Collection) and len(args) == 1:
            return self._collection(list if isabstract(kind) else kind, args[0])
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            return self._dataclass(hint)
        return None

    def _union(self, members: tuple[Any, ...]) -> Convert:
        tried = [(_name(member), self.of(member)) for member in members if member is not NoneType]
        takes_none = NoneType in members

        def convert(value: Any) -> Any:
            if value is None and takes_none:
                return None
            reasons = []
            for name, member in tried:
                try:
                    return member(value)
                except ValueError as error:
                    reasons.append(f"{name}: {error}")
            raise ValueError("no member fits: " + "; ".join(reasons))

        return convert

    def _collection(self, kind: Callable[[Any], Any], item: Any) -> Convert:
        of_item = self.of(item)

        def convert(value: Any) -> Any:
            if not isinstance(value, list):
                raise ValueError(f"Expected `array`, got `{_json(value)}`")  # noqa: TRY004
            return kind([_at(f"[{at}]", of_item, one) for at, one in enumerate(value)])

        return convert

    def _tuple(self, items: tuple[Any, ...]) -> Convert:
        of_items = [self.of(item) for item in items]

        def convert(value: Any) -> Any:
            if not isinstance(value, list) or len(value) != len(of_items):
                raise ValueError(f"Expected `array` of length {len(of_items)}")
            pairs = enumerate(zip(of_items, value, strict=True))
            return tuple(_at(f"[{at}]", of_item, one) for at, (of_item, one) in pairs)

        return convert

    def _mapping(self, kind: type, key: Any, item: Any) -> Convert:
        of_key, of_item = self._key(key), self.of(item)

        def convert(value: Any) -> Any:
            fields = _object(value)
            found = {of_key(name): _at(name, of_item, one) for name, one in fields.items()}
            if kind is dict or isabstract(kind):
                return found
            # Its items are what they should be by now.
            return made_of(kind[Any, Any], found, lambda one, _: one)  # type: ignore[index]

        return convert

    def _key(self, hint: Any) -> Convert:
        """The conversion of a key, which JSON has as text only."""
        if hint in (bool, NoneType, None):
            return lambda name: msgspec.convert(name, hint, strict=False)
        return self.of(hint)

    def _dataclass(self, kind: type) -> Convert:
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = [field for field in dataclasses.fields(kind) if field.init]
        of_field = {field.name: self.of(hints[field.name]) for field in fields}
        needed = {
            field.name
            for field in fields
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        }

        def convert(value: Any) -> Any:
            given = _object(value)
            missing = sorted(needed - given.keys())
            if missing:
                raise ValueError(f"Object missing required field `{missing[0]}`")
            found = {
                name: _at(name, of_one, given[name])
                for name, of_one in of_field.items()
                if name in given
            }
            return kind(**found)

        return convert


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"Expected `object`, got `{_json(value)}`")  # noqa: TRY004 - as msgspec
    return value


def _at(name: str, convert: Convert, value: Any) -> Any:
    try:
        return convert(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _json(value: Any) -> str:
    return {dict: "object", list: "array", type(None): "null"}.get(
        type(value), type(value).__name__
    )


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)
