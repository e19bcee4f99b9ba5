"""An input that could not be decided: who is told, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from perdure_actors.core.decision import Rejection, SendCommand
from perdure_actors.core.rules import errands_of
from perdure_schemas.avro import decode_as
from perdure_schemas.command_headers import Command, ReadCommand
from perdure_schemas.replies import Refused

if TYPE_CHECKING:
    from perdure_actors.core.world import World
    from perdure_actors.partition.schema_framing import Framing
    from perdure_schemas.payloads import EffectId, Errand, ReplyTo
    from perdure_topics.ports import StoredRecord

INTERNAL = "internal"


class FailedInput(NamedTuple):
    """Who hears of an input that could not be decided."""

    is_ask: bool
    """Whether it only reads, so that nothing is lost with it."""
    reply: ReplyTo | None = None
    source: EffectId | None = None
    errands: tuple[Errand, ...] = ()


def internal(what: str) -> Refused:
    """The answer of a host that failed at what it was asked."""
    return Refused(
        code=INTERNAL,
        message=f"the host failed at this, which is a fault of its own: {what}. Its log has more",
    )


def told_of_refusal(world: World, command: Command, reason: str) -> list[SendCommand]:
    """What an actor is told whose command can never be sent."""
    errands = errands_of(world, command, Rejection(INTERNAL, reason))
    return [SendCommand(one.task_queue, decode_as(Command, one.command)) for one in errands]


def look_at(framing: Framing, world: World, record: StoredRecord, reason: str) -> FailedInput:
    """What can be known of an input that failed, whatever it is."""
    try:
        command = framing.decode(record.value)
    except ValueError:
        return FailedInput(is_ask=False)
    if not isinstance(command, Command):
        return FailedInput(is_ask=False)
    reply, source = command.reply, command.source
    if isinstance(command, ReadCommand):
        return FailedInput(is_ask=True, reply=reply)
    errands: tuple[Errand, ...] = ()
    if source is not None:
        try:
            errands = errands_of(world, command, Rejection(INTERNAL, reason))
        except Exception:
            # Its sender cannot be told in its own way; the finding and the dead letter say it.
            errands = ()
    return FailedInput(is_ask=False, reply=reply, source=source, errands=errands)
