"""What the outcomes in an accepted record mean for the table: the same in life and in recovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors import rows
from perdure_actors.core.decision import Forward, SendDead

if TYPE_CHECKING:
    from perdure_actors.core.decision import Effect
    from perdure_actors.residents import Ops
    from perdure_schemas.transition import Outcome


def outcome_rows(outcomes: list[Outcome], pseq: int, time_ms: int, ops: Ops) -> list[Effect]:
    """Add the rows of outcomes: request ids, last-seen, kept effects; return their effects."""
    effects: list[Effect] = []
    for place, outcome in enumerate(outcomes):
        if outcome.request_id:
            row = rows.RequestRow(time_ms, outcome.outcome, outcome.run_id, outcome.reason)
            ops[rows.request_key(outcome.workflow_id, outcome.request_id)] = rows.encode(row)
        source = outcome.source
        if source is not None:
            seen = (source.epoch, source.pseq, source.index)
            ops[rows.last_seen_key(source.topic_id, source.partition)] = rows.encode(seen)
        if outcome.outcome == "dead":
            effects.append(SendDead(outcome.reason, outcome.offset, outcome.key, outcome.value))
        elif outcome.outcome == "forwarded":
            effects.append(Forward(outcome.offset, outcome.key, outcome.value))
        else:
            continue
        kept = (outcome.outcome, outcome.reason, outcome.offset, outcome.key, outcome.value)
        ops[rows.effect_key(pseq, place)] = rows.encode(kept)
    return effects


def kept_effect(data: bytes) -> Effect:
    """The effect that a kept row stands for."""
    kind, reason, offset, key, value = rows.decode_any(data)
    if kind == "dead":
        return SendDead(reason, offset, key, value)
    return Forward(offset, key, value)
