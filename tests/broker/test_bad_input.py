"""What should not be in the log is put aside, answered or dropped, and the partition goes on."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
import uuid
from functools import partial
from typing import Any

import msgspec
import pytest

from perdure.client import WorkflowFailureError
from perdure.exceptions import ActivityError, ApplicationError
from perdure_schemas import commands as cmd
from perdure_schemas import events as ev
from perdure_schemas.avro import COMMAND_BYTES_MAX, encode
from perdure_schemas.payloads import EffectId, Payload
from perdure_schemas.replies import Accepted
from perdure_topics.names import partition_of, topic_name
from tests.broker.orders_app import Job, link
from tests.broker.processes import PARTITIONS, QUEUE, Crew, until
from tests.simulation.answers import read_commands

pytestmark = [pytest.mark.broker, pytest.mark.timeout(90)]


def job_in(partition: int, **facts: Any) -> Job:
    """A job whose workflow id belongs to a partition."""
    while True:
        job = Job(f"job-{uuid.uuid4().hex[:8]}", **facts)
        if partition_of(job.name, PARTITIONS) == partition:
            return job


async def test_poison_goes_to_the_dead_letters(standing: Crew) -> None:
    start = cmd.StartWorkflow(workflow_id="from-an-actor", workflow_type="Nap")
    home = partition_of(start.workflow_id, PARTITIONS)
    away = (home + 1) % PARTITIONS
    source = EffectId(topic_id="nobody", partition=0, epoch=1, pseq=1, index=0)
    poison = {
        "not ours": (away, b"hello"),
        "empty": (away, b""),
        "a tail that is cut": (away, encode(start)[:-2]),
        "an unknown schema": (away, b"\xc3\x01" + b"\x07" * 8 + b"rest"),
        "too large": (away, b"\xc3\x01" + b"x" * COMMAND_BYTES_MAX),
        "an answer": (away, encode(Accepted(workflow_id="x"))),
        "an actor's, in a wrong partition": (away, encode(replaced(start, source=source))),
        "a refused start that names no asker": (
            home,
            encode(replaced(start, workflow_type="")),
        ),
    }
    offsets = {
        what: (partition, standing.produce(partition, value, key=b"k"))
        for what, (partition, value) in poison.items()
    }
    jobs = [job_in(home), job_in(away)]
    async with standing.client() as client:
        await asyncio.gather(*(standing.start(client, job) for job in jobs))
        await standing.finish(client, jobs)

    def letters() -> dict[tuple[int, int], tuple[bytes | None, str]]:
        topic = topic_name("dead", standing.namespace, QUEUE)
        found = {}
        for record in standing.dump()[topic]:
            headers = dict(record.headers)
            assert headers["perdure-topic"].decode().endswith(".orders.commands")
            place = (int(headers["perdure-partition"]), int(headers["perdure-offset"]))
            found[place] = (record.value, headers["perdure-error"].decode())
        return found

    await until(lambda: set(offsets.values()) <= letters().keys(), "all poison is put aside")
    found = letters()
    for what, place in offsets.items():
        value, error = found[place]
        assert value == poison[what][1], what
        assert error, what
    said = {what: found[place][1] for what, place in offsets.items()}
    assert "Accepted" in said["an answer"]
    assert str(COMMAND_BYTES_MAX) in said["too large"]
    assert "names no workflow type" in said["a refused start that names no asker"]
    standing.check()


async def test_headers_whose_names_are_no_text_end_no_host(standing: Crew) -> None:
    topic = topic_name("commands", standing.namespace, QUEUE)
    command = [sys.executable, "-m", "tests.broker.odd_headers", standing.target, topic, "0"]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=30)

    job = job_in(0)
    async with standing.client() as client:
        await standing.start(client, job)
        await standing.finish(client, [job])
    standing.check()


def replaced(start: cmd.StartWorkflow, **changes: object) -> cmd.StartWorkflow:
    return msgspec.structs.replace(start, **changes)


async def test_start_in_a_wrong_partition_is_forwarded(standing: Crew) -> None:
    job = job_in(0)
    value = encode(
        cmd.StartWorkflow(
            workflow_id=job.name,
            workflow_type="Chain",
            input=[Payload(encoding="json/plain", data=msgspec.json.encode(job))],
        )
    )

    standing.produce(3, value, key=job.name.encode())

    async with standing.client() as client:
        handle = client.get_workflow_handle(job.name, task_queue=QUEUE)

        async def there() -> bool:
            runs = [run async for run in client.list_workflows(task_queue=QUEUE)]
            return any(run.id == job.name for run in runs)

        await until(there, "the start arrives")
        assert await handle.result()
        await standing.finish(client, [job])
    (run,) = standing.check().of_workflow(job.name)
    assert run.partition == 0


async def test_results_that_are_no_news_are_dropped(standing: Crew) -> None:
    gate = f"open-{uuid.uuid4().hex[:8]}"
    job = Job(f"job-{uuid.uuid4().hex[:8]}", steps=1, failures=1, gate=gate)
    partition = partition_of(job.name, PARTITIONS)
    wrong = Payload(encoding="json/plain", data=b'"wrong"')
    async with standing.client() as client:
        await standing.start(client, job)

        def attempts() -> list[dict[str, object]]:
            return [line for line in standing.lines() if line["workflow_id"] == job.name]

        await until(lambda: len(attempts()) == 2, "the second attempt runs")
        first = attempts()[0]
        stale = cmd.CompleteActivity(
            workflow_id=job.name,
            run_id=str(first["run_id"]),
            activity_id=str(first["activity_id"]),
            attempt=1,
            token=bytes.fromhex(str(first["token"])),
            result=wrong,
        )
        forged = msgspec.structs.replace(stale, attempt=2, token=b"f" * 16)
        for command in (
            stale,
            forged,
            msgspec.structs.replace(forged, token=b""),
            msgspec.structs.replace(stale, run_id="no-such-run"),
            msgspec.structs.replace(stale, workflow_id="no-such-workflow"),
            msgspec.structs.replace(stale, activity_id="77"),
        ):
            last = standing.produce(partition, encode(command), key=job.name.encode())

        async def read() -> bool:
            return any(i.partition == partition and i.upto >= last for i in await stand())

        # The attempt that they speak of goes on until all of them have been read.
        stand = partial(standing.stand, client)
        await until(read, "they are read")
        (standing.folder / gate).touch()
        await standing.finish(client, [job])

        # Its own results again, after the end.
        topic = topic_name("commands", standing.namespace, QUEUE)
        reports, _ = read_commands(standing.dump()[topic])
        results = [
            report.command
            for report in reports
            if isinstance(report.command, cmd.CompleteActivity)
            and report.command.workflow_id == job.name
        ]
        for result in results:
            standing.produce(partition, encode(result), key=job.name.encode())
        after = job_in(partition)
        await standing.start(client, after)
        await standing.finish(client, [after])
    (run,) = standing.check().of_workflow(job.name)
    completed = [f.event for f in run.facts if isinstance(f.event, ev.ActivityCompleted)]
    assert [event.attempt for event in completed] == [2]
    assert completed[0].result is not None
    assert completed[0].result.data == f'"{link(job.name, 0)}"'.encode()


async def test_unknown_activity_type_fails_by_name(standing: Crew) -> None:
    async with standing.client() as client:
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(
                "Stranger", id=f"stranger-{uuid.uuid4().hex[:8]}", task_queue=QUEUE
            )
    error = caught.value.cause
    assert isinstance(error, ActivityError)
    assert isinstance(error.cause, ApplicationError)
    assert "nobody_has_this" in str(error.cause)
    assert QUEUE in str(error.cause)
    ledger = standing.check()
    (run,) = [r for r in ledger.runs.values() if r.workflow_id.startswith("stranger-")]
    retries = [f.event for f in run.facts if isinstance(f.event, ev.ActivityRetryScheduled)]
    assert len(retries) == 1


@pytest.mark.parametrize("by", ["workflow", "activity", "argument"])
async def test_oversized_values_fail_clearly(standing: Crew, by: str) -> None:
    size = 5_000_000
    workflow_id = f"boast-{by}-{uuid.uuid4().hex[:8]}"
    async with standing.client() as client:
        if by == "argument":
            handle = await client.start_workflow(
                "Boast", args=[size, by], id=workflow_id, task_queue=QUEUE
            )

            async def blocked() -> str:
                block = (await handle.describe()).raw_description.summary.block
                return block.message if block else ""

            said = await until(blocked, "the run is blocked")
            await handle.terminate()
        else:
            with pytest.raises(WorkflowFailureError) as caught:
                await client.execute_workflow(
                    "Boast", args=[size, by], id=workflow_id, task_queue=QUEUE
                )
            cause = caught.value.cause
            said = str(cause.cause if isinstance(cause, ActivityError) else cause)
    assert "bytes" in said
    assert re.search(r"5000\d{3}", said), said
    standing.check()


async def test_oversized_input_is_refused_before_it_is_sent(standing: Crew) -> None:
    workflow_id = f"large-{uuid.uuid4().hex[:8]}"
    async with standing.client() as client:
        with pytest.raises(ValueError, match="1048576"):
            await client.start_workflow("Nap", "x" * 2_000_000, id=workflow_id, task_queue=QUEUE)
    topic = topic_name("commands", standing.namespace, QUEUE)
    assert workflow_id.encode() not in {record.key for record in standing.dump()[topic]}


async def test_unknown_workflow_type_waits_for_code_that_has_it(
    crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    host = crew.host("early")
    async with crew.client() as client:
        caplog.set_level(logging.WARNING, logger="perdure.client")
        handle = await client.start_workflow("Late", "you", id="late-1", task_queue=QUEUE)
        result = asyncio.create_task(handle.result())
        # The waiting client hears why nothing happens; so does who looks.
        await until(lambda: "is blocked (unregistered)" in caplog.text, "the client is told")
        summary = (await handle.describe()).raw_description.summary
        assert summary.status == "blocked"
        assert summary.block is not None
        assert "'Late'" in summary.block.message
        runs = [run async for run in client.list_workflows(task_queue=QUEUE)]
        assert [run.id for run in runs] == ["late-1"]

        host.stop()
        crew.host("later", app="tests.broker.late_app")

        async with asyncio.timeout(40):
            assert await result == "late, you"
    crew.check()
