"""Types of users that travel as other types: who converts them, and how a class says so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

ValueT = TypeVar("ValueT")
TransferTypeT = TypeVar("TransferTypeT")
C = TypeVar("C", bound=type)
ATTRIBUTE = "__temporal_transfer_type_converter"
"""Under which a class keeps its converter; code that is made for Temporal looks there."""


class TransferTypeConverter(ABC, Generic[ValueT, TransferTypeT]):
    """Turns values of a class into what is written in their place, and back. Inherit from it."""

    @property
    @abstractmethod
    def transfer_type(self) -> type[TransferTypeT]:
        """As what the values are written and read; a class attribute will do."""

    @abstractmethod
    def to_transfer_type(self, value: ValueT) -> TransferTypeT:
        """What is written for a value."""

    @abstractmethod
    def from_transfer_type(self, value: TransferTypeT, type_hint: type[ValueT]) -> ValueT:
        """The value of what was read, as the type that was asked for."""


def transfer_type_convertible(
    converter_type: type[TransferTypeConverter[Any, Any]],
) -> Callable[[C], C]:
    """Say for a class how its values travel, whichever payload converter is used.

    It holds for arguments and results that are such values, not for values within others.

    Example:
        @transfer_type_convertible(MoneyConverter)
        class Money: ...
    """

    def decorate(cls: C) -> C:
        setattr(cls, ATTRIBUTE, converter_type())
        return cls

    return decorate


def to_be_written(value: Any) -> Any:
    """What is written for a value: itself, unless its class says otherwise."""
    converter = getattr(type(value), ATTRIBUTE, None)
    return value if converter is None else converter.to_transfer_type(value)


def to_be_read(hint: Any) -> Any:
    """As what a type is read: itself, unless its class says otherwise."""
    converter = getattr(hint, ATTRIBUTE, None)
    return hint if converter is None else converter.transfer_type


def as_asked(value: Any, hint: Any) -> Any:
    """The value of what was read, as the type that was asked for."""
    converter = getattr(hint, ATTRIBUTE, None)
    return value if converter is None else converter.from_transfer_type(value, hint)


def hints_to_be_read(hints: Sequence[Any] | None) -> list[Any] | None:
    """As what each type is read."""
    return [to_be_read(hint) for hint in hints] if hints else None


def all_as_asked(values: list[Any], hints: Sequence[Any] | None) -> list[Any]:
    """The values of what was read, each as the type that was asked for."""
    if not hints or not any(hasattr(hint, ATTRIBUTE) for hint in hints):
        return values
    known = [*hints, *[None] * (len(values) - len(hints))]
    return [as_asked(value, hint) for value, hint in zip(values, known, strict=False)]
