"""Commands that the host itself fails at, as by a fault of its own, before anything happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from unittest.mock import patch

from perdure_actors.core.rules import COMMANDS
from perdure_schemas.avro import encode
from perdure_schemas.commands import CancelWorkflow
from perdure_topics.names import partition_of

FAULTY: Final = "faulty"
"""What the ids of such commands begin with, and what the fault says."""


def faulty_command(number: int, partitions: int) -> tuple[int, bytes, bytes]:
    """Such a command by its number: partition, key and value."""
    name = f"{FAULTY}-{number}"
    cancel = CancelWorkflow(workflow_id=name, request_id=f"request {number}")
    return partition_of(name, partitions), name.encode(), encode(cancel)


def failing_at_faulty_commands() -> Any:
    """While this is entered, hosts fail at what is named so."""
    decide: Callable[..., Any] = COMMANDS[CancelWorkflow]

    def fails(world: Any, command: Any, now_ms: int) -> Any:
        if command.workflow_id.startswith(FAULTY):
            raise OverflowError(FAULTY)
        return decide(world, command, now_ms)

    return patch.dict(COMMANDS, {CancelWorkflow: fails})
