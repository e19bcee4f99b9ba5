"""What the shards of one host know together of the types of search attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors.core.search_attribute_types import is_said

if TYPE_CHECKING:
    from collections.abc import Callable

    TypeOf = Callable[[str], str]


class AttributeTypes:
    """Asks every owned partition for the type that its runs have given an attribute.

    What partitions of other hosts hold is not known here, so between hosts an attribute may still
    get two types; filters find either.
    """

    def __init__(self) -> None:
        self._partitions: list[TypeOf] = []

    def join(self, type_of: TypeOf) -> None:
        """A partition is owned."""
        self._partitions.append(type_of)

    def leave(self, type_of: TypeOf) -> None:
        """A partition is let go: its table must not be read any more."""
        if type_of in self._partitions:
            self._partitions.remove(type_of)

    def find(self, name: str) -> str:
        """The type of an attribute; empty when no run has it."""
        guess = ""
        for type_of in self._partitions:
            found = type_of(name)
            if is_said(found):
                return found
            guess = guess or found
        return guess
