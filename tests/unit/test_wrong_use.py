"""What users get wrong, line by line: one error that says what, where and what to do.

A client's mistake is refused by the call. A mistake in workflow code blocks its run, which is
listed so and goes on once the code is mended; what only the other side can know fails it.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure._records.policies import arguments_for
from perdure.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleRange,
    ScheduleSpec,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from perdure.common import RetryPolicy, SearchAttributeKey
from perdure.converter import DataConverter, DefaultPayloadConverter, records_converter
from perdure.worker import Worker
from perdure_actors.definitions.signatures import Signature

pytestmark = pytest.mark.embedded
QUEUE = "q"
SOON = timedelta(seconds=30)
ONCE = RetryPolicy(maximum_attempts=1)
HERE = r"tests/unit/test_wrong_use.py:\d+"
Call = Callable[[Client], Awaitable[object]]


@dataclass
class Entry:
    amount: int


def unwritable() -> Any:
    return object()


@activity.defn
async def book(entry: Entry) -> int:
    return entry.amount


@activity.defn
async def give_object() -> Any:
    return unwritable()


@activity.defn
async def give_much() -> str:
    return "x" * 2_000_000


@activity.defn
async def beat_object() -> None:
    activity.heartbeat(unwritable())


@workflow.defn
class Book:
    @workflow.run
    async def run(self, entry: Entry) -> int:
        return entry.amount


@workflow.defn
class Doing:
    """Does one wrong thing, by its name."""

    @workflow.run
    async def run(self, what: str) -> Any:
        return await DOINGS[what]()


async def mixed_types() -> None:
    workflow.upsert_search_attributes([SearchAttributeKey.for_int("Twin").value_set(1)])
    workflow.upsert_search_attributes([SearchAttributeKey.for_keyword("Twin").value_set("a")])


async def unwritable_memo() -> None:
    workflow.upsert_memo({"k": unwritable()})


async def numbered_memo() -> None:
    workflow.upsert_memo({5: 1})  # type: ignore[dict-item]


async def unwritable_result() -> Any:
    return unwritable()


async def chance() -> float:
    return random.random()


async def next_run(*args: Any) -> None:
    workflow.continue_as_new(args=args, workflow=Book.run)


def child(*args: Any, **options: Any) -> Awaitable[Any]:
    return workflow.execute_child_workflow(Book.run, args=args, **options)


def elsewhere(*args: Any) -> Awaitable[Any]:
    return workflow.get_external_workflow_handle("other").signal("note", args=args)


def act(fn: Any, *args: Any, **options: Any) -> Awaitable[Any]:
    options.setdefault("start_to_close_timeout", SOON)
    return workflow.execute_activity(fn, args=args, retry_policy=ONCE, **options)


DOINGS: dict[str, Callable[[], Awaitable[Any]]] = {
    "activity without timeout": lambda: act(book, Entry(1), start_to_close_timeout=None),
    "local activity without timeout": lambda: workflow.execute_local_activity(book, Entry(1)),
    "activity with a negative timeout": lambda: act(
        book, Entry(1), start_to_close_timeout=timedelta(seconds=-1)
    ),
    "activity with too many arguments": lambda: act(book, Entry(1), 2),
    "activity with a wrong argument": lambda: act(book, "text"),
    "activity with an unwritable argument": lambda: act(book, unwritable()),
    "activity with a large argument": lambda: act("book", "x" * 5_000_000),
    "activity by a wrong name": lambda: act("bok", Entry(1)),
    "activity with a wrong argument by name": lambda: act("book", "text"),
    "activity with an unwritable result": lambda: act(give_object),
    "activity with a large result": lambda: act(give_much),
    "activity with an unwritable heartbeat": lambda: act(beat_object),
    "child with a wrong argument": lambda: child("text"),
    "child without argument": child,
    "child with an unwritable argument": lambda: child(unwritable()),
    "child with a bad cron": lambda: child(Entry(1), cron_schedule="61 * * * *"),
    "child with a long id": lambda: child(Entry(1), id="x" * 1001),
    "next run without argument": next_run,
    "next run with an unwritable argument": lambda: next_run(unwritable()),
    "signal that cannot be written": lambda: elsewhere(unwritable()),
    "signal that is large": lambda: elsewhere("x" * 2_000_000),
    "two types of an attribute": mixed_types,
    "unwritable memo": unwritable_memo,
    "memo whose key is no text": numbered_memo,
    "activity on a queue that is no text": lambda: act(book, Entry(1), task_queue=5),
    "activity with an id that is no text": lambda: act(book, Entry(1), activity_id=5),
    "unwritable result": unwritable_result,
    "chance": chance,
}
UNWRITABLE = r"of type object cannot be written as JSON: .* accepted are None, bytes, str"
BLOCKED = {
    "activity without timeout": r"activity 'book' needs start_to_close_timeout .* or schedule_to",
    "local activity without timeout": r"activity 'book' needs start_to_close_timeout",
    "activity with a negative timeout": r"start_to_close_timeout is negative .*: give a positive",
    "activity with too many arguments": (
        rf"activity 'book' \({HERE}\) takes 1 argument \(entry\), but was given 2"
    ),
    "activity with a wrong argument": (
        rf"activity 'book' \({HERE}\): argument 1 \(entry\) cannot be read as .*Entry: Expected"
    ),
    "activity with an unwritable argument": rf"activity 'book': argument 1 \(entry\) {UNWRITABLE}",
    "activity with a large argument": (
        r"the input of activity book has 5000002 bytes; 4194304 is the most"
    ),
    "child with a wrong argument": rf"child workflow 'Book' \({HERE}\): argument 1",
    "child without argument": rf"child workflow 'Book' \({HERE}\) takes 1 argument .* given 0",
    "child with an unwritable argument": rf"child workflow 'Book': argument 1 .*{UNWRITABLE}",
    "child with a bad cron": r"child workflow 'Book': cron schedule '61 .*': bad minute; give five",
    "child with a long id": r"workflow 'Book': a workflow id has 1 to 1000 bytes; this one has",
    "next run without argument": rf"continue_as_new of Book \({HERE}\) takes 1 argument .* given 0",
    "next run with an unwritable argument": rf"continue_as_new of Book: argument 1 .*{UNWRITABLE}",
    "signal that cannot be written": rf"signal 'note': argument 1 {UNWRITABLE}",
    "signal that is large": r"signal 'note' is given 2000002 bytes; 921600 is the most: pass refer",
    "two types of an attribute": r"search attribute 'Twin' is of type Int in this run, and is",
    "memo whose key is no text": r"written: MemoUpserted: Expected `str`, got `int` - at `key` in",
    "activity on a queue that is no text": (
        r"written: ActivityScheduled: Expected `str`, got `int` - at `\$.task_queue`"
    ),
    "activity with an id that is no text": r"a int stands where a text should",
    "unwritable memo": rf"the memo 'k' {UNWRITABLE}",
    "unwritable result": rf"the result of Doing \({HERE}\) {UNWRITABLE}",
    "chance": r"random.random must not be called by workflow code, .*: use workflow.random\(\)",
}
FAILED = {
    "activity by a wrong name": (
        r"activity bok is not registered on this worker of task queue 'q'; it has: beat_object,"
        r" book, .* Add it to the worker's activities"
    ),
    "activity with a wrong argument by name": (
        rf"activity book \({HERE}\): argument 1 \(entry\) cannot be read as .*Entry"
    ),
    "activity with an unwritable result": (
        rf"activity give_object \({HERE}\): the result {UNWRITABLE}"
    ),
    "activity with a large result": (
        r"result of activity give_much takes 2\d+ bytes as a record; 1048576 is the most. Return a"
    ),
    "activity with an unwritable heartbeat": rf"the heartbeat's detail 1 {UNWRITABLE}",
}
WITHOUT_LINE = {
    "unwritable result",
    "memo whose key is no text",
    "activity on a queue that is no text",
}
"""The method is named, but it has returned; or the field is, and the code waits already."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wrong")


