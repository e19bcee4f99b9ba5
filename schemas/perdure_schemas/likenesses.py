"""Values that JSON has no type for, and what is written in their place, as Temporal's converter.

Subclasses of str, int and float are what they hold, mappings are objects, whatever can be iterated
is an array; and what is read in such a place is made into the class that was asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from enum import Enum
from inspect import isabstract
from types import GenericAlias, NoneType
from typing import Any, get_args, get_origin, get_type_hints

Convert = Callable[[Any, Any], Any]
"""convert(value, hint): what JSON gave, as a type. Raises ValueError for what does not fit."""


class UnlikeError(TypeError):
    """A value or a type that nothing in JSON is like."""


def likeness_of(value: Any) -> Any:
    """What is written in a value's place. Raises UnlikeError for a value that JSON cannot hold."""
    if isinstance(value, str):
        # Its content, whatever the class says of itself.
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    as_dict = getattr(value, "dict", None)
    if callable(as_dict) and not isinstance(value, type):
        return as_dict()
    raise UnlikeError(type(value))


def key_of(value: Any) -> Any:
    """What is written for a key that is no text: true, false or null, as Python's json does.

    Raises UnlikeError.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    raise UnlikeError(type(value))


def made_of(hint: Any, value: Any, convert: Convert) -> Any:
    """A value of a class that JSON does not know, of what JSON gave.

    Raises UnlikeError for a class that nothing is known of, ValueError for what does not fit.
    """
    kind, args = get_origin(hint) or hint, get_args(hint)
    if not isinstance(kind, type):
        raise UnlikeError(hint)
    for base in (str, int, float):
        if issubclass(kind, base) and not issubclass(kind, Enum):
            if isinstance(value, str) and base is not str:
                # As a key, which JSON has as text only.
                value = base(value)
            return kind(convert(value, base))
    if issubclass(kind, Mapping):
        return _mapping(kind, args, value, convert)
    if issubclass(kind, Iterable):
        items = convert(value, GenericAlias(list, args) if len(args) == 1 else list)
        return items if isabstract(kind) else _made(kind, items)
    for name in ("model_validate", "parse_obj"):
        parse = getattr(kind, name, None)
        if callable(parse):
            return parse(value)
    raise UnlikeError(hint)


def has_odd_keys(hint: Any) -> bool:
    """Whether a type holds mappings by true and false, or None, which JSON has as words."""
    seen: set[int] = set()
    waiting = [hint]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        origin, args = get_origin(one), get_args(one)
        is_mapping = isinstance(origin, type) and issubclass(origin, Mapping)
        if is_mapping and args and args[0] in (bool, None, NoneType):
            return True
        waiting += args
        kind = origin or one
        if isinstance(kind, type) and is_dataclass(kind):
            # Hints that cannot be resolved are somebody else's to refuse.
            with suppress(Exception):
                waiting += get_type_hints(kind).values()
    return False


def _mapping(kind: type, args: tuple[Any, ...], value: Any, convert: Convert) -> Any:
    if len(args) == 1:
        # A Counter's values are numbers.
        args = (*args, int)
    found = convert(value, GenericAlias(dict, args) if len(args) == 2 else dict)
    if isabstract(kind):
        return found
    if issubclass(kind, defaultdict):
        item = get_origin(args[1]) or args[1] if len(args) == 2 else None
        return kind(item if isinstance(item, type) and not isabstract(item) else None, found)
    return _made(kind, found)


def _made(kind: type, content: Any) -> Any:
    try:
        return kind(content)
    except TypeError as error:
        raise ValueError(f"{kind.__name__} cannot be made of it: {error}") from error
