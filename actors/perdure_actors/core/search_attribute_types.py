"""One type for each search attribute: what a value says of its type, and which is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from perdure_actors.core.markers import CHANGE_VERSION, NULL
from perdure_schemas.bounds import utf8
from perdure_schemas.events import WorkflowContinuedAsNew
from perdure_schemas.fact_events import SearchAttributesUpserted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perdure_actors.core.world import RunView, World
    from perdure_schemas.payloads import Payload, Record

_FITS: Final = {"number": ("Int", "Double"), "text": ("Keyword", "KeywordList", "Text")}
"""What a value fits that does not say its type, as an untyped mapping and other producers give."""
_PLAIN: Final = {bool: "Bool", int: "number", float: "number", str: "text", list: "text"}


def type_of(payload: Payload) -> str:
    """The type that a value says, or what it looks like; empty for what cannot be found by."""
    said = payload.metadata.get("type", b"")
    if said:
        return said.decode(errors="replace")
    if payload.encoding != "json/plain":
        return ""
    try:
        return _PLAIN.get(type(msgspec.json.decode(payload.data)), "")
    except (ValueError, RecursionError):
        return ""


def settled(counts: Mapping[str, int]) -> str:
    """The type of an attribute that runs have with these: the commonest of those that are said."""
    return max(counts, key=lambda one: (is_said(one), counts[one], one), default="")


def is_said(attribute_type: str) -> bool:
    """Whether a type was said, and not only guessed."""
    return attribute_type not in ("", *_FITS)


def _fit(one: str, other: str) -> bool:
    return one == other or one in _FITS.get(other, ()) or other in _FITS.get(one, ())


def mistyped(world: World, attributes: Mapping[str, Payload]) -> str:
    """Why search attributes cannot be had beside those of other runs; empty when they can."""
    for given, payload in attributes.items():
        if payload.encoding == NULL or given == CHANGE_VERSION:
            continue
        # As it will be written: what is no UTF-8 is escaped there.
        name, now = utf8(given), type_of(payload)
        held = world.attribute_type(name)
        if not now or not held or _fit(now, held):
            continue
        return (
            f"search attribute {name!r} is of type {held} on task queue {world.task_queue!r}, and"
            f" is given as {now}: an attribute has one type. Take another name for the other; the"
            f" filter '{name} IS NOT NULL' finds the runs that have it"
        )
    return ""


def check_attributes(world: World, _run: RunView, outputs: list[Record]) -> str:
    """Why the search attributes that the code asked for cannot be had; empty when they can."""
    for output in outputs:
        if isinstance(output, SearchAttributesUpserted | WorkflowContinuedAsNew):
            problem = mistyped(world, output.search_attributes)
            if problem:
                return f"{problem} ({output.call_site})"
    return ""
