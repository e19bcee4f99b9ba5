"""What code asks for, held against the size of each topic that it goes to, before it happens.

A task, a command, an answer or the next run is made of an event later, where nothing can be
refused any more. So an event that is let through here leaves room for what is added then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors.core.decision import SendCommand
from perdure_schemas.avro import COMMAND_BYTES_MAX, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from perdure_actors.core.decision import Effect, Limits
    from perdure_schemas.payloads import Record

    EffectsOf = Callable[[Record], Iterable[Effect]]

EVENT_BYTES_MAX = 5 * 1024 * 1024
"""One event. Its task adds heartbeat details to it, and the next run's start what was carried."""
SENDER_BYTES = 4096
"""What a command to another actor is given on its way: the record that it comes from."""
_LIGHT_BYTES = 256 * 1024
"""No command that is made of a lighter event comes near its limit."""
_NAMES = ("activity_type", "workflow_type", "signal_name", "update_name", "topic", "name")


def check_weights(
    limits: Limits, written: Sequence[tuple[Record, bytes]], effects_of: EffectsOf
) -> str:
    """Why events, with their bytes, are too much for where they go; empty when they are not."""
    total = 0
    for event, data in written:
        total += len(data)
        if len(data) > EVENT_BYTES_MAX:
            return _too_heavy(event, len(data), EVENT_BYTES_MAX)
        if total > limits.activation_bytes_max:
            return (
                f"the code asks at once for what takes over {limits.activation_bytes_max} bytes:"
                " await some of it before asking for more, or pass references"
            )
        if len(data) <= _LIGHT_BYTES:
            continue
        for effect in effects_of(event):
            if isinstance(effect, SendCommand):
                size = len(encode(effect.command)) + SENDER_BYTES
                if size > COMMAND_BYTES_MAX:
                    return _too_heavy(event, size, COMMAND_BYTES_MAX)
    return ""


def _too_heavy(event: Record, size: int, most: int) -> str:
    found = (getattr(event, name, "") for name in _NAMES)
    name = next((name for name in found if name), "")
    what = f"{type(event).__name__} {name[:200]!r}" if name else type(event).__name__
    site = getattr(event, "call_site", "")
    return (
        f"{what} takes {size} bytes, headers, memo and details included; {most} is the most:"
        f" pass references to large data{f' ({site})' if site else ''}"
    )
