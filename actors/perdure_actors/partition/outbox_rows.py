"""What the outcomes in an accepted record mean for the table: the same in life and in recovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors import table_layout
from perdure_actors.core.decision import Forward, SendAgain, SendCommand, SendDead
from perdure_schemas.avro import decode_as, encode
from perdure_schemas.command_headers import Command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perdure_actors.core.decision import Effect
    from perdure_actors.partition.run_cache import Ops
    from perdure_schemas.transition import Outcome

KEPT = (SendCommand, SendDead, Forward, SendAgain)
"""Effects that no state says again: each is a row until it is acknowledged."""


def outcome_rows(outcomes: Sequence[Outcome], time_ms: int, ops: Ops) -> list[Effect]:
    """Add the rows of outcomes, request ids and last-seen, and return what they bring."""
    effects: list[Effect] = []
    for outcome in outcomes:
        if outcome.request_id:
            row = table_layout.RequestRow(time_ms, outcome.outcome, outcome.run_id, outcome.reason)
            ops[table_layout.request_key(outcome.workflow_id, outcome.request_id)] = (
                table_layout.encode(row)
            )
        source = outcome.source
        if source is not None:
            seen = (source.epoch, source.pseq, source.index)
            ops[table_layout.last_seen_key(source.topic_id, source.partition)] = (
                table_layout.encode(seen)
            )
        if outcome.outcome == "dead":
            effects.append(SendDead(outcome.reason, outcome.offset, outcome.key, outcome.value))
        elif outcome.outcome == "forwarded":
            effects.append(Forward(outcome.offset, outcome.key, outcome.value))
        elif outcome.outcome == "handed_back":
            effects.append(SendAgain(outcome.run_id, outcome.activity_id))
        for errand in outcome.errands:
            command = decode_as(Command, errand.command)
            effects.append(SendCommand(errand.task_queue, command))
    return effects


def effect_rows(effects: Sequence[Effect], pseq: int, epoch: int, ops: Ops) -> list[bytes]:
    """Add the rows of a record's effects that must be kept; their keys.

    An effect's place is its place among all the record's effects: those of its events in their
    order, then those of its outcomes. `pseq` is that of the record's first part.
    """
    keys = []
    for place, effect in enumerate(effects):
        if isinstance(effect, KEPT):
            key = table_layout.effect_key(pseq, place)
            ops[key] = table_layout.encode((epoch, *_fields(effect)))
            keys.append(key)
    return keys


def _fields(effect: SendCommand | SendDead | Forward | SendAgain) -> tuple[object, ...]:
    if isinstance(effect, SendAgain):
        return "again", *effect
    if isinstance(effect, SendCommand):
        return "command", effect.task_queue, encode(effect.command)
    if isinstance(effect, SendDead):
        return "dead", effect.reason, effect.offset, effect.key, effect.value
    return "forwarded", effect.offset, effect.key, effect.value


def kept_effect(data: bytes) -> tuple[int, Effect]:
    """The epoch of the record that brought a kept effect, and the effect."""
    epoch, kind, *fields = table_layout.decode_any(data)
    if kind == "command":
        task_queue, command = fields
        return epoch, SendCommand(task_queue, decode_as(Command, command))
    if kind == "again":
        return epoch, SendAgain(*fields)
    return epoch, SendDead(*fields) if kind == "dead" else Forward(*fields)
