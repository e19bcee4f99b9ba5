"""What a run's code notes down: markers, its memo, its search attributes, and what it emits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from perdure_actors.core.state import Facts, RecordId, Run
from perdure_schemas.fact_events import (
    MarkerRecorded,
    MemoUpserted,
    RecordEmitted,
    SearchAttributesUpserted,
)
from perdure_schemas.payloads import Payload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perdure_actors.core.world import RunView, World
    from perdure_schemas.payloads import Record

CHANGE_VERSION = "TemporalChangeVersion"
"""The search attribute of the patches that a run has taken, under the name that queries know."""
PATCH = "patch"
NULL = "binary/null"
"""The encoding of None: an upsert with it removes."""


def upserted(values: Mapping[str, Payload], updates: dict[str, Payload]) -> dict[str, Payload]:
    """Values with updates in place of those of their names; None removes."""
    merged = {**values, **updates}
    return {name: payload for name, payload in merged.items() if payload.encoding != NULL}


def carried_attributes(run: RunView) -> dict[str, Payload]:
    """The search attributes that a run's successor begins with: its patches are its own."""
    attributes = run.search_attributes
    return {name: payload for name, payload in attributes.items() if name != CHANGE_VERSION}


def _size(values: dict[str, Payload]) -> int:
    return sum(len(name) + len(payload.data) for name, payload in values.items())


def too_large(world: World, memo: dict[str, Payload], attributes: dict[str, Payload]) -> str:
    """Why so much memo and so many search attributes cannot be kept; empty when they can."""
    limits = world.limits
    for what, size, most in (
        ("memo has", _size(memo), limits.memo_bytes_max),
        ("search attributes have", _size(attributes), limits.attribute_bytes_max),
    ):
        if size > most:
            return f"the {what} {size} bytes; {most} is the most: keep references there"
    return ""


def check_facts(world: World, run: RunView, outputs: list[Record]) -> str:
    """Why what the code notes down cannot be had; empty when it can."""
    limits = world.limits
    memo, attributes, emitted = run.memo, run.search_attributes, 0
    for output in outputs:
        problem = ""
        if isinstance(output, MarkerRecorded):
            size = len(output.value.data) if output.value else 0
            if size > limits.marker_bytes_max:
                problem = f"a side effect gave {size} bytes; {limits.marker_bytes_max} is the most"
        elif isinstance(output, MemoUpserted):
            memo = upserted(memo, output.memo)
            problem = too_large(world, memo, {})
        elif isinstance(output, SearchAttributesUpserted):
            attributes = upserted(attributes, output.search_attributes)
            problem = too_large(world, {}, attributes)
        elif isinstance(output, RecordEmitted):
            headers = sum(len(name) + len(value) for name, value in output.headers.items())
            size = len(output.key or b"") + len(output.value or b"") + headers
            emitted += size
            if size > limits.emit_bytes_max:
                problem = f"it emits {size} bytes in a record; {limits.emit_bytes_max} is the most"
            elif emitted > limits.activation_bytes_max:
                problem = f"over {limits.activation_bytes_max} bytes are emitted at once"
        else:
            continue
        if problem:
            return f"{problem} ({output.call_site})"
    return ""


def apply_marker(run: Run, event: MarkerRecorded, _at: RecordId, _now_ms: int) -> None:
    """A patch is found by a search attribute; other markers are for replay alone."""
    if event.kind != PATCH:
        return
    held = run.search_attributes.get(CHANGE_VERSION)
    names: list[str] = msgspec.json.decode(held.data, type=list[str]) if held else []
    data = msgspec.json.encode([*names, event.name])
    payload = Payload(data=data, metadata={"type": b"KeywordList"})
    _note(run, search_attributes={**run.search_attributes, CHANGE_VERSION: payload})


def apply_memo(run: Run, event: MemoUpserted, _at: RecordId, _now_ms: int) -> None:
    """The memo as it is now."""
    _note(run, memo=upserted(run.memo, event.memo))


def apply_attributes(
    run: Run, event: SearchAttributesUpserted, _at: RecordId, _now_ms: int
) -> None:
    """The search attributes as they are now."""
    _note(run, search_attributes=upserted(run.search_attributes, event.search_attributes))


def apply_emitted(_run: Run, _event: RecordEmitted, _at: RecordId, _now_ms: int) -> None:
    """Nothing: whoever publishes it reads it from the log."""


def _note(
    run: Run,
    *,
    memo: dict[str, Payload] | None = None,
    search_attributes: dict[str, Payload] | None = None,
) -> None:
    run.facts = Facts(
        run.memo if memo is None else memo,
        run.search_attributes if search_attributes is None else search_attributes,
    )
    run.touched.add(("facts", ""))
