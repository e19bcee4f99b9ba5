"""A message's name, parameters and result type, from a handler or a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from perdure_actors.definitions.handlers import MARK, HandlerMark
from perdure_actors.definitions.signatures import Signature


@dataclass(frozen=True)
class MessageFacts:
    """A message's name, and of its handler what types its values."""

    name: str
    result_type: Any = None
    parameter_names: Sequence[str] = ()


def message_facts(kind: str, handler: object) -> MessageFacts:
    """What is known of a signal, a query or an update.

    Raises TypeError for a function that is no handler of that kind, ValueError for no name.
    """
    if isinstance(handler, str):
        if not handler:
            raise ValueError(f"the {kind}'s name is empty: give its name, or its handler")
        return MessageFacts(handler)
    mark = getattr(handler, MARK, None)
    label = getattr(handler, "__qualname__", repr(handler))
    if not isinstance(mark, HandlerMark) or mark.kind != kind:
        what = "nothing of the kind" if not isinstance(mark, HandlerMark) else f"a {mark.kind}"
        raise TypeError(
            f"{label} is {what}: give a method with @workflow.{kind}, or the {kind}'s name"
        )
    if not mark.name:
        raise TypeError(f"{label} is dynamic and has no name of its own: give a name as a string")
    assert callable(handler), "only functions are marked"
    signature = Signature.of(handler, is_method=True, where=mark.where)
    return MessageFacts(mark.name, signature.result_type, signature.names)
