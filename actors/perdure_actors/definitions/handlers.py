"""Handlers of signals, queries and updates, as users define them: marked, checked, collected."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from perdure_actors.definitions.signatures import (
    CheckHint,
    DefinitionError,
    Signature,
    positional,
    where_is,
)
from perdure_actors.replay.call_site import call_site
from perdure_schemas.converters import RAW, PayloadConverter
from perdure_schemas.payloads import Payload

SIGNAL = "signal"
QUERY = "query"
UPDATE = "update"
MARK = "__perdure_handler__"
NAME_BYTES_MAX = 255
BUILTIN_PREFIX = "__temporal_"


@dataclass
class HandlerMark:
    """What a decorator leaves on a method."""

    kind: str
    name: str
    """Empty for the dynamic one."""
    where: str
    description: str
    warns_unfinished: bool
    validator: Callable[..., None] | None = None


@dataclass(frozen=True)
class HandlerDefinition:
    """A handler of a signal, a query or an update, and how it is called."""

    kind: str
    name: str
    """Empty for the dynamic one, which takes every name that has no other."""
    fn: Callable[..., Any]
    is_method: bool = True
    description: str = ""
    warns_unfinished: bool = True
    validator: Callable[..., None] | None = None
    where: str = ""

    @cached_property
    def signature(self) -> Signature:
        """What the function takes, without self, and returns."""
        return Signature.of(self.fn, is_method=self.is_method, where=self.where)

    @property
    def has_validator(self) -> bool:
        """Whether it may refuse an update."""
        return self.validator is not None

    def read(
        self, name: str, payloads: Sequence[Payload], converter: PayloadConverter
    ) -> list[Any]:
        """The arguments of a message.

        Raises TypeError or ValueError, naming the handler and the argument.
        """
        signature = self.signature
        what = f"{self.kind} {name!r}"
        if self.name:
            return signature.read(payloads, converter, what=what)
        hint = signature.arg_types[1]
        items = getattr(hint, "__args__", ())
        kind: Any = items[0] if items else None
        if getattr(kind, RAW, False):
            return [name, [kind(payload) for payload in payloads]]
        try:
            return [name, converter.from_payloads(payloads, [kind] * len(payloads))]
        except (TypeError, ValueError) as error:
            raise type(error)(f"{what} ({self.where}): {error}") from error

    def bound(self, instance: Any) -> Callable[..., Any]:
        """The function as it is called."""
        if not self.is_method:
            return self.fn
        return partial(self.fn, instance)

    def call(self, instance: Any, args: Sequence[Any]) -> Any:
        """Call it; an awaitable when it is async."""
        return self.fn(instance, *args) if self.is_method else self.fn(*args)

    def validate(self, instance: Any, args: Sequence[Any]) -> None:
        """Let the validator look at an update; what it raises refuses it."""
        if self.validator is not None:
            self.validator(*((instance, *args) if self.is_method else args))

    def check_readable(self, check_hint: CheckHint) -> None:
        """Refuse hints that no value can be read as. Raises DefinitionError."""
        if self.name:
            self.signature.check_readable(check_hint)


def mark_handler(
    kind: str,
    fn: Any,
    *,
    name: str | None,
    is_dynamic: bool,
    description: str | None = None,
    warns_unfinished: bool = True,
) -> HandlerMark:
    """Make a method a handler. Raises DefinitionError, with the line, for what cannot be one."""
    where = call_site(2).partition(" in ")[0]
    label = getattr(fn, "__qualname__", repr(fn))
    if not inspect.isfunction(fn):
        raise DefinitionError(f"{where}: @workflow.{kind} is for methods, not for {fn!r}")
    mark = HandlerMark(
        kind=kind,
        name=_name(kind, fn, name, where, is_dynamic=is_dynamic),
        where=where_is(fn),
        description=description or "",
        warns_unfinished=warns_unfinished,
    )
    other = getattr(fn, MARK, None)
    if other is not None:
        raise DefinitionError(f"{where}: {label} is a {other.kind} already; a method is one thing")
    _check_parameters(kind, fn, where, is_method=True, is_dynamic=is_dynamic)
    setattr(fn, MARK, mark)
    return mark


def mark_validator(mark: HandlerMark, update: Callable[..., Any], fn: Any) -> None:
    """Let a method look at an update before it is accepted. Raises DefinitionError."""
    where = call_site(2).partition(" in ")[0]
    if mark.validator is not None:
        first = where_is(mark.validator)
        raise DefinitionError(f"{where}: update {mark.name!r} has a validator already ({first})")
    mark.validator = _checked_validator(update, fn, where)


def _checked_validator(update: Callable[..., Any], fn: Any, where: str) -> Callable[..., None]:
    label = getattr(fn, "__qualname__", repr(fn))
    if not callable(fn) or inspect.iscoroutinefunction(fn):
        raise DefinitionError(
            f"{where}: {label} validates an update, so it is a plain method: it may only look"
        )
    taken, shown = positional(update), positional(inspect.unwrap(fn))
    if len(taken) != len(shown) or any(
        p.empty not in (p.annotation, q.annotation) and p.annotation != q.annotation
        for p, q in zip(taken, shown, strict=True)
    ):
        raise DefinitionError(
            f"{where}: {label} validates {update.__qualname__} ({where_is(update)}), so it takes"
            f" the same parameters: {inspect.signature(update)}"
        )
    checked: Callable[..., None] = fn
    return checked


def runtime_handler(
    kind: str, name: str, fn: Callable[..., Any], *, validator: Callable[..., None] | None = None
) -> HandlerDefinition:
    """The definition of a handler that a run sets itself. Raises DefinitionError."""
    where = call_site(2).partition(" in ")[0]
    if not callable(fn):
        raise DefinitionError(f"{where}: a {kind} handler is a function, not {fn!r}")
    _check_parameters(kind, fn, where, is_method=False, is_dynamic=not name)
    if validator is not None:
        validator = _checked_validator(fn, validator, where)
    return HandlerDefinition(
        kind=kind, name=name, fn=fn, is_method=False, validator=validator, where=where
    )


def _name(kind: str, fn: Any, name: str | None, where: str, *, is_dynamic: bool) -> str:
    if is_dynamic:
        if name is not None:
            raise DefinitionError(f"{where}: a dynamic {kind} takes every name, so it has none")
        return ""
    chosen: str = fn.__name__ if name is None else name
    size = len(chosen.encode())
    if not 0 < size <= NAME_BYTES_MAX or chosen.startswith(BUILTIN_PREFIX):
        raise DefinitionError(
            f"{where}: a {kind} cannot have the name {chosen!r}: a name has 1 to {NAME_BYTES_MAX}"
            f" bytes, and {BUILTIN_PREFIX} is reserved"
        )
    return chosen


def _check_parameters(
    kind: str, fn: Callable[..., Any], where: str, *, is_method: bool, is_dynamic: bool
) -> None:
    """Refuse a handler that could not be called."""
    label = getattr(fn, "__qualname__", repr(fn))
    if kind == QUERY and inspect.iscoroutinefunction(fn):
        # As in Temporal: it works as long as it waits for nothing.
        warnings.warn(
            f"{where}: {label} is a query, so make it a plain `def`: it may only look",
            DeprecationWarning,
            stacklevel=4,
        )
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise DefinitionError(f"{where}: {label} yields; a {kind} returns one value, or nothing")
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or (
            parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        ):
            raise DefinitionError(
                f"{where}: {label} takes {parameter}; a {kind} gives positional arguments, one to"
                " each parameter: pass one dataclass instead"
            )
    given = positional(fn)
    if is_method and not given:
        raise DefinitionError(f"{where}: {label} has no self")
    if is_dynamic and len(given) != 2 + is_method:
        raise DefinitionError(
            f"{where}: {label} is a dynamic {kind}, so it takes a name and one Sequence[RawValue]"
        )


def handlers_of(cls: type, where: str) -> Mapping[str, Mapping[str, HandlerDefinition]]:
    """The handlers of a class and its bases, by kind and name. Raises DefinitionError."""
    found: dict[str, dict[str, HandlerDefinition]] = {SIGNAL: {}, QUERY: {}, UPDATE: {}}
    for attribute in dict.fromkeys(name for base in cls.__mro__ for name in vars(base)):
        member = inspect.getattr_static(cls, attribute)
        mark = getattr(member, MARK, None)
        if not isinstance(mark, HandlerMark):
            _check_override(cls, attribute, member, where)
            continue
        definition = HandlerDefinition(
            kind=mark.kind,
            name=mark.name,
            fn=member,
            description=mark.description,
            warns_unfinished=mark.warns_unfinished,
            validator=mark.validator,
            where=mark.where,
        )
        other = found[mark.kind].setdefault(mark.name, definition)
        if other is not definition:
            what = f"the name {mark.name!r}" if mark.name else "dynamic=True"
            raise DefinitionError(
                f"{where}: {cls.__qualname__} has two {mark.kind} handlers with {what}:"
                f" {other.where} and {definition.where}"
            )
    return found


def _check_override(cls: type, attribute: str, member: Any, where: str) -> None:
    """Refuse a method that hides a handler of a base without being one."""
    for base in cls.__mro__[1:]:
        hidden = getattr(vars(base).get(attribute), MARK, None)
        if isinstance(hidden, HandlerMark):
            raise DefinitionError(
                f"{where}: {cls.__qualname__}.{attribute} ({where_is(member)}) hides the"
                f" {hidden.kind} of {base.__qualname__} ({hidden.where}): put the decorator on it"
                " as well"
            )
