"""Real processes of one task queue: started, killed, paused, and their log dumped and checked.

Nothing here sleeps to be in time: what a test waits for is a condition with a deadline.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

from perdure import _assembly as assembly
from perdure.client import Client, RPCError, WorkflowHandle
from perdure_schemas.replies import TaskQueueInfo
from perdure_topics.names import topic_name
from perdure_topics.ports import Log, StoredRecord
from perdure_topics.task_queue_topics import create_topics
from tests.broker.orders_app import JOURNAL, Job, outcome_of
from tests.simulation.checker import Effect, Ledger, check, ledger_of

ROOT: Final = Path(__file__).parents[2]
APP: Final = "tests.broker.orders_app"
QUEUE: Final = "orders"
PARTITIONS: Final = 4
DUMPED: Final = ("commands", "events", "tasks", "dead", "replies")
STOP_S: Final = 20.0
READ_S: Final = 20.0
SOON: Final = timedelta(seconds=3)


class Process:
    """A `perdure` command, or another module, in a process of its own."""

    def __init__(
        self,
        name: str,
        arguments: Iterable[str],
        folder: Path,
        *,
        journal: Path,
        module: str = "perdure.cli",
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = [sys.executable, "-m", module, *arguments]
        if shutil.which("setpriv"):
            # A killed test run must not leave processes behind.
            self._command = ["setpriv", "--pdeathsig", "KILL", *self._command]
        self._environment = {
            **os.environ,
            JOURNAL: str(journal),
            "PYTHONUNBUFFERED": "1",
            "PYTHONFAULTHANDLER": "1",  # SIGABRT tells where each thread stands
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._began_at = 0

    def start(self) -> Process:
        assert self._process is None, f"{self.name} already runs"
        self._began_at = len(self.said())
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._environment, cwd=ROOT
            )
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def status(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll() if self._process is not None else None

    def kill(self) -> None:
        """SIGKILL: nothing of it gets a chance to clean up."""
        assert self._process is not None, f"{self.name} does not run"
        self._process.kill()
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """SIGSTOP: it keeps its sockets and does nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after a pause."""
        os.kill(self.pid, signal.SIGCONT)

    def abort(self) -> None:
        """SIGABRT: it prints the stack of each thread, and ends."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(signal.SIGABRT)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM, as an operator ends it; the exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            status = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._process = None
        return status

    def said(self) -> str:
        """What it printed so far."""
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def said_lately(self) -> str:
        """What it printed since it was started last."""
        return self.said()[self._began_at :]


class TaskQueue:
    """A task queue in a namespace of its own: its records, and the journal of its activities."""

    def __init__(self, target: str, folder: Path, *, namespace: str = "") -> None:
        self.target = target
        self.folder = folder
        self.namespace = namespace or f"t-{uuid.uuid4().hex[:12]}"
        self.journal = folder / "journal.jsonl"

    def report(self) -> str:
        """What else is known, for messages."""
        return ""

    def produce(
        self,
        partition: int,
        value: bytes,
        *,
        key: bytes | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
    ) -> int:
        """Append to the commands as a stranger may; the offset."""
        log, close = assembly.open_log(self.target)
        bell = threading.Event()
        appender = log.appender(on_ready=bell.set)
        try:
            topic = topic_name("commands", self.namespace, QUEUE)
            appender.append(topic, partition, value, key=key, headers=tuple(headers))
            deadline_s = time.monotonic() + READ_S
            while not (reports := appender.reports()):
                assert time.monotonic() < deadline_s, f"{topic} takes nothing"
                bell.wait(0.1)
            assert reports[0].offset is not None, reports[0].error
            return reports[0].offset
        finally:
            appender.close(flush_s=1.0)
            close()

    def lines(self) -> list[dict[str, Any]]:
        """The journal of the activities."""
        if not self.journal.exists():
            return []
        return [json.loads(line) for line in self.journal.read_text().splitlines()]

    def effects(self) -> list[Effect]:
        """The journal as the checker reads it."""
        return [
            Effect(
                line["at_ms"],
                bytes.fromhex(line["token"]),
                line["worker_id"],
                line["run_id"],
                line["activity_id"],
                line["attempt"],
                None if line["result"] is None else json.dumps(line["result"]).encode(),
            )
            for line in self.lines()
        ]

    def dump(self) -> dict[str, list[StoredRecord]]:
        """Every record of the task queue's topics."""
        log, close = assembly.open_log(self.target)
        try:
            names = [topic_name(role, self.namespace, QUEUE) for role in DUMPED]
            return {name: dump_topic(log, name) for name in names}
        finally:
            close()

    def check(self, *, healed: bool = True) -> Ledger:
        """Hold the whole log against its invariants; what it says."""
        records = self.dump()
        found = check(records, effects=self.effects(), healed=healed)
        assert not found, "\n".join(map(str, found[:20])) + "\n" + self.report()
        return ledger_of(records)


