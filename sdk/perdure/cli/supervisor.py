"""`perdure worker --processes N`: N processes, supervised and restarted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Final

from perdure.cli.output import error_console, text

PROCESSES_MAX: Final = 256
# One that ends at once is started again a little later each time, up to this.
AGAIN_S_MAX: Final = 30.0
STEADY_S: Final = 60.0
NUMBER: Final = "PERDURE_PROCESS"
"""Which of the fleet a process is, from 1, in its environment."""


def port_of_process(port: int) -> int:
    """The port of this process, where each of a fleet has the next one; 0 stays any."""
    return port and port + int(os.environ.get(NUMBER, "1")) - 1


class _Member:
    """One process of the fleet, over its incarnations."""

    def __init__(self, number: int, command: Sequence[str]) -> None:
        self.number = number
        self._command = list(command)
        self._again_s = 0.5
        self._started_s = 0.0
        self.due_s = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Signals of a terminal reach only the parent, which passes them on."""
        self.process = subprocess.Popen(  # noqa: S603 - this very command
            self._command,
            start_new_session=True,
            env={**os.environ, NUMBER: str(self.number)},
        )
        self._started_s = time.monotonic()

    def ended(self) -> int | None:
        """How it ended, once it has; then it is due again after a while."""
        status = self.process.poll() if self.process else None
        if status is None:
            return None
        self.process = None
        if time.monotonic() - self._started_s > STEADY_S:
            self._again_s = 0.5
        self.due_s = time.monotonic() + self._again_s
        self._again_s = min(self._again_s * 2, AGAIN_S_MAX)
        return status


def run_fleet(command: Sequence[str], processes: int) -> int:
    """Run a command in so many processes until told to stop; the exit status.

    A process that ends is started again. SIGTERM and SIGINT are passed on; a second one kills.
    """
    members = [_Member(number, command) for number in range(1, processes + 1)]
    stop = threading.Event()

    def on_signal(number: int, _frame: object) -> None:
        kill = stop.is_set()
        stop.set()
        for member in members:
            if member.process is not None:
                member.process.send_signal(signal.SIGKILL if kill else number)

    before = {kind: signal.signal(kind, on_signal) for kind in (signal.SIGTERM, signal.SIGINT)}
    try:
        for member in members:
            member.start()
        _say(
            f"{processes} processes: {', '.join(str(m.process.pid) for m in members if m.process)}"
        )
        while not stop.is_set():
            _watch(members)
            stop.wait(0.2)
        return max(_wait(member) for member in members)
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def command_of_one(arguments: Sequence[str]) -> list[str]:
    """The command of one process of the fleet: this one without --processes.

    Example:
        command_of_one(["worker", "app", "--processes", "4"])[-2:] == ["worker", "app"]
    """
    out = [sys.executable, "-m", "perdure.cli"]
    skips = False
    for argument in arguments:
        if skips:
            skips = False
        elif argument == "--processes":
            skips = True
        elif not argument.startswith("--processes="):
            out.append(argument)
    return out


def _watch(members: Sequence[_Member]) -> None:
    now_s = time.monotonic()
    for member in members:
        status = member.ended()
        if status is not None:
            again_s = member.due_s - now_s
            _say(f"process {member.number} ended with {status}; again in {again_s:.1f} s")
        elif member.process is None and member.due_s <= now_s:
            member.start()


def _wait(member: _Member) -> int:
    """How a member ended after it was told to stop."""
    return abs(member.process.wait()) if member.process is not None else 0


def _say(what: str) -> None:
    error_console().print(f"[dim]perdure[/] {text(what)}")
