"""What a waiting user is told, and when: silence, notices, deadlines, lost answers."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from perdure import _assembly as assembly
from perdure.client import Client, RPCError, RPCStatusCode
from perdure.client import _rpc as rpc
from perdure_schemas.commands import AwaitResult, DescribeTaskQueue, StartWorkflow
from perdure_schemas.payloads import Payload, Record
from perdure_schemas.replies import Accepted, Notice, RunClosed, TaskQueueInfo
from perdure_topics.task_queue_topics import create_topics
from tests.unit.scripted_host import ScriptedHost

TAKEN = Accepted(workflow_id="o-1", run_id="run-1", first_run_id="run-1", started=True)
DONE = RunClosed(
    workflow_id="o-1", run_id="run-1", status="completed", result=Payload(data=b'"done"')
)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    yield client
    await client.close()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "perdure.client"]


async def test_a_queue_without_topics_is_said_with_what_makes_them(
    client: Client,
) -> None:
    with pytest.raises(RPCError, match=r"'nowhere': .* a worker on it makes them") as caught:
        await client.get_workflow_handle("o-1", task_queue="nowhere").describe()

    assert caught.value.status == RPCStatusCode.NOT_FOUND


@pytest.mark.parametrize("call", ["start", "describe", "list", "count", "queue"])
async def test_a_log_that_does_not_say_which_topics_it_has_fails_a_call_in_its_time(
    client: Client, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(client.log, "topic", lambda _: answers.wait(20))
    monkeypatch.setattr(client.log, "topic_names", lambda: answers.wait(20))
    soon = timedelta(seconds=0.3)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "start": lambda: client.start_workflow("O", id="o", task_queue="q", rpc_timeout=soon),
        "describe": lambda: client.get_workflow_handle("o").describe(rpc_timeout=soon),
        "list": lambda: anext(client.list_workflows(rpc_timeout=soon)),
        "count": lambda: client.count_workflows(rpc_timeout=soon),
        "queue": lambda: client.describe_task_queue("q", rpc_timeout=soon),
    }
    began = time.monotonic()

    with pytest.raises(RPCError, match=r"file:.* did not say within 0\.3 s which topics") as caught:
        await calls[call]()

    assert time.monotonic() - began < 5
    assert caught.value.status == RPCStatusCode.UNAVAILABLE
    answers.set()


async def test_a_queue_without_workers_is_told_within_a_second_and_fails_by_its_deadline(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    create_topics(client.log, "default", "orders", partitions=2)
    began = time.monotonic()

    with pytest.raises(RPCError, match=r"no worker of task queue 'orders' on file:.* 1\.[2-9] s"):
        await client.start_workflow(
            "Orders", id="o-1", task_queue="orders", rpc_timeout=timedelta(seconds=1.3)
        )

    assert 1.2 < time.monotonic() - began < 3
    (told,) = warnings_of(caplog)
    assert "no worker answers on task queue 'orders'" in told


async def test_a_hosts_notice_is_shown_once_a_text(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    notice = Notice(code="no_worker", message="no worker listens on task queue 'orders'")
    host = ScriptedHost(client.log, lambda _: [TAKEN, notice, notice, DONE])

    await client.execute_workflow("Orders", id="o-1", task_queue="orders")
    host.stop()

    assert warnings_of(caplog) == ["no worker listens on task queue 'orders'"]


async def test_a_waiting_result_finds_out_that_nobody_serves_its_partition(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    host = ScriptedHost(client.log, lambda _: TAKEN)
    handle = await client.start_workflow("Orders", id="o-1", task_queue="orders")
    host.stop()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2.6):
            await handle.result()

    assert any("no worker answers on task queue 'orders'" in text for text in warnings_of(caplog))


async def test_a_waiting_result_on_a_served_partition_stays_quiet(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def script(command: object) -> Record | None:
        if isinstance(command, DescribeTaskQueue):
            return TaskQueueInfo(partition=command.partition, epoch=1, pseq=1, upto=1)
        return None if isinstance(command, AwaitResult) else TAKEN

    host = ScriptedHost(client.log, script)
    handle = await client.start_workflow("Orders", id="o-1", task_queue="orders")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2.6):
            await handle.result()
    host.stop()

    assert warnings_of(caplog) == []
    assert [type(command) for command in host.commands] == [
        StartWorkflow,
        AwaitResult,
        DescribeTaskQueue,
    ]


async def test_an_unanswered_start_is_repeated_as_it_was(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "FIRST_REPEAT_S", 0.3)
    monkeypatch.setattr(rpc, "SILENCE_S", 0.2)
    seen: list[StartWorkflow] = []

    def script(command: StartWorkflow) -> Accepted | None:
        seen.append(command)
        return TAKEN if len(seen) == 2 else None

    host = ScriptedHost(client.log, script)

    await client.start_workflow("Orders", id="o-1", task_queue="orders")
    host.stop()

    first, second = seen
    assert first == second


async def test_a_start_that_was_accepted_goes_on_waiting_by_a_smaller_ask(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "REPEAT_S", 0.3)
    monkeypatch.setattr(rpc, "SILENCE_S", 0.1)

    def script(command: object) -> Accepted | RunClosed:
        return DONE if isinstance(command, AwaitResult) else TAKEN

    host = ScriptedHost(client.log, script)

    result = await client.execute_workflow("Orders", "x" * 1000, id="o-1", task_queue="orders")
    host.stop()

    assert result == "done"
    start, again = host.commands
    assert isinstance(again, AwaitResult)
    assert again.run_id == "run-1"
    assert again.reply.correlation_id == start.reply.correlation_id


async def test_an_answer_for_another_client_is_let_pass(client: Client, tmp_path: Path) -> None:
    host = ScriptedHost(client.log, lambda command: [TAKEN, DONE])
    other = await Client.connect(f"file:{tmp_path}")

    mine, theirs = await asyncio.gather(
        client.execute_workflow("Orders", id="o-1", task_queue="orders"),
        other.execute_workflow("Orders", id="o-1", task_queue="orders"),
    )
    await other.close()
    host.stop()

    assert (mine, theirs) == ("done", "done")


async def test_a_cancelled_caller_leaves_nothing_behind(client: Client) -> None:
    host = ScriptedHost(client.log, lambda _: None)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.start_workflow("Orders", id="o-1", task_queue="orders")
    host.stop()

    assert (await client.connection.rpc())._pending == {}


async def test_calls_of_a_closed_client_fail(tmp_path: Path) -> None:
    client = await Client.connect(f"file:{tmp_path}")
    host = ScriptedHost(client.log, lambda _: None)
    waiting = asyncio.create_task(client.start_workflow("Orders", id="o", task_queue="orders"))
    await asyncio.sleep(0.1)
    host.stop()

    await client.close()

    with pytest.raises(RPCError, match="the client is closed"):
        await waiting


def test_a_client_serves_one_event_loop_after_another(tmp_path: Path) -> None:
    client = asyncio.run(Client.connect(f"file:{tmp_path}"))
    host = ScriptedHost(client.log, lambda _: [TAKEN, DONE])

    results = [
        asyncio.run(client.execute_workflow("Orders", id="o-1", task_queue="orders"))
        for _ in range(2)
    ]
    host.stop()
    asyncio.run(client.close())

    assert results == ["done", "done"]


@pytest.mark.parametrize("target", ["", "kafka://x", "localhost:9092/x", "file:", "a b:1"])
async def test_a_target_of_no_known_kind_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match=r"is no target|names no directory"):
        await Client.connect(target)


async def test_an_engine_that_is_not_there_is_said_with_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assembly, "ENGINE_WAIT_S", 0.2)

    with pytest.raises(RPCError, match=r"127\.0\.0\.1:9") as caught:
        await Client.connect("http://127.0.0.1:9")

    assert caught.value.status == RPCStatusCode.UNAVAILABLE
