"""Triggers: one record that waits holds up its own key, and what is refused for now comes again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from perdure import workflow
from perdure.client import Client
from perdure.triggers import BadRecord, Signal, Start, TriggerRecord, Triggers, _Acting
from perdure.worker import Worker
from perdure_schemas.replies import Accepted, Refused
from perdure_topics.ports import StoredRecord
from perdure_views import keyed_work
from perdure_views.keyed_work import BadRecordError, KeyedWork, NotNowError
from tests.unit.scripted_host import ScriptedHost


def record(offset: int, key: str | None = None, value: bytes = b"") -> StoredRecord:
    return StoredRecord("t", 0, offset, key.encode() if key else None, value, (), 0)


class Work:
    """Records acted on as a test says, and what came of them."""

    def __init__(self) -> None:
        self.acted: list[int] = []
        self.buried: list[tuple[int, str]] = []
        self.done: list[int] = []
        self.away: set[int] = set()
        self.bad: set[int] = set()
        self.buries = True
        self.work = KeyedWork(self._act, self._bury, retry_s=0.01)

    async def _act(self, one: StoredRecord) -> None:
        if one.offset in self.away:
            raise NotNowError("its queue is away")
        if one.offset in self.bad:
            raise BadRecordError("no JSON")
        self.acted.append(one.offset)

    async def _bury(self, one: StoredRecord, reason: str) -> None:
        if not self.buries:
            raise RuntimeError("the dead-letter topic is away")
        self.buried.append((one.offset, reason))

    async def add(self, one: StoredRecord) -> None:
        await self.work.add(one, lambda: self.done.append(one.offset))

    async def settle(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.done) < count:  # noqa: ASYNC110 - several are done at once
                await asyncio.sleep(0.005)


async def test_one_that_waits_holds_up_its_own_key_only():
    work = Work()
    work.away = {0}
    for offset in range(300):
        await work.add(record(offset, "stuck" if offset % 10 == 0 else f"k{offset}"))
    await work.settle(270)
    assert not [offset for offset in work.done if offset % 10 == 0]

    work.away.clear()
    await work.settle(300)
    assert [offset for offset in work.acted if offset % 10 == 0] == list(range(0, 300, 10))


async def test_one_without_a_key_waits_for_nobody():
    work = Work()
    work.away = {1}
    for offset in range(3):
        await work.add(record(offset))
    await work.settle(2)
    work.work.close()

    assert sorted(work.done) == [0, 2]


async def test_a_bad_one_is_buried_and_is_not_done_with_before():
    work = Work()
    work.bad, work.buries = {0}, False
    await work.add(record(0, "k"))
    await work.add(record(1, "k"))
    await work.add(record(2, "other"))
    await work.settle(1)
    assert work.done == [2]

    work.buries = True
    await work.settle(3)
    assert work.buried == [(0, "no JSON")]
    assert work.done == [2, 0, 1]


async def test_no_more_is_taken_than_may_wait(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keyed_work, "PENDING_MAX", 2)
    work = Work()
    work.away = {0, 1}
    await work.add(record(0, "a"))
    await work.add(record(1, "b"))
    third = asyncio.create_task(work.add(record(2, "c")))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not third.done()

    work.away.clear()
    await third
    await work.settle(3)


@workflow.defn
class Order:
    @workflow.run
    async def run(self) -> str:
        return "placed"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    yield client
    await client.close()


def acting(client: Client, action: Any) -> Any:
    made = _Acting("", "default", "orders")
    made._client = client

    def maker(_record: TriggerRecord) -> Any:
        return action

    return made.of(maker)


@pytest.mark.parametrize("code", ["too_old", "busy", "too_many", "buffer_full", "unreadable"])
@pytest.mark.parametrize("kind", ["start", "signal"])
async def test_what_is_refused_for_now_is_asked_again_with_another_id(
    client: Client, code: str, kind: str
):
    def script(command: Any) -> Any:
        if command.request_id != "t-0-7~2":
            return Refused(code=code, message="not now")
        return Accepted(workflow_id=command.workflow_id, run_id="r", first_run_id="r")

    host = ScriptedHost(client.log, script)
    action = Start(Order.run) if kind == "start" else Signal("order-1", "remark")
    act = acting(client, action)
    for _ in range(2):
        with pytest.raises(NotNowError, match="not now"):
            await act(record(7))
    await act(record(7))
    host.stop()

    ids = [command.request_id for command in host.commands]
    assert ids == ["t-0-7", "t-0-7~1", "t-0-7~2"]
    # A workflow that is named after its record is the same one each time.
    assert len({command.workflow_id for command in host.commands}) == 1


@pytest.mark.parametrize("code", ["too_large", "not_found", "invalid"])
async def test_what_no_other_id_mends_is_a_dead_letter(client: Client, code: str):
    host = ScriptedHost(client.log, lambda _command: Refused(code=code, message="never"))

    with pytest.raises(BadRecordError, match="never"):
        await acting(client, Signal("order-1", "remark"))(record(7))
    host.stop()


async def test_a_record_that_comes_again_starts_nothing_twice(client: Client):
    async with Worker(client, task_queue="orders", workflows=[Order]):
        for _ in range(2):
            await acting(client, Start("Order", id="order-1"))(record(7))
        found = await client.count_workflows("WorkflowType = 'Order'")

    assert found.count == 1


@dataclass
class Placed:
    total: int


def read(maker: Any, value: bytes = b'{"total": 3}', headers: Any = ()) -> Any:
    triggers = Triggers("t")
    triggers.on("orders")(maker)
    ((reader, _),) = triggers._makers.values()
    return reader(TriggerRecord("orders", 1, 7, b"o-1", value, headers, datetime.now(UTC)))


def test_a_function_is_given_what_its_parameters_name():
    def placed(
        order: Placed, key: str, headers: dict[str, str], request_id: str, offset: int
    ) -> list[Any]:
        return [order, key, headers, request_id, offset]

    assert read(placed, headers=[("a", b"b")]) == [
        Placed(3),
        "o-1",
        {"a": "b"},
        "orders-1-7",
        7,
    ]


def test_a_function_of_one_record_is_given_that():
    def by_type(whatever: TriggerRecord) -> Any:
        return whatever

    assert read(by_type).offset == 7
    assert read(lambda record: record).offset == 7


@pytest.mark.parametrize(
    ("value", "headers", "told"),
    [(b"no JSON", (), "value"), (b"{}", (), "total"), (b'{"total": 1}', [("a", b"\xff")], "text")],
)
def test_what_cannot_be_read_as_its_parameters_is_a_bad_record(value, headers, told):
    def placed(order: Placed, headers: dict[str, str]) -> None:
        """Nothing."""

    with pytest.raises(BadRecord, match=told):
        read(placed, value, headers)


def test_a_function_that_wants_two_values_is_refused_at_once():
    def two(one: dict[str, int], other: dict[str, int]) -> None:
        """Nothing."""

    with pytest.raises(TypeError, match="two wants one, other of a record"):
        read(two)


async def test_many_records_at_once_share_one_client(tmp_path: Path):
    made = _Acting(f"file:{tmp_path}", "default", "orders")

    clients = await asyncio.gather(*(made._connected() for _ in range(20)))

    assert len(set(map(id, clients))) == 1
    await clients[0].close()


async def test_a_record_may_bring_its_own_request_id(client: Client):
    asked: list[Any] = []

    def script(command: Any) -> Any:
        asked.append((command.request_id, command.workflow_id))
        return Accepted(workflow_id=command.workflow_id, run_id="r", first_run_id="r")

    host = ScriptedHost(client.log, script)
    await acting(client, Start("Order", request_id="theirs"))(record(7))
    host.stop()

    assert asked == [("theirs", "t-0-7")]
