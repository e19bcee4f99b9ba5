"""Whatever code and clients hand in is written, cut or refused, and other runs never notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure._records.rpc_errors import RPCError
from perdure.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from perdure.common import RetryPolicy
from perdure.exceptions import ApplicationError, CancelledError
from perdure.worker import Worker

QUEUE = "writing"
HALF = "caf\udce9"
ESCAPED = r"caf\udce9"
MIB = 1024 * 1024
SOON = timedelta(seconds=20)
ONCE = RetryPolicy(maximum_attempts=1)


@activity.defn
async def echo(text: str) -> str:
    return text


@activity.defn
async def breaks(how: str) -> None:
    if how == "half":
        raise ApplicationError(f"no file {HALF}", object(), type=HALF)
    raise ApplicationError("x" * 9 * MIB, "d" * 9 * MIB, type="T" * MIB)


@activity.defn
async def beats(number: int) -> None:
    activity.heartbeat("h" * 800_000)
    await asyncio.sleep(600)


@workflow.defn
class Below:
    @workflow.run
    async def run(self, how: str) -> str:
        if how == "fail":
            raise ApplicationError("b" * 9 * MIB, "d" * 3 * MIB)
        return how


@workflow.defn
class Odd:
    """Writes what is hard to write, each time in another way."""

    @workflow.run
    async def run(self, how: str) -> Any:
        found = await getattr(self, f"_{how}")()
        # Once more, so that what was written is replayed.
        await workflow.sleep(0.001)
        return found

    @workflow.query
    def text(self, size: int) -> str:
        return "x" * size

    @workflow.query
    def breaks(self) -> str:
        raise ApplicationError("q" * 9 * MIB, "d" * 9 * MIB)

    @workflow.update
    async def late(self) -> None:
        raise ApplicationError("u" * 9 * MIB, "d" * 9 * MIB)

    @workflow.update
    async def refused(self) -> None: ...

    @refused.validator
    def _refused(self) -> None:
        raise ApplicationError(HALF + "v" * 9 * MIB, "d" * 9 * MIB)

    async def _wait(self) -> None:
        await workflow.wait_condition(lambda: False)

    async def _beating(self) -> None:
        await asyncio.gather(
            *(
                workflow.execute_activity(
                    beats, number, start_to_close_timeout=SOON, heartbeat_timeout=SOON
                )
                for number in range(20)
            )
        )

    # What is written escaped.

    async def _activity_id(self) -> str:
        return await workflow.execute_activity(
            echo, "a", activity_id=HALF, start_to_close_timeout=SOON
        )

    async def _child_id(self) -> str:
        handle = await workflow.start_child_workflow(Below.run, "a", id=f"below-{HALF}")
        return await handle

    async def _child_memo(self) -> str:
        return await workflow.execute_child_workflow(
            Below.run, "a", id="below-memo", memo={HALF: 1}
        )

    async def _patch(self) -> list[bool]:
        first = workflow.patched(HALF)
        await workflow.sleep(0.001)
        return [first, workflow.patched(HALF)]

    async def _memo(self) -> list[str]:
        workflow.upsert_memo({HALF: 1})
        await workflow.sleep(0.001)
        return [key.replace("\udce9", r"\udce9") for key in workflow.memo()]

    async def _task_name(self) -> str:
        call = workflow.execute_activity(echo, "a", start_to_close_timeout=SOON)
        return await asyncio.create_task(call, name=HALF)

    # What fails the run, with the error's own text.

    async def _activity_error(self) -> None:
        await workflow.execute_activity(
            breaks, "half", start_to_close_timeout=SOON, retry_policy=ONCE
        )

    async def _activity_large_error(self) -> None:
        await workflow.execute_activity(
            breaks, "large", start_to_close_timeout=SOON, retry_policy=ONCE
        )

    async def _local_large_error(self) -> None:
        await workflow.execute_local_activity(
            breaks, "large", start_to_close_timeout=SOON, retry_policy=ONCE
        )

    async def _child_error(self) -> None:
        await workflow.execute_child_workflow(Below.run, "fail", id="below-fail")

    async def _detail(self) -> None:
        raise ApplicationError("out of stock", object(), type="Stock")

    async def _cancelled_detail(self) -> None:
        raise CancelledError("out of stock", object())

    async def _large_details(self) -> None:
        raise ApplicationError(f"out of stock {HALF}", *["d" * MIB] * 20)

    async def _result(self) -> str:
        return "x" * 9 * MIB

    # What blocks the run.

    async def _error_text(self) -> None:
        raise FileNotFoundError(f"no such file: {HALF}" + "x" * 9 * MIB)

    async def _group(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leaf())
            group.create_task(workflow.sleep(60))

    async def _leaf(self) -> None:
        await workflow.sleep(0.001)
        raise KeyError("the missing key")

    async def _child_large_memo(self) -> None:
        await workflow.execute_child_workflow(
            Below.run, "a", id="below-large", memo={"m": "x" * 2 * MIB}
        )

    async def _child_details(self) -> None:
        await workflow.execute_child_workflow(
            Below.run, "a", id="below-details", static_details="d" * (MIB + 1)
        )

    async def _next_run(self) -> None:
        workflow.continue_as_new("x" * 9 * MIB)

    async def _queue(self) -> None:
        await workflow.execute_activity(
            echo, "a", task_queue="q" * 1_000, start_to_close_timeout=SOON
        )

    async def _number(self) -> None:
        policy = RetryPolicy(maximum_attempts=10**20)
        await workflow.execute_activity(echo, "a", start_to_close_timeout=SOON, retry_policy=policy)


@workflow.defn
class Good:
    @workflow.run
    async def run(self, number: int) -> int:
        return number


DONE: dict[str, Any] = {
    "activity_id": "a",
    "child_id": "a",
    "child_memo": "a",
    "patch": [True, True],
    "memo": [ESCAPED],
    "task_name": "a",
}
FAILED = {
    "activity_error": f"{ESCAPED}: no file {ESCAPED} (its details were dropped",
    "activity_large_error": "TTTTT",
    "local_large_error": "TTTTT",
    "child_error": "bbbbb",
    "detail": "Stock: out of stock (its details were dropped: the error's detail 1 of type object",
    "cancelled_detail": "out of stock (its details were dropped",
    "large_details": f"out of stock {ESCAPED} (its details, ",
    "result": "PayloadTooLarge: the workflow returned 9437186 bytes; 1048576 is the most",
}
BLOCKED = {
    "error_text": f"Odd raised FileNotFoundError: no such file: {ESCAPED}xxx",
    "group": "Odd raised KeyError: 'the missing key' at tests/unit/test_what_is_written.py:",
    "child_large_memo": "child workflow Below is given 2097157 bytes; 921600 is the most",
    "child_details": "ChildWorkflowInitiated 'Below' takes 10",
    "next_run": "the next run is given 9437186 bytes; 4194304 is the most",
    "queue": "the task queue 'qqq",
    "number": "what the code asks for cannot be written: ValueError: 100000000000000000000 does",
}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    yield client
    await client.close()


def make_worker(client: Client) -> Worker:
    # Without a cache each step replays what was written before it.
    return Worker(
        client,
        task_queue=QUEUE,
        workflows=[Odd, Below, Good],
        activities=[echo, breaks, beats],
        max_cached_workflows=0,
    )


async def run_on(client: Client, how: str) -> Any:
    handle = await client.start_workflow(Odd.run, how, id=how, task_queue=QUEUE)
    return await handle.result()


async def test_text_that_is_no_utf8_is_escaped_and_replays(client: Client) -> None:
    async with make_worker(client):
        assert {how: await run_on(client, how) for how in DONE} == DONE


async def test_errors_outlive_what_of_them_cannot_be_written(client: Client) -> None:
    async with make_worker(client):
        for how, text in FAILED.items():
            with pytest.raises(WorkflowFailureError) as failed:
                await run_on(client, how)
            error: BaseException = failed.value.cause
            while error.__cause__ is not None:
                error = error.__cause__
            assert str(error).startswith(text), how


async def test_what_cannot_be_written_blocks_its_run_and_no_other(client: Client) -> None:
    for turn in range(2):
        # Another host takes the partition over, and folds what the first one wrote.
        async with make_worker(client):
            for number, how in enumerate(BLOCKED):
                if not turn:
                    await client.start_workflow(Odd.run, how, id=how, task_queue=QUEUE)
                result = await client.execute_workflow(
                    Good.run, number, id=f"good-{turn}-{how}", task_queue=QUEUE
                )
                assert result == number
            for how, text in BLOCKED.items():
                handle = client.get_workflow_handle(how, task_queue=QUEUE)
                described = await handle.describe()
                while described.block is None:
                    # A timer, or a step of a child, comes before it.
                    await asyncio.sleep(0.01)
                    described = await handle.describe()
                assert described.status == WorkflowExecutionStatus.BLOCKED
                assert described.block.message.startswith(text), how
                assert len(described.block.message) < 20_000
                assert "the missing key" in described.block.stack_trace or how != "group"


async def test_answers_too_large_for_a_record_come_in_several(client: Client) -> None:
    async with make_worker(client):
        handle = await client.start_workflow(Odd.run, "wait", id="w", task_queue=QUEUE)
        assert len(await handle.query(Odd.text, 9 * MIB)) == 9 * MIB
        with pytest.raises(RPCError, match="returned 20971522 bytes; 12582912 is the most"):
            await handle.query(Odd.text, 20 * MIB)
        with pytest.raises(WorkflowQueryFailedError, match="qqqq"):
            await handle.query(Odd.breaks)
        with pytest.raises(WorkflowUpdateFailedError) as late:
            await handle.execute_update(Odd.late)
        assert str(late.value.cause).startswith("uuuu")
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update(Odd.refused)
        assert str(refused.value.cause).startswith(ESCAPED)


async def test_descriptions_lists_and_histories_come_in_pages(client: Client) -> None:
    async with make_worker(client):
        beating = await client.start_workflow(Odd.run, "beating", id="b", task_queue=QUEUE)
        while True:
            pending = (await beating.describe()).raw_description.pending_activities
            if sum(len(one.heartbeat_details) for one in pending) == 20:
                break
            await asyncio.sleep(0.05)
        assert len({one.activity_id for one in pending}) == 20
        for number in range(40):
            await client.start_workflow(
                Good.run, number, id=f"g{number}", task_queue=QUEUE, memo={"m": "x" * 250_000}
            )
        listed = [one.id async for one in client.list_workflows("WorkflowType = 'Good'")]
        await beating.terminate(reason="x" * 1_000_000)
        history = await beating.fetch_history()

    assert sorted(listed) == sorted(f"g{number}" for number in range(40))
    seqs = [item.event_id for item in history.events]
    assert seqs == list(range(1, len(seqs) + 1))


async def test_what_clients_hand_in_is_escaped_or_refused_at_once(client: Client) -> None:
    async with make_worker(client):
        with pytest.raises(ValueError, match="cannot be written as UTF-8"):
            await client.start_workflow(Good.run, 1, id=HALF, task_queue=QUEUE)
        handle = await client.start_workflow(
            Odd.run, "wait", id="w", task_queue=QUEUE, memo={HALF: 1}
        )
        assert await (await handle.describe()).memo() == {ESCAPED: 1}
        await handle.signal(HALF)
        await handle.terminate(reason=HALF)
        with pytest.raises(WorkflowFailureError) as ended:
            await handle.result()
        assert ESCAPED in str(ended.value.cause)
