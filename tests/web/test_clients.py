"""Clients through a gateway: the same semantics and errors as on the log itself, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from perdure.client import Client, RPCError, RPCStatusCode, WorkflowFailureError
from perdure.exceptions import WorkflowAlreadyStartedError
from perdure_schemas.avro import encode
from perdure_schemas.commands import ClaimActivity, StartWorkflow
from perdure_schemas.payloads import RunRef
from perdure_topics.names import PARTITIONS_DEFAULT
from perdure_topics.ports import DENIED, LogError
from perdure_topics.remote.remote_log import RemoteLog
from perdure_views.gateway.principals import Register, TokenList
from perdure_views.gateway.settings import Settings
from tests.log_rig import collect_reports, no_bell, wait_for
from tests.web.shop import HOUR_S, TASK_QUEUE
from tests.web.site import Site

pytestmark = pytest.mark.embedded
READER = "reader-token-0123456789"
OPERATOR = "operator-token-0123456789"


@pytest.fixture(scope="module")
def gateway(site: Site) -> str:
    """A gateway that asks nobody who they are, not the engine itself."""
    return site.serve(Settings(port=0))


@pytest.fixture(scope="module")
def guarded(site: Site) -> str:
    """A gateway that asks for tokens."""
    tokens = TokenList.of_text(f"read rita {READER}\noperate oskar {OPERATOR}", where="here")
    return site.serve(Settings(port=0, register=Register([tokens])))


@asynccontextmanager
async def client_of(url: str, key: str | None = None) -> AsyncIterator[Client]:
    client = await Client.connect(url, api_key=key, identity="me")
    try:
        yield client
    finally:
        await client.close()


async def test_a_client_does_all_it_does_on_the_log_itself(gateway: str) -> None:
    async with client_of(gateway) as client:
        result = await client.execute_workflow(
            "Greeting", "ada", id="gate-1", task_queue=TASK_QUEUE
        )
        handle = await client.start_workflow("Sleeping", HOUR_S, id="gate-2", task_queue=TASK_QUEUE)
        described = await handle.describe()
        listed = [run.id async for run in client.list_workflows(page_size=50)]
        await handle.cancel(reason="enough")
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        history = await handle.fetch_history()
        queue = await client.describe_task_queue(TASK_QUEUE)

    assert result == "Hello, ada!"
    assert described.status is not None
    assert described.status.name == "RUNNING"
    assert {"gate-1", "gate-2"} <= set(listed)
    assert history.events[0].event_type == "WorkflowStarted"
    assert history.events[-1].event_type == "WorkflowCanceled"
    assert len(queue) == PARTITIONS_DEFAULT


async def test_errors_are_the_same(gateway: str) -> None:
    async with client_of(gateway) as client:
        await client.start_workflow("Sleeping", HOUR_S, id="gate-twice", task_queue=TASK_QUEUE)
        with pytest.raises(WorkflowAlreadyStartedError):
            await client.start_workflow("Sleeping", HOUR_S, id="gate-twice", task_queue=TASK_QUEUE)
        with pytest.raises(RPCError) as missing:
            await client.get_workflow_handle("gate-nobody").describe()
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow("Refusing", "no", id="gate-fails", task_queue=TASK_QUEUE)

    assert missing.value.status is RPCStatusCode.NOT_FOUND
    assert str(failed.value.cause.__cause__) == "Refused: no"


async def test_many_calls_at_once_each_get_their_own_answer(gateway: str) -> None:
    async with client_of(gateway) as client:
        answers = await asyncio.gather(
            *(
                client.execute_workflow(
                    "Echoing", number, id=f"gate-many-{number}", task_queue=TASK_QUEUE
                )
                for number in range(200)
            )
        )

    assert answers == list(range(200))


async def test_nobody_comes_in_without_a_token(guarded: str) -> None:
    for key in (None, "guessed-token-0123456789"):
        with pytest.raises(RPCError) as refused:
            await Client.connect(guarded, api_key=key)
        assert refused.value.status is RPCStatusCode.UNAUTHENTICATED


async def test_a_reader_reads_and_changes_nothing(site: Site, guarded: str) -> None:
    site.execute("Greeting", "ada", id="gate-read")
    async with client_of(guarded, READER) as client:
        described = await client.get_workflow_handle("gate-read").describe()
        with pytest.raises(RPCError) as refused:
            await client.start_workflow("Greeting", "ada", id="gate-write", task_queue=TASK_QUEUE)
        with pytest.raises(RPCError) as missing:
            await client.get_workflow_handle("gate-write").describe()

    assert described.id == "gate-read"
    assert refused.value.status is RPCStatusCode.PERMISSION_DENIED
    assert "rita has the role 'read'" in refused.value.message
    assert missing.value.status is RPCStatusCode.NOT_FOUND


async def test_who_was_proven_stands_in_the_history_whatever_the_client_says(guarded: str) -> None:
    async with client_of(guarded, OPERATOR) as client:
        handle = await client.start_workflow(
            "Sleeping", HOUR_S, id="gate-who", task_queue=TASK_QUEUE
        )
        await handle.terminate(reason="over")
        events = (await handle.fetch_history()).events

    assert events[0].event.identity == "oskar (me)"  # type: ignore[attr-defined]
    assert events[-1].event.identity == "oskar (me)"  # type: ignore[attr-defined]


def appended(log: RemoteLog, topic: str, value: bytes) -> str:
    """What became of a record that somebody appended: the error."""
    writer = log.appender(on_ready=no_bell)
    writer.append(topic, 0, value, key=b"x")
    (report,) = collect_reports(writer, wait_for, 1)
    writer.close()
    return report.error or "" if report.offset is None else "taken"


def test_only_commands_of_clients_get_into_the_log(site: Site, guarded: str) -> None:
    log = RemoteLog.connect(guarded, api_key=OPERATOR)
    start = StartWorkflow(workflow_id="x", workflow_type="T")
    commands = f"default.{TASK_QUEUE}.commands"
    claim = ClaimActivity(
        workflow_id="x", run_id="r", activity_id="1", attempt=1, token=b"", worker_id="w"
    )
    forged = StartWorkflow(workflow_id="x", workflow_type="T", parent=RunRef(workflow_id="p"))
    try:
        wrong_topic = appended(log, f"default.{TASK_QUEUE}.events", encode(start))
        elsewhere = appended(log, "other.queue.commands", encode(start))
        rubbish = appended(log, commands, b"rubbish")
        of_worker = appended(log, commands, encode(claim))
        of_host = appended(log, commands, encode(forged))
        tail = log.tail(on_ready=no_bell, committed=False)
        tail.assign(f"default.{TASK_QUEUE}.events", 0, 0)
        with pytest.raises(LogError, match="does not give a client"):
            wait_for(lambda: tail.take(f"default.{TASK_QUEUE}.events", 0, 10))
        tail.close()
        with pytest.raises(LogError, match="does not do this"):
            log.delete_before(commands, 0, 1)
        names = log.topic_names()
    finally:
        log.close()

    assert "does not give a client" in wrong_topic
    assert "does not give a client" in elsewhere
    assert rubbish.startswith(DENIED)
    assert "takes no ClaimActivity" in of_worker
    assert "only an actor's host" in of_host
    assert all(name.startswith("default.") for name in names)
