"""Effects that code of users notes down in a simulated run; elsewhere noting one does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Witness(Protocol):
    """Who takes effects."""

    def note(self, name: str, fields: dict[str, Any]) -> None:
        """Code says that it did something."""


_WITNESSES: list[Witness] = []


def effect(name: str, /, **fields: Any) -> None:
    """Say that something was done which cannot be undone: a charge, a mail, a row.

    In a simulation it stands in the journal and in the story; elsewhere nothing happens. Call it in
    a fake of a client where the other side would have acted.

    Example: `effect("charge", order_id=order.order_id, key=key)`.
    """
    if _WITNESSES:
        _WITNESSES[-1].note(name, fields)


@contextmanager
def witnessed_by(witness: Witness) -> Iterator[None]:
    """Effects go to a witness in the block."""
    _WITNESSES.append(witness)
    try:
        yield
    finally:
        _WITNESSES.pop()