@pytest.fixture
async def client(directory: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{directory}")
    yield client
    await client.close()


async def test_what_workflow_code_gets_wrong_blocks_or_fails_its_run(client: Client) -> None:
    assert DOINGS.keys() == BLOCKED.keys() | FAILED.keys()
    activities: list[Callable[..., Any]] = [book, give_object, give_much, beat_object]
    worker = Worker(client, task_queue=QUEUE, workflows=[Doing, Book], activities=activities)
    async with asyncio.timeout(60), worker:
        handles = {
            what: await client.start_workflow(Doing.run, what, id=what, task_queue=QUEUE)
            for what in DOINGS
        }
        for what, said in FAILED.items():
            with pytest.raises(WorkflowFailureError, match=said):
                await handles[what].result()
        while (await client.count_workflows("ExecutionStatus = 'Running'")).count:
            pass  # Each look waits for the host's answer.
        for what, said in BLOCKED.items():
            shown = await handles[what].describe()
            assert shown.status is WorkflowExecutionStatus.BLOCKED, what
            assert shown.block is not None
            place = "" if what in WITHOUT_LINE else rf".*{HERE} in "
            assert re.search(said + place, shown.block.message), (what, shown.block.message)
        blocked = [run.id async for run in client.list_workflows("ExecutionStatus = 'Blocked'")]
        assert sorted(blocked) == sorted(BLOCKED)


def start(workflow_id: str = "w", **options: Any) -> Call:
    fn, args = options.pop("fn", Book.run), options.pop("args", [Entry(1)])
    return lambda client: client.start_workflow(
        fn, args=args, id=workflow_id, task_queue=QUEUE, **options
    )


def schedule(spec: ScheduleSpec, *args: Any, workflow_id: str = "s") -> Call:
    action = ScheduleActionStartWorkflow(
        Book.run, args=args or [Entry(1)], id=workflow_id, task_queue=QUEUE
    )
    return lambda client: client.create_schedule("s", Schedule(action=action, spec=spec))


def listed(query: str) -> Call:
    async def look(client: Client) -> list[Any]:
        return [run async for run in client.list_workflows(query)]

    return look


def day(**parts: int) -> ScheduleSpec:
    ranges: dict[str, Any] = {part: [ScheduleRange(number)] for part, number in parts.items()}
    return ScheduleSpec(calendars=[ScheduleCalendarSpec(**ranges)])


CLASSES: Any = [ValueError]
HOURLY = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=1))])
REFUSED: dict[str, tuple[Call, str]] = {
    "start with a wrong argument": (
        start(args=["text"]),
        rf"start of workflow 'Book' \({HERE}\): argument 1 \(entry\) cannot be read as .*Entry",
    ),
    "start without argument": (start(args=[]), r"start of workflow 'Book' .* takes 1 .* given 0"),
    "start with an unwritable argument": (
        start(args=[object()]),
        rf"start of workflow 'Book': argument 1 \(entry\) {UNWRITABLE}",
    ),
    "start with a large argument": (
        start(fn="Book", args=["x" * 2_000_000]),
        r"start of workflow 'w': the record has 2\d+ bytes; at most 1048576 fit in a command. Pass",
    ),
    "start with an unwritable memo": (start(memo={"k": object()}), rf"the memo 'k' {UNWRITABLE}"),
    "start with a bad attribute": (
        start(search_attributes={"k": object()}),
        r"search attribute 'k' is given a value of type object; its key takes str",
    ),
    "start with a bad cron": (start(cron_schedule="nope"), r"cron schedule 'nope': wrong number"),
    "start with a cron in no zone": (
        start(cron_schedule="CRON_TZ=No/Where 0 9 * * *"),
        r"there is no time zone 'No/Where': give a name like Europe/Berlin",
    ),
    "start with a memo whose key is no text": (
        start(memo={5: 1}),
        r"StartWorkflow: Expected `str`, got `int` - at `key` in `\$.memo`",
    ),
    "start with types that are no names": (
        start(retry_policy=RetryPolicy(non_retryable_error_types=CLASSES)),
        r"non_retryable_error_types has <class 'ValueError'>: give the names of types, such as",
    ),
    "start with an id that is no text": (
        start(5),  # type: ignore[arg-type]
        r"the workflow id is a int: give a text",
    ),
    "start with a long id": (start("x" * 1001), r"a workflow id has 1 to 1000 bytes; .* has 1001"),
    "start with no id": (start(""), r"a workflow id has 1 to 1000 bytes; this one has 0"),
    "start of no workflow": (
        start(fn=unwritable),
        r"unwritable is no workflow: give the @workflow",
    ),
    "schedule with a bad cron": (
        schedule(ScheduleSpec(cron_expressions=["nope"])),
        r"cron_expressions\[0\]: cron schedule 'nope': wrong number of fields; give five",
    ),
    "schedule without times": (schedule(ScheduleSpec()), r"the schedule's spec says no time: give"),
    "schedule with a bad hour": (
        schedule(day(hour=25)),
        r"calendars\[0\].hour has 25 to 25: give 0 to 23",
    ),
    "schedule that never comes": (
        schedule(day(day_of_month=30, month=2)),
        r"calendars\[0\] never comes: month 2 has no day 30",
    ),
    "schedule with a long id": (
        schedule(HOURLY, workflow_id="x" * 990),
        r"a workflow id has 1 to 1000 bytes; this one has 1011",
    ),
    "schedule with a wrong argument": (
        schedule(HOURLY, "text"),
        rf"the schedule's workflow 'Book' \({HERE}\): argument 1 \(entry\) cannot be read as",
    ),
    "list by half a filter": (
        listed("WorkflowType ="),
        r"wrong at column 15: it ends, where a number, a text in quotes or true or false should be",
    ),
    "list by a misspelt field": (
        listed("WorkflowTyp = 'Book'"),
        r"wrong at column 1: there is no field WorkflowTyp: write WorkflowType, or `WorkflowTyp`",
    ),
    "list by no status": (
        listed("ExecutionStatus = 'Runing'"),
        r"wrong at column 19: ExecutionStatus takes one of Running, Blocked, .* not 'Runing'",
    ),
    "list by no time": (
        listed("StartTime > 'tomorrow'"),
        r"wrong at column 13: StartTime takes a time as '2026-.*, not 'tomorrow'",
    ),
}


