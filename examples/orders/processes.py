"""The demo's processes: started from this environment, killed without warning, started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from examples.orders.clients import JOURNAL

MODULE = "examples.orders.app"
STOP_S = 20.0


class Process:
    """A `perdure` command that can be killed and started again."""

    def __init__(self, name: str, arguments: list[str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = [sys.executable, "-m", "perdure.cli", *arguments]
        self._environment = {**os.environ, JOURNAL: str(folder / "journal.jsonl")}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._environment
            )

    def kill(self) -> None:
        """SIGKILL: nothing of it gets a chance to clean up."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def check(self) -> None:
        """Fail with what a process said when it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            said = self.log.read_text(errors="replace")[-2_000:]
            raise RuntimeError(f"the {self.name} ended by itself:\n{said}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def engine(folder: Path, port: int) -> Process:
    """The engine: owns the log and runs the workflow code."""
    where = ["--data", str(folder / "data"), "--port", str(port)]
    return Process("engine", ["engine", MODULE, *where, "--workflows-only"], folder)


def worker(folder: Path, port: int) -> Process:
    """The worker: runs the activities."""
    where = ["--engine", f"http://127.0.0.1:{port}"]
    slots = ["--max-concurrent-activities", "20"]
    return Process("worker", ["worker", MODULE, *where, "--activities-only", *slots], folder)
