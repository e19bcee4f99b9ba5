"""The entry point of the `perdure` command; `commands` is loaded late."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perdure.cli.commands import app

__all__ = ["app", "main", "run"]

INTERRUPTED = 128 + signal.SIGINT
COLLECTOR = (5_000, 20, 10)
"""Python's own (700, 10, 10) takes a tenth of a host's time: what runs hold is no garbage."""


def main() -> None:
    """Run the command; an error is one line, exit status 1, or 2 for a wrong usage."""
    _end_when_interrupted()
    gc.set_threshold(*COLLECTOR)
    from perdure.cli import commands

    commands.hear_notices()
    status = commands.run(sys.argv[1:])
    # An event loop that has ended left Python's own way behind, which shows where it was.
    _end_when_interrupted()
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Run the command with arguments; its exit status."""
    from perdure.cli import commands

    return commands.run(arguments)


def __getattr__(name: str) -> Any:
    if name == "app":
        from perdure.cli import commands

        return commands.app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _end_when_interrupted() -> None:
    """Let Ctrl-C end the process at once, without a traceback of whatever was being imported.

    What is open then survives it as it does a kill. Commands that have something to finish
    hear the signal on their event loop instead.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as Python calls it
    with suppress(Exception):
        sys.stdout.flush()
    os._exit(INTERRUPTED)