async def test_what_a_client_gets_wrong_is_refused_by_the_call(client: Client) -> None:
    async with asyncio.timeout(60), Worker(client, task_queue=QUEUE, workflows=[Book]):
        before = await client.count_workflows()
        for what, (call, said) in REFUSED.items():
            with pytest.raises(Exception, match=said) as refused:
                await call(client)
            assert "\n" not in str(refused.value), what
        assert (await client.count_workflows()).count == before.count


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, r"the worker has nothing to do: give it activities, workflows or both"),
        ({"workflows": [Entry]}, r"Entry is no workflow: give a class with @workflow.defn above"),
        (
            {"activities": [unwritable]},
            rf"unwritable \({HERE}\) is no activity: put @activity.defn",
        ),
        ({"workflows": [Book], "task_queue": ""}, r"the task queue is empty: give it a name"),
    ],
)
async def test_what_a_worker_is_given_wrongly_is_refused_when_it_is_made(
    client: Client, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Worker(client, **{"task_queue": QUEUE, **options})


class WriteOnly(DefaultPayloadConverter):
    """As one that encrypts for the other side alone."""

    def from_payloads(self, payloads: Any, type_hints: Any = None) -> list[Any]:
        raise AssertionError("only the other side can read it")


def test_a_converter_of_the_users_is_not_asked_to_read_back() -> None:
    converter = records_converter(DataConverter(payload_converter_class=WriteOnly))
    signature = Signature.of(Book.run, is_method=True, where="here")

    assert len(arguments_for("a call", ["text"], converter, signature)) == 1
    with pytest.raises(TypeError, match=r"a call \(here\) takes 1 argument \(entry\), .* given 0"):
        arguments_for("a call", [], converter, signature)
