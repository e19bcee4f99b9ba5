"""What a benchmark runs on: the processes of one log, and what they use of the processor."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.requests import EVERY_MS, FOLDER, requests_in
from perdure._assembly import open_log
from perdure.client import Client
from perdure_topics.task_queue_topics import create_topics

ROOT = Path(__file__).resolve().parent.parent
READY_S = 30.0
_ADDRESS = re.compile(rb"^perdure engine.*(http://127\.0\.0\.1:\d+)", re.MULTILINE)
_PAGES = re.compile(rb"^perdure pages.*(http://127\.0\.0\.1:\d+)", re.MULTILINE)
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """The processor time a process has used, with its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_kib(pid: int) -> int:
    """The resident memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) if found else 0


class Stage:
    """A log of its own, hosts, workers and a client: `kafka` on a broker, or `embedded`."""

    def __init__(
        self, log: str, *, partitions: int = 8, broker_pid: int = 0, bootstrap: str = ""
    ) -> None:
        self.log = log
        self.partitions = partitions
        self.namespace = f"bench-{uuid.uuid4().hex[:8]}"
        self.queue = "bench"
        self._scratch = tempfile.TemporaryDirectory(
            prefix="perdure-bench-", ignore_cleanup_errors=True
        )
        self.directory = Path(self._scratch.name)
        self.broker_pid = broker_pid
        self._requests = self.directory / "requests"
        self.target = bootstrap
        self._bootstrap = bootstrap
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._take_overs = 0
        self._port = 0
        self._starts = 0

    def __enter__(self) -> Self:
        if self.log == "kafka":
            self.make_topics()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in list(self.processes):
            self.stop(name)
        os.environ.pop(FOLDER, None)
        self._scratch.cleanup()

    def another(self, *, partitions: int = 0) -> Stage:
        """A stage of the same kind, with a log of its own."""
        return Stage(
            self.log,
            partitions=partitions or self.partitions,
            broker_pid=self.broker_pid,
            bootstrap=self._bootstrap,
        )

    def make_topics(self) -> None:
        """Make the topics of the queue."""
        log, close = open_log(self.target)
        try:
            create_topics(log, self.namespace, self.queue, partitions=self.partitions)
        finally:
            close()

    async def taken_over_ms(self, name: str, partition: int = 0) -> int:
        """How long a verbose host's next take-over of a partition took, as it says in its log."""
        line = rb"partition %d taken over in (\d+) ms" % partition
        out = self.directory / f"{name}.log"
        while True:
            found = re.findall(line, out.read_bytes())
            if len(found) > self._take_overs:
                self._take_overs = len(found)
                return int(found[-1])
            await asyncio.sleep(0.005)

    def start_host(self, name: str = "host", *, verbose: bool = False) -> None:
        """Start a process that runs workflow code."""
        more = ["--verbose"] if verbose else []
        if self.log == "kafka":
            where = ["--broker", self.target, "--state-dir", str(self.directory / name)]
            self._start(name, "worker", "--workflows-only", *where, *more)
            return
        data = [
            "--data",
            str(self.directory / "data"),
            "--port",
            str(self._port),
            "--workflows-only",
        ]
        out = self._start(name, "engine", *data, *more)
        # A second start must come up where clients know it.
        seen = self._starts
        self._starts += 1
        self.target = _address_in(out, self.processes[name], seen)
        self._port = int(self.target.rpartition(":")[2])

    def start_worker(self, name: str = "worker", *, slots: int = 100) -> None:
        """Start a process that runs activities."""
        where = "--broker" if self.log == "kafka" else "--engine"
        more = ["--max-concurrent-activities", str(slots)]
        self._start(name, "worker", "--activities-only", where, self.target, *more)

    def start_all(self, *, processes: int = 1) -> str:
        """Start what runs workflow code and activities, on Kafka in several processes; its name."""
        if self.log == "kafka":
            where = ["--broker", self.target, "--state-dir", str(self.directory / "all")]
            self._start("all", "worker", *where, "--processes", str(processes))
        else:
            data = ["--data", str(self.directory / "data"), "--port", "0"]
            self.target = _address_in(self._start("all", "engine", *data), self.processes["all"], 0)
        return "all"

    def _start(self, name: str, command: str, *options: str) -> Path:
        out = self.directory / f"{name}.log"
        words = [sys.executable, "-m", "perdure.cli", command, "benchmarks.app", *options]
        words += ["--namespace", self.namespace, "--task-queue", self.queue]
        with out.open("ab") as sink:
            self.processes[name] = subprocess.Popen(words, cwd=ROOT, stdout=sink, stderr=sink)
        return out

    def stop(self, name: str, *, kill: bool = False) -> None:
        """End a process: told to, or killed."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def start_gateway(self) -> str:
        """Where the pages are: the engine itself, or a gateway before the broker."""
        if self.log == "embedded":
            return self.target
        out = self.directory / "ui.log"
        words = [sys.executable, "-m", "perdure.cli", "ui", "--broker", self.target]
        words += ["--namespace", self.namespace, "--port", "0"]
        with out.open("ab") as sink:
            self.processes["ui"] = subprocess.Popen(words, cwd=ROOT, stdout=sink, stderr=sink)
        return _address_in(out, self.processes["ui"], 0, _PAGES)

    async def client(self) -> Client:
        """A client of this log."""
        return await Client.connect(self.target, namespace=self.namespace)

    def count_requests(self) -> None:
        """Count what clients ask that are opened from now on, here and in other processes."""
        self._requests.mkdir(exist_ok=True)
        os.environ[FOLDER] = str(self._requests)

    async def requests(self) -> Counter[str]:
        """What all processes have asked of the broker so far, as their clients count it."""
        await asyncio.sleep(1.5 * EVERY_MS / 1000)  # Until the last of it is written.
        return requests_in(self._requests)

    def cpu_by_process(self) -> dict[str, float]:
        """The processor time used so far: by each process, the client, and the broker."""
        used = {name: cpu_s(process.pid) for name, process in self.processes.items()}
        used["client"] = cpu_s(os.getpid())
        if self.broker_pid and self.log == "kafka":
            used["broker"] = cpu_s(self.broker_pid)
        return used


def _address_in(
    out: Path, process: subprocess.Popen[bytes], seen: int, line: re.Pattern[bytes] = _ADDRESS
) -> str:
    """The address that a server prints when it is ready, after those of earlier starts."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        found = line.findall(out.read_bytes())
        if len(found) > seen:
            return str(found[-1].decode())
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError(f"the engine did not start:\n{out.read_text()}")
