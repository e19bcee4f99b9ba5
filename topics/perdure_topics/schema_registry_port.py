"""The port of a schema registry: what schema an id names, asked without waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class RegistryError(Exception):
    """A registry refused, or did not answer; the message says which, where, and what to do."""


class OnItsWay(NamedTuple):
    """A schema that has been asked for and is not here yet."""

    problem: str
    """What keeps it; empty when nothing is known to."""


class NotToBeHad(NamedTuple):
    """A schema that the registry does not have, or has not given for too long."""

    reason: str


class SchemaRegistry(Protocol):
    """Schemas by their ids. An id means the same schema for ever."""

    @property
    def address(self) -> str:
        """Where it is, for messages to people; no secret is in it."""

    def look_up(
        self, schema_id: int, *, on_ready: Callable[[], None]
    ) -> str | OnItsWay | NotToBeHad:
        """The text of a schema if it is here; otherwise it is asked for, and `on_ready` is rung."""

    def register(self, subject: str, text: str) -> int:
        """Register a schema under a subject, and wait; its id. Raises RegistryError."""

    def close(self) -> None:
        """Ask no more."""
