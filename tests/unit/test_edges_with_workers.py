"""Payloads encoded at the edges, with real workers on the embedded log in this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.api.common.v1 import Payload
from perdure.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from perdure.common import RetryPolicy
from perdure.contrib.encryption import EncryptionCodec
from perdure.contrib.storage import LocalStorageDriver
from perdure.converter import (
    CodecError,
    DataConverter,
    ExternalStorage,
    PayloadCodec,
    StorageDriver,
    StorageDriverActivityInfo,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)
from perdure.exceptions import ActivityError, ApplicationError
from perdure.worker import Worker

pytestmark = pytest.mark.embedded
A_MINUTE = timedelta(minutes=1)
OLD, NEW = b"1" * 32, b"2" * 32
SECRET = "launch-code"
ONCE = RetryPolicy(maximum_attempts=1)


def encrypting(keys: dict[str, bytes], key_id: str | None = None) -> DataConverter:
    return DataConverter(payload_codec=EncryptionCodec(keys, key_id=key_id))


@activity.defn
async def echo(text: str) -> str:
    assert activity.info().heartbeat_details == []
    activity.heartbeat(f"{text} beats")
    return f"{text}!"


@activity.defn
async def decline(text: str) -> None:
    raise ApplicationError(f"declined {text}", text, type="CardError", non_retryable=True)


@activity.defn
async def resume() -> str:
    details = activity.info().heartbeat_details
    if not details:
        activity.heartbeat(SECRET)
        raise ApplicationError("once more", next_retry_delay=timedelta(milliseconds=1))
    return f"{details[0]} came along"


@activity.defn
def in_a_thread(text: str) -> str:
    return text.upper()


@workflow.defn
class Telling:
    @workflow.run
    async def run(self, text: str) -> list[str]:
        first = await workflow.execute_activity(
            echo, text, start_to_close_timeout=A_MINUTE, summary=SECRET
        )
        await workflow.sleep(0.01, summary=SECRET)
        second = await workflow.execute_activity(in_a_thread, text, start_to_close_timeout=A_MINUTE)
        memo: str = workflow.memo_value("m", type_hint=str)
        third = await workflow.execute_activity(resume, start_to_close_timeout=A_MINUTE)
        return [first, second, memo, third]


@workflow.defn
class Again:
    @workflow.run
    async def run(self, text: str, times: int) -> str:
        if times:
            workflow.continue_as_new(args=[text, times - 1])
        return text


@workflow.defn
class Declining:
    @workflow.run
    async def run(self, text: str) -> None:
        await workflow.execute_activity(decline, text, start_to_close_timeout=A_MINUTE)


@workflow.defn
class Patient:
    @workflow.run
    async def run(self, text: str) -> str:
        await workflow.sleep(0.4)
        return text


@workflow.defn
class Awaiting:
    def __init__(self) -> None:
        self._goes = False

    @workflow.run
    async def run(self, text: str) -> str:
        await workflow.wait_condition(lambda: self._goes)
        return text

    @workflow.signal
    def go(self) -> None:
        self._goes = True


WORKFLOWS = [Telling, Again, Declining, Patient, Awaiting]
ACTIVITIES: list[Callable[..., Any]] = [echo, decline, in_a_thread, resume]


def worker_of(client: Client) -> Worker:
    return Worker(client, task_queue="q", workflows=WORKFLOWS, activities=ACTIVITIES)


async def connect(tmp_path: Path, converter: DataConverter) -> Client:
    return await Client.connect(f"file:{tmp_path}/log", data_converter=converter)


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Client]:
    """A client that knows no key; it holds the log open, and waits for nothing."""
    client = await connect(tmp_path, DataConverter.default)
    yield client
    await client.close()


def bytes_of(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


async def test_nothing_that_leaves_can_be_read(tmp_path: Path, plain: Client) -> None:
    client = await connect(tmp_path, encrypting({"k": OLD}))
    async with worker_of(client):
        handle = await client.start_workflow(
            Telling.run,
            SECRET,
            id="w",
            task_queue="q",
            memo={"m": SECRET},
            static_summary=SECRET,
        )
        assert await handle.result() == [
            f"{SECRET}!",
            SECRET.upper(),
            SECRET,
            f"{SECRET} came along",
        ]
        found = await handle.describe()
        assert await found.memo() == {"m": SECRET}
        assert await found.static_summary() == SECRET
        with pytest.raises(WorkflowFailureError, match=f"CardError: declined {SECRET}") as caught:
            await client.execute_workflow(Declining.run, SECRET, id="d", task_queue="q")
        assert (
            await client.execute_workflow(Again.run, args=[SECRET, 3], id="a", task_queue="q")
            == SECRET
        )
    cause = caught.value.cause
    assert isinstance(cause, ActivityError)
    assert isinstance(cause.cause, ApplicationError)
    assert list(cause.cause.details) == [SECRET]
    assert cause.cause.type == "CardError"
    held = bytes_of(tmp_path / "log")
    await client.close()
    assert b"Telling" in held, "the log's files are not compressed, so what is there is seen"
    assert SECRET.encode() not in held
    assert SECRET.upper().encode() not in held


async def test_headers_are_left_alone_unless_told(tmp_path: Path, plain: Client) -> None:
    client = await connect(tmp_path, encrypting({"k": OLD}))
    async with worker_of(client):
        handle = await client.start_workflow(Patient.run, "x", id="w", task_queue="q")
        history = await handle.fetch_history()
        started = history.events[0].event
        assert started.input[0].encoding == "binary/encrypted"  # type: ignore[attr-defined]
    await client.close()


async def test_a_client_without_the_key_is_told_which(tmp_path: Path, plain: Client) -> None:
    client = await connect(tmp_path, encrypting({"old": OLD}))
    other = await connect(tmp_path, encrypting({"new": NEW}))
    async with worker_of(client):
        handle = await client.start_workflow(
            Again.run, args=["x", 0], id="w", task_queue="q", memo={"m": 1}
        )
        await handle.result()
        with pytest.raises(CodecError, match=r"result of workflow 'w'.*key 'old'.*has 'new'"):
            await other.get_workflow_handle("w").result()
        with pytest.raises(ValueError, match="encoding 'binary/encrypted'"):
            await plain.get_workflow_handle("w").result()
        found = await other.get_workflow_handle("w").describe()
        listed = [run.id async for run in other.list_workflows()]
        with pytest.raises(CodecError, match=r"the memo of workflow 'w'.*key 'old'"):
            await found.memo()

    assert found.status == WorkflowExecutionStatus.COMPLETED
    assert listed == ["w"]
    await client.close()
    await other.close()


async def test_an_activity_without_the_key_fails_with_it(tmp_path: Path, plain: Client) -> None:
    client = await connect(tmp_path, encrypting({"old": OLD}))
    other = await connect(tmp_path, encrypting({"new": NEW}))
    hosts = Worker(client, task_queue="q", workflows=[Blunt])
    workers = Worker(other, task_queue="q", activities=ACTIVITIES)
    async with hosts, workers:
        with pytest.raises(WorkflowFailureError, match=r"activity echo .*key 'old'.*has 'new'"):
            await client.execute_workflow(Blunt.run, "x", id="w", task_queue="q")
    await client.close()
    await other.close()


@workflow.defn
class Blunt:
    @workflow.run
    async def run(self, text: str) -> str:
        return await workflow.execute_activity(
            echo, text, start_to_close_timeout=A_MINUTE, retry_policy=ONCE
        )


async def test_a_host_without_the_key_blocks_and_goes_on_once_it_has_it(
    tmp_path: Path, plain: Client
) -> None:
    client = await connect(tmp_path, encrypting({"old": OLD}))
    other = await connect(tmp_path, encrypting({"new": NEW}))
    async with worker_of(other):
        handle = await client.start_workflow(Patient.run, "x", id="w", task_queue="q")
        found = await blocked(client, "w")
        assert found == "codec", found
        block = (await handle.describe()).block
        assert block is not None
        assert "key 'old', and this process has 'new'" in block.message
        assert "goes on by itself" in block.message
    async with worker_of(client):
        assert await handle.result() == "x"
    await client.close()
    await other.close()


async def test_a_key_lost_in_mid_run_blocks_and_resumes(tmp_path: Path, plain: Client) -> None:
    client = await connect(tmp_path, encrypting({"old": OLD}))
    other = await connect(tmp_path, encrypting({"new": NEW}))
    both = await connect(tmp_path, encrypting({"old": OLD, "new": NEW}, "new"))
    async with worker_of(client):
        handle = await client.start_workflow(Awaiting.run, "x", id="w", task_queue="q")
        await handle.describe()
    async with worker_of(other):
        await handle.signal(Awaiting.go)
        assert await blocked(client, "w") == "codec"
    async with worker_of(both):
        assert await both.get_workflow_handle("w").result() == "x"
    for one in (client, other, both):
        await one.close()


async def blocked(client: Client, workflow_id: str) -> str:
    async with asyncio.timeout(10):
        while True:
            found = await client.get_workflow_handle(workflow_id, task_queue="q").describe()
            if found.block is not None:
                return found.block.cause
            await asyncio.sleep(0.02)


class Slow(PayloadCodec):
    """Waits for others, as one that asks a key service does."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await asyncio.sleep(0.001)
        return [Payload(payload.metadata, payload.data[::-1]) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self.encode(payloads)


async def test_a_codec_may_wait(tmp_path: Path, plain: Client) -> None:
    client = await connect(tmp_path, DataConverter(payload_codec=Slow()))
    async with worker_of(client):
        found = await client.execute_workflow(
            Telling.run, SECRET, id="w", task_queue="q", memo={"m": "memo"}
        )
    assert found == [f"{SECRET}!", SECRET.upper(), "memo", f"{SECRET} came along"]
    await client.close()


class Failing(PayloadCodec):
    """Cannot write one text, and loses another."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        if any(b"poison!" in payload.data for payload in payloads):
            raise OSError("the key service is away")
        return [payload for payload in payloads if b"lost" not in payload.data]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


async def test_what_a_codec_cannot_encode_is_said_where_it_would_have_left(
    tmp_path: Path, plain: Client
) -> None:
    client = await connect(tmp_path, DataConverter(payload_codec=Failing()))
    async with worker_of(client), Worker(client, task_queue="p", workflows=[Blunt]):
        with pytest.raises(CodecError, match=r"start of workflow 'w'.*OSError: the key service is"):
            await client.start_workflow(Patient.run, "poison!", id="w", task_queue="q")
        with pytest.raises(CodecError, match="1 were given and 0 came back"):
            await client.start_workflow(Patient.run, "lost", id="w", task_queue="q")
    async with Worker(client, task_queue="q", workflows=[Blunt], activities=ACTIVITIES):
        with pytest.raises(WorkflowFailureError, match=r"the result of activity echo.*OSError"):
            await client.execute_workflow(Blunt.run, "poison", id="b", task_queue="q")
    await client.close()


async def test_large_payloads_are_kept_outside_the_log(tmp_path: Path, plain: Client) -> None:
    storage = ExternalStorage(
        [LocalStorageDriver(tmp_path / "claims")], payload_size_threshold=10_000
    )
    converter = DataConverter(payload_codec=EncryptionCodec({"k": OLD}), external_storage=storage)
    client = await connect(tmp_path, converter)
    text = "long text " * 300_000
    async with worker_of(client):
        found = await client.execute_workflow(Patient.run, text, id="w", task_queue="q")
        history = await client.get_workflow_handle("w").fetch_history()
        assert found == text
        assert len(history.to_json()) < 10_000
        for path in (tmp_path / "claims").rglob("sha256-*"):
            assert b"long text" not in path.read_bytes()
            path.unlink()
        with pytest.raises(CodecError, match=r"result of workflow 'w'.*missing from the directory"):
            await client.get_workflow_handle("w").result()
    await client.close()


async def test_results_are_encoded_before_a_worker_is_gone(
    tmp_path: Path, plain: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    client = await connect(tmp_path, DataConverter(payload_codec=Slow()))
    hosts = Worker(client, task_queue="q", workflows=[Blunt])
    async with hosts:
        started = asyncio.Event()

        @activity.defn(name="echo")
        async def last(text: str) -> str:
            started.set()
            await activity.wait_for_worker_shutdown()
            return f"{text} at last"

        workers = Worker(
            client,
            task_queue="q",
            activities=[last],
            graceful_shutdown_timeout=timedelta(seconds=5),
        )
        async with workers:
            handle = await client.start_workflow(Blunt.run, "x", id="w", task_queue="q")
            await started.wait()
        assert await handle.result() == "x at last"
    assert caplog.records == []
    await client.close()


class Remembering(StorageDriver):
    """Keeps payloads in memory, and whose they were."""

    def __init__(self) -> None:
        self.kept: dict[str, Payload] = {}
        self.targets: list[object] = []

    def name(self) -> str:
        return "remembering"

    async def store(
        self, context: StorageDriverStoreContext, payloads: Sequence[Payload]
    ) -> list[StorageDriverClaim]:
        claims = []
        for payload in payloads:
            key = str(len(self.kept))
            self.kept[key] = payload
            self.targets.append(context.target)
            claims.append(StorageDriverClaim({"key": key}))
        return claims

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        return [self.kept[claim.claim_data["key"]] for claim in claims]


@workflow.defn
class Passing:
    @workflow.run
    async def run(self, text: str) -> str:
        return await workflow.execute_activity(
            in_a_thread, text, activity_id="up", start_to_close_timeout=A_MINUTE
        )


async def test_a_storage_driver_is_told_whose_payloads_it_keeps(tmp_path: Path) -> None:
    driver = Remembering()
    storage = ExternalStorage(drivers=[driver], payload_size_threshold=10)
    client = await Client.connect(
        f"file:{tmp_path}", data_converter=DataConverter(external_storage=storage)
    )
    async with Worker(client, task_queue="q", workflows=[Passing], activities=[in_a_thread]):
        text = "x" * 100
        result = await client.execute_workflow(Passing.run, text, id="w", task_queue="q")
    await client.close()

    assert result == text.upper()
    of_run = StorageDriverWorkflowInfo(namespace="default", id="w")
    of_activity = StorageDriverActivityInfo(namespace="default", id="up", type="in_a_thread")
    # The client's start; the host's task; the worker's result; the host's result.
    assert driver.targets == [of_run, of_activity, of_activity, of_run]
