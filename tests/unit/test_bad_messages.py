"""Messages that cannot be: each one error that says what, where, and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import workflow
from perdure.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from perdure.worker import Worker
from tests.unit.test_edges_with_workers import OLD, connect, encrypting

pytestmark = pytest.mark.embedded
Handle = WorkflowHandle[Any, Any]
HERE = r"tests/unit/test_bad_messages.py:\d+"


@dataclass
class Entry:
    amount: int


@workflow.defn
class Book:
    def __init__(self) -> None:
        self.total = 0
        self.is_broken = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.is_broken)
        raise KeyError("price")

    @workflow.signal
    def note(self, entry: Entry) -> None:
        self.total += entry.amount

    @workflow.signal
    def break_it(self) -> None:
        self.is_broken = True

    @workflow.query
    def above(self, least: int) -> bool:
        return self.total > least

    @workflow.query
    def thing(self) -> Any:
        return object()

    @workflow.update
    def enter(self, entry: Entry) -> int:
        self.total += entry.amount
        return self.total

    @workflow.update
    def odd(self) -> Any:
        self.total += 1
        return object()

    @workflow.update
    def missing(self) -> Any:
        raise KeyError("price")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path / 'data'}")
    async with asyncio.timeout(60), Worker(client, task_queue="q", workflows=[Book]):
        yield client
    await client.close()


async def opened(client: Client) -> Handle:
    return await client.start_workflow(Book.run, id="book", task_queue="q")


CASES: dict[str, tuple[Callable[[Handle], Awaitable[object]], type[Exception], str]] = {
    "unknown update": (
        lambda book: book.execute_update("nope"),
        WorkflowUpdateFailedError,
        r"update 'nope' has no handler in Book; known updates: enter, missing, odd",
    ),
    "unknown query": (
        lambda book: book.query("nope"),
        WorkflowQueryFailedError,
        r"query 'nope' has no handler in Book; known queries: above, thing",
    ),
    "signal of another type": (
        lambda book: book.signal("note", "text"),
        RPCError,
        (
            rf"workflow 'book': signal 'note' \({HERE}\): argument 1 \(entry\) cannot be read as"
            r" .*Entry: Expected `object`, got `str`"
        ),
    ),
    "signal without argument": (
        lambda book: book.signal("note"),
        RPCError,
        rf"signal 'note' \({HERE}\) takes 1 argument \(entry\), but was given 0",
    ),
    "query of another type": (
        lambda book: book.query("above", "x"),
        WorkflowQueryFailedError,
        rf"query 'above' \({HERE}\): argument 1 \(least\) cannot be read as int",
    ),
    "update of another type": (
        lambda book: book.execute_update("enter", {"amount": "x"}),
        WorkflowUpdateFailedError,
        (
            rf"update 'enter' \({HERE}\): argument 1 \(entry\) .* Expected `int`, got `str` - at"
            r" `\$.amount`"
        ),
    ),
    "update with too many arguments": (
        lambda book: book.execute_update("enter", args=[1, 2]),
        WorkflowUpdateFailedError,
        rf"update 'enter' \({HERE}\) takes 1 argument \(entry\), but was given 2",
    ),
    "signal that cannot be written": (
        lambda book: book.signal("note", object()),
        TypeError,
        (
            r"signal 'note' to workflow 'book': argument 1 of type object cannot be written as"
            r" JSON: it holds a value of type object; accepted are"
        ),
    ),
    "query that cannot be written": (
        lambda book: book.query("above", 1j),
        TypeError,
        r"query 'above' of workflow 'book': argument 1 of type complex cannot be written",
    ),
    "update that cannot be written": (
        lambda book: book.execute_update("enter", object()),
        TypeError,
        r"update 'enter' of workflow 'book': argument 1 of type object cannot be",
    ),
    "query whose result cannot be written": (
        lambda book: book.query(Book.thing),
        WorkflowQueryFailedError,
        r"the result of query 'thing' \(.*:\d+\) of type object cannot be written as JSON: ",
    ),
}


async def test_each_is_one_error_and_changes_nothing(client: Client) -> None:
    book = await opened(client)
    for name, (call, kind, said) in CASES.items():
        with pytest.raises(kind, match=said):
            await call(book)
        assert "\n" not in said, name

    assert not await book.query(Book.above, 0)
    history = await book.fetch_history()
    assert [event.event_type for event in history.events] == ["WorkflowStarted"]


async def test_an_update_id_used_again_for_something_else_is_refused(client: Client) -> None:
    book = await opened(client)
    assert await book.execute_update(Book.enter, Entry(1), id="u") == 1

    with pytest.raises(RPCError, match=r"update id 'u' of workflow 'book' run .* give each update"):
        await book.execute_update(Book.enter, Entry(2), id="u")

    assert await book.execute_update(Book.enter, Entry(1), id="u") == 1


async def test_a_blocked_run_says_why_to_queries_and_updates_and_keeps_signals(
    client: Client,
) -> None:
    book = await opened(client)
    await book.signal(Book.break_it)
    blocked = (
        rf"workflow 'book' is blocked \(error\), so its code cannot be asked: Book raised KeyError:"
        rf" 'price' at {HERE} in Book.run. The run goes on by itself when fixed code is deployed"
    )

    with pytest.raises(RPCError, match=f"query 'above' of {blocked[:10]}"):
        await book.query(Book.above, 1)
    with pytest.raises(RPCError, match=blocked):
        await book.query(Book.above, 1)
    with pytest.raises(RPCError, match=blocked):
        await book.execute_update(Book.enter, Entry(1))
    await book.signal(Book.note, Entry(1))


async def test_who_waits_for_an_update_hears_that_its_run_is_blocked(client: Client) -> None:
    book = await opened(client)

    with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError) as late:
        await book.execute_update(Book.missing, rpc_timeout=timedelta(seconds=2))

    cause = late.value.__cause__
    assert isinstance(cause, RPCError)
    assert cause.status is RPCStatusCode.DEADLINE_EXCEEDED
    assert "update 'missing' of workflow 'book': not done within 2" in str(cause)
    assert "Book raised KeyError: 'price' at tests/unit/test_bad_messages.py:" in str(cause)


async def test_an_update_whose_result_cannot_be_written_fails_and_its_run_goes_on(
    client: Client,
) -> None:
    book = await opened(client)
    said = rf"the result of update 'odd' \({HERE}\) of type object cannot be written as JSON: "

    for _ in range(2):
        # The handler has done its work: the second time it is told of the same outcome.
        with pytest.raises(WorkflowUpdateFailedError, match=said):
            await book.execute_update(Book.odd, id="u")

    assert await book.query(Book.above, 0)
    assert not await book.query(Book.above, 1)
    assert await book.execute_update(Book.enter, Entry(1)) == 2
    assert (await book.describe()).block is None


async def test_a_message_that_cannot_be_decrypted_names_the_key(tmp_path: Path) -> None:
    sender = await connect(tmp_path, encrypting({"k": OLD}))
    host = await connect(tmp_path, encrypting({"other": OLD}))
    async with asyncio.timeout(60), Worker(host, task_queue="q", workflows=[Book]):
        plain = host.get_workflow_handle("book", task_queue="q")
        await host.start_workflow(Book.run, id="book", task_queue="q")
        sent = sender.get_workflow_handle("book", task_queue="q")
        with pytest.raises(WorkflowQueryFailedError, match=r"key.*'k'"):
            await sent.query("above", 1)
        with pytest.raises(RPCError, match=r"key.*'k'"):
            await sent.execute_update("enter", Entry(1))
        assert not await plain.query("above", 0)
    await sender.close()
    await host.close()
