"""An engine and its workers are killed and started again; no broker is anywhere near."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.client import Client, RPCError
from tests.broker.kafka_broker import free_port
from tests.broker.orders_app import Job
from tests.broker.processes import APP, QUEUE, Crew, Process, until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(90)]
OPEN = "open"


class EngineCrew(Crew):
    """The processes of one engine."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        super().__init__(f"http://127.0.0.1:{self.port}", folder, namespace="default")
        self.data = folder / "data"

    def engine(self) -> Process:
        """Start the engine: it owns the log, and runs the workflow code."""
        options = ["--data", str(self.data), "--port", str(self.port), "--task-queue", QUEUE]
        return self.process("engine", "engine", APP, *options, "--workflows-only", "--verbose")

    async def connected(self) -> Client:
        """A client, once the engine listens."""
        for _ in range(160):
            try:
                return await Client.connect(self.target)
            except RPCError:
                await asyncio.sleep(0.25)
        raise AssertionError(f"no engine at {self.target}\n{self.report()}")


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[EngineCrew]:
    made = EngineCrew(tmp_path)
    try:
        yield made
    finally:
        made.end()


async def test_killed_engine_goes_on_where_it_was(crew: EngineCrew) -> None:
    engine = crew.engine()
    client = await crew.connected()
    worker = crew.worker()
    jobs = [Job(f"job-{n}", steps=4, pause_ms=50, nap_ms=200) for n in range(30)]
    try:
        await asyncio.gather(*(crew.start(client, job) for job in jobs))
        results = asyncio.create_task(crew.finish(client, jobs))
        await until(lambda: len(crew.lines()) >= 30, "activities run")
        for kills in range(1, 3):
            engine.kill()
            engine.start()
            await until(lambda k=kills: len(crew.lines()) >= 30 + 20 * k, "they go on")
        await results
    finally:
        await client.close()
    assert worker.status is None
    ledger = crew.check()
    assert len(ledger.runs) == len(jobs)


async def test_killed_worker_is_replaced(crew: EngineCrew) -> None:
    crew.engine()
    client = await crew.connected()
    first = crew.worker("first")
    # None of them ends before its worker is killed, however long all this takes.
    long = [Job(f"long-{n}", steps=1, gate=OPEN) for n in range(3)]
    short = [Job(f"short-{n}", steps=1, gate=OPEN) for n in range(3)]
    try:
        await asyncio.gather(*(crew.start(client, job) for job in long))

        async def promoted() -> bool:
            handles = [client.get_workflow_handle(j.name, task_queue=QUEUE) for j in long]
            found = await asyncio.gather(*(handle.describe() for handle in handles))
            states = [a.state for d in found for a in d.raw_description.pending_activities]
            return states == ["started"] * len(long)

        await until(promoted, "the long activities are reported as started")
        await asyncio.gather(*(crew.start(client, job) for job in short))
        await until(lambda: len(crew.lines()) == 6, "the short activities run")
        first.kill()
        (crew.folder / OPEN).touch()
        crew.worker("second")
        await crew.finish(client, [*long, *short])
    finally:
        await client.close()
    crew.check()
    attempts = Counter((line["workflow_id"], line["attempt"]) for line in crew.lines())
    assert all(attempts[job.name, 1] == 1 and attempts[job.name, 2] == 1 for job in long)


async def test_stopped_engine_keeps_its_runs(crew: EngineCrew) -> None:
    engine = crew.engine()
    worker = crew.worker()
    client = await crew.connected()
    try:
        await client.start_workflow("Nap", 3600.0, id="sleeper", task_queue=QUEUE)
        await crew.start(client, Job("job", steps=2))
        await crew.finish(client, [Job("job", steps=2)])
        handle = client.get_workflow_handle("sleeper", task_queue=QUEUE)
        before = (await handle.describe()).raw_description
        assert engine.stop() == 0
        engine.start()
        after = (await handle.describe()).raw_description
        assert after.summary == before.summary
        assert after.pending_timers == before.pending_timers
        await handle.terminate()
    finally:
        await client.close()
    assert worker.stop() == 0
    crew.check()


async def test_a_second_opener_is_told_who_holds_the_directory(crew: EngineCrew) -> None:
    engine = crew.engine()
    client = await crew.connected()
    await client.close()

    options = ["--data", str(crew.data), "--port", str(free_port()), "--task-queue", QUEUE]
    second = crew.run("engine", APP, *options)

    assert second.returncode == 1
    said = " ".join(second.stderr.split())
    assert str(crew.data) in said
    assert "in use by another process" in said
    assert "Traceback" not in said
    with pytest.raises(RPCError, match=str(crew.data)):
        await Client.connect(f"file:{crew.data}")
    assert engine.status is None


def test_a_port_that_is_taken_is_named(crew: EngineCrew, tmp_path: Path) -> None:
    crew.engine()
    asyncio.run(_wait(crew))

    options = ["--data", str(tmp_path / "other"), "--port", str(crew.port), "--task-queue", QUEUE]
    second = crew.run("engine", APP, *options)

    assert second.returncode == 1
    assert str(crew.port) in second.stderr
    assert "Traceback" not in second.stderr


async def _wait(crew: EngineCrew) -> None:
    client = await crew.connected()
    await client.close()
