"""What a function that users define takes and returns, read once from its hints."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from perdure_actors.replay.call_site import short_path
from perdure_schemas.converters import PayloadConverter

CheckHint = Callable[[Any], None]
"""Refuses a type hint that values cannot be read as, by TypeError."""


class DefinitionError(ValueError):
    """A workflow or an activity that cannot be: said where it stands."""


@dataclass(frozen=True)
class Signature:
    """The positional parameters of a function, with the types they are read as."""

    names: tuple[str, ...]
    arg_types: tuple[Any, ...]
    """None where there is no hint."""
    required: int
    result_type: Any
    where: str

    @classmethod
    def of(cls, fn: Callable[..., Any], *, is_method: bool, where: str) -> Signature:
        """The signature of a function. Raises DefinitionError when its hints cannot be resolved."""
        try:
            hints = typing.get_type_hints(fn, include_extras=True)
        except Exception as error:
            raise DefinitionError(
                f"{where}: the type hints of {fn.__qualname__} cannot be resolved: {error}; "
                "import what they name at run time, not under TYPE_CHECKING"
            ) from error
        parameters = positional(fn)[1 if is_method else 0 :]
        return cls(
            names=tuple(p.name for p in parameters),
            arg_types=tuple(hints.get(p.name) for p in parameters),
            required=sum(p.default is p.empty for p in parameters),
            result_type=_result_of(hints.get("return")),
            where=where,
        )

    @property
    def item_type(self) -> Any:
        """What a dynamic function's one parameter is a sequence of."""
        items = typing.get_args(self.arg_types[0]) if self.arg_types else ()
        return items[0] if items else None

    def read(self, payloads: Sequence[Any], converter: PayloadConverter, *, what: str) -> list[Any]:
        """The arguments that payloads hold.

        Raises TypeError or ValueError, naming the function and the argument.
        """
        count = len(payloads)
        self.check_count(count, what=what)
        try:
            return converter.from_payloads(payloads, self.arg_types[:count], names=self.names)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{what} ({self.where}): {error}") from error

    def check_count(self, count: int, *, what: str) -> None:
        """Refuse so many arguments, if the function does not take them. Raises TypeError."""
        if not self.required <= count <= len(self.names):
            takes = f"{self.required} to {len(self.names)}"
            if self.required == len(self.names):
                takes = str(self.required) if self.names else "no"
            names = f" ({', '.join(self.names)})" if self.names else ""
            raise TypeError(
                f"{what} ({self.where}) takes {takes} argument{'' if takes == '1' else 's'}{names},"
                f" but was given {count}"
            )

    def check_readable(self, check_hint: CheckHint) -> None:
        """Refuse hints that no value can be read as. Raises DefinitionError with the parameter."""
        for name, hint in zip(
            (*self.names, "return"), (*self.arg_types, self.result_type), strict=True
        ):
            try:
                check_hint(hint)
            except TypeError as error:
                raise DefinitionError(f"{self.where}: {name}: {error}") from error


def _result_of(hint: Any) -> Any:
    """What a function returns; one that never does, as when others complete it, says nothing."""
    return None if hint in (typing.NoReturn, typing.Never) else hint


def positional(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function that may be given by position."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p for p in inspect.signature(fn).parameters.values() if p.kind in kinds]


def where_is(thing: Any) -> str:
    """Where a function stands, as path and line."""
    code = getattr(inspect.unwrap(thing), "__code__", None)
    if code is None:
        return getattr(thing, "__module__", "") or "here"
    return f"{short_path(code.co_filename, thing.__module__)}:{code.co_firstlineno}"