class Crew(TaskQueue):
    """The processes of one task queue."""

    all: ClassVar[weakref.WeakSet[Crew]] = weakref.WeakSet()
    """Those of this process of tests, for what a failure wants to know."""

    def __init__(self, target: str, folder: Path, *, namespace: str = "") -> None:
        super().__init__(target, folder, namespace=namespace)
        self.processes: list[Process] = []
        self.shared = False
        self.is_over = False
        Crew.all.add(self)

    @property
    def where(self) -> list[str]:
        """The options that lead a command here."""
        option = "--engine" if self.target.startswith("http") else "--broker"
        return [option, self.target, "--namespace", self.namespace]

    # Processes.

    def process(self, name: str, *arguments: str) -> Process:
        """A command that runs until it is ended; started."""
        made = Process(name, arguments, self.folder, journal=self.journal)
        self.processes.append(made)
        return made.start()

    def host(self, name: str = "host", *, app: str = APP) -> Process:
        """Start a process that runs the workflow code, with tables of its own."""
        options = ["--task-queue", QUEUE, "--state-dir", str(self.tables_of(name)), "--verbose"]
        return self.process(name, "worker", app, *self.where, *options, "--workflows-only")

    def worker(self, name: str = "worker", *, app: str = APP) -> Process:
        """Start a process that runs the activities."""
        options = ["--task-queue", QUEUE, "--activities-only", "--verbose"]
        return self.process(name, "worker", app, *self.where, *options)

    def both(self, name: str = "both", *, app: str = APP) -> Process:
        """Start a process that runs workflows and activities, as `perdure worker` does."""
        options = ["--task-queue", QUEUE, "--state-dir", str(self.tables_of(name)), "--verbose"]
        return self.process(name, "worker", app, *self.where, *options)

    def tables_of(self, name: str) -> Path:
        """Where a host keeps its tables."""
        return self.folder / f"tables-{name}"

    def run(self, *arguments: str, timeout_s: float = 40.0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "perdure.cli", *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=ROOT,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
        )

    def create_topics(self, *, partitions: int = PARTITIONS) -> None:
        """Make the topics, as `perdure topics create` does."""
        log, close = assembly.open_log(self.target)
        try:
            create_topics(log, self.namespace, QUEUE, partitions=partitions)
        finally:
            close()

    def end(self) -> None:
        """End all processes, the last one first: a worker wants to say farewell to its engine."""
        self.is_over = True
        for process in reversed(self.processes):
            process.stop()

    def autopsy(self) -> str:
        """After a failure: where each process stands, which ends it unless others use it too."""
        told = self.report()
        if self.shared:
            return told
        before = {p: len(p.said()) for p in self.processes}
        for process in self.processes:
            process.abort()
        stacks = (f"--- {p.name} stands:\n{p.said()[before[p] :][:6000]}" for p in self.processes)
        return "\n".join((told, *stacks))

    def report(self) -> str:
        """The ends of what the processes printed."""
        return "\n".join(f"--- {p.name}:\n{p.said()[-3000:]}" for p in self.processes)

    # Clients.

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A client of this process."""
        client = await Client.connect(self.target, namespace=self.namespace)
        try:
            yield client
        finally:
            await client.close()

    async def start(self, client: Client, job: Job) -> WorkflowHandle[Any, Any]:
        """Start the chain of a job."""
        return await client.start_workflow("Chain", job, id=job.name, task_queue=QUEUE)

    async def finish(self, client: Client, jobs: Iterable[Job], *, timeout_s: float = 45.0) -> None:
        """Await the chains of jobs that were started, and hold each result against its model."""
        jobs = list(jobs)
        handles = [client.get_workflow_handle(job.name, task_queue=QUEUE) for job in jobs]
        try:
            async with asyncio.timeout(timeout_s):
                results = await asyncio.gather(*(handle.result() for handle in handles))
        except TimeoutError:
            raise AssertionError(f"not all have ended in {timeout_s} s\n{self.report()}") from None
        assert results == [outcome_of(job) for job in jobs]

    async def owners(self, client: Client) -> dict[int, str]:
        """Who owns each partition, as the partitions say; nobody, if one does not answer soon.

        A question that an owner took with it is asked again after a while: whoever waits for other
        owners would wait for that, too.
        """
        try:
            stand = await client.describe_task_queue(QUEUE, rpc_timeout=SOON)
        except RPCError:
            return {}
        return {info.partition: info.owner for info in stand}

    async def stand(self, client: Client) -> list[TaskQueueInfo]:
        """How the task queue stands."""
        return await client.describe_task_queue(QUEUE)


def dump_topic(log: Log, topic: str) -> list[StoredRecord]:
    """Every record of a topic that is there now."""
    info = log.topic(topic)
    assert info is not None, f"there is no topic {topic}"
    bell = threading.Event()
    tail = log.tail(on_ready=bell.set, committed=False)
    found: list[StoredRecord] = []
    try:
        for partition in range(info.partitions):
            first, end = log.offsets(topic, partition)
            if first == end:
                continue
            tail.assign(topic, partition, first)
            offset, deadline_s = first, time.monotonic() + READ_S
            while offset < end:
                bell.clear()
                records = tail.take(topic, partition, 10_000)
                if not records:
                    bell.wait(0.2)
                    assert time.monotonic() < deadline_s, f"{topic}-{partition} stops at {offset}"
                    continue
                offset = records[-1].offset + 1
                found += [record for record in records if record.offset < end]
            tail.unassign(topic, partition)
    finally:
        tail.close()
    return found


async def until(
    holds: Callable[[], Any] | Callable[[], Awaitable[Any]], what: str, *, timeout_s: float = 20.0
) -> Any:
    """Wait until a condition holds; its value. A condition may be a coroutine function."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = holds()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline_s:
            raise AssertionError(f"after {timeout_s} s still not: {what}")
        await asyncio.sleep(0.05)
