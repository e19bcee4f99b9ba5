"""Describe, history, lists and counts as a client reads them, and handles without a queue."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from perdure.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    RPCError,
    RPCStatusCode,
    WorkflowContinuedAsNewError,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowHistory,
    WorkflowHistoryEventFilterType,
)
from perdure_schemas import events
from perdure_schemas.avro import encode
from perdure_schemas.commands import (
    AwaitResult,
    CancelWorkflow,
    DescribeWorkflow,
    ListWorkflows,
    ReadHistory,
    TerminateWorkflow,
)
from perdure_schemas.payloads import Payload
from perdure_schemas.replies import (
    Accepted,
    Block,
    HistoryBatch,
    HistoryPage,
    Refused,
    RunClosed,
    RunDescription,
    RunGroup,
    RunPage,
    RunSummary,
)
from perdure_topics.task_queue_topics import create_topics
from tests.unit.orders_workflow import Order, OrdersWorkflow, Receipt
from tests.unit.scripted_host import ScriptedHost


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    yield client
    await client.close()


def summary(workflow_id: str, start_ms: int, status: str = "running", **more: Any) -> RunSummary:
    return RunSummary(
        workflow_id=workflow_id,
        run_id=f"run of {workflow_id}",
        workflow_type="Orders",
        status=status,
        start_ms=start_ms,
        task_queue="orders",
        **more,
    )


def batch(seq: int, *found: Any) -> HistoryBatch:
    return HistoryBatch(
        offset=seq, pseq=seq, time_ms=1000 * seq, seq=seq, events=[encode(e) for e in found]
    )


STARTED = events.WorkflowStarted(workflow_type="Orders", input=[Payload(data=b"1")])
TIMER = events.TimerStarted(timer_id="1", duration_ms=5)
FIRED = events.TimerFired(timer_id="1")
COMPLETED = events.WorkflowCompleted(result=Payload(data=b"2"))


async def test_runs_of_all_partitions_come_as_one_list_newest_first(client: Client) -> None:
    runs = {0: [90, 70, 20], 1: [80, 60, 50, 10]}

    def script(ask: ListWorkflows) -> RunPage:
        begin = int(ask.page_token or b"0")
        mine = runs[ask.partition]
        page = mine[begin : begin + 2]
        more = begin + 2 < len(mine)
        return RunPage(
            runs=[encode(summary(f"o-{at}", at)) for at in page],
            ranks=[bytes([255 - at]) for at in page],
            next_page_token=str(begin + 2).encode() if more else b"",
        )

    host = ScriptedHost(client.log, script)

    listed = [run.id async for run in client.list_workflows()]
    first_four = [run.id async for run in client.list_workflows(limit=4, page_size=3)]
    by_pages_of_nobody = [
        [run.id async for run in client.list_workflows(page_size=size)] for size in (0, -1)
    ]
    none = [run.id async for run in client.list_workflows(limit=-1)]
    host.stop()

    assert listed == [f"o-{at}" for at in (90, 80, 70, 60, 50, 20, 10)]
    assert first_four == listed[:4]
    assert by_pages_of_nobody == [listed, listed]
    assert none == []


async def test_a_list_goes_on_from_its_token_where_it_was_left(client: Client) -> None:
    runs = {0: [90, 70, 20], 1: [80, 60, 50, 10]}

    def script(ask: ListWorkflows) -> RunPage:
        mine = runs[ask.partition]
        return RunPage(
            runs=[encode(summary(f"o-{at}", at)) for at in mine],
            ranks=[bytes([255 - at]) for at in mine],
        )

    host = ScriptedHost(client.log, script)
    first = client.list_workflows(page_size=3)
    await first.fetch_next_page()
    assert first.current_page is not None
    before = [run.id for run in first.current_page]
    second = client.list_workflows(next_page_token=first.next_page_token)
    after = [run.id async for run in second]
    host.stop()

    assert before == ["o-90", "o-80", "o-70"]
    assert after == ["o-60", "o-50", "o-20", "o-10"]
    assert second.next_page_token is None


async def test_the_runs_of_partitions_are_merged_by_rank_alone(client: Client) -> None:
    stuck = summary("stuck", 1, "blocked", block=Block(cause="error", message="KeyError: 'x'"))
    pages = {
        0: RunPage(runs=[encode(summary("new", 99))], ranks=[b"1a"]),
        1: RunPage(runs=[encode(stuck), encode(summary("old", 2))], ranks=[b"0z", b"1b"]),
    }
    host = ScriptedHost(client.log, lambda ask: pages[ask.partition])

    listed = [run async for run in client.list_workflows("TaskQueue = 'orders'")]
    host.stop()

    assert [run.id for run in listed] == ["stuck", "new", "old"]
    assert listed[0].status == WorkflowExecutionStatus.BLOCKED
    assert listed[0].block is not None
    assert listed[0].block.message == "KeyError: 'x'"
    assert {command.query for command in host.commands} == {"TaskQueue = 'orders'"}


async def test_counts_of_all_partitions_and_pages_are_added(client: Client) -> None:
    def script(ask: ListWorkflows) -> RunPage:
        groups = [RunGroup(values=[Payload(data=b'"Running"')], count=10 + ask.partition)]
        more = b"" if ask.page_token else b"more"
        return RunPage(count=10 + ask.partition, groups=groups, next_page_token=more)

    host = ScriptedHost(client.log, script)

    found = await client.count_workflows("GROUP BY ExecutionStatus")
    host.stop()

    assert found.count == 42
    assert [(group.count, group.group_values) for group in found.groups] == [(42, ["Running"])]
    assert all(command.count_only for command in host.commands)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("WorkflowType == 'Orders'", "wrong at column 15"),
        ("GROUP BY ExecutionStatus", "GROUP BY is for counts"),
    ],
)
async def test_a_wrong_filter_is_refused_before_it_is_asked(
    client: Client, query: str, says: str
) -> None:
    with pytest.raises(RPCError, match=says) as caught:
        client.list_workflows(query)

    assert caught.value.status == RPCStatusCode.INVALID_ARGUMENT


async def test_a_history_is_read_to_its_end_page_by_page_and_of_one_run(client: Client) -> None:
    def script(ask: ReadHistory) -> HistoryPage:
        if ask.from_seq == 1:
            batches, next_seq = [batch(1, STARTED, TIMER)], 3
        else:
            batches, next_seq = [batch(3, FIRED, COMPLETED)], 5
        return HistoryPage(
            run_id="run-1",
            status="completed",
            batches=batches,
            next_seq=next_seq,
            more=next_seq < 5,
        )

    host = ScriptedHost(client.log, script)
    handle = client.get_workflow_handle("o-1", task_queue="orders")

    history = await handle.fetch_history()
    closing = await handle.fetch_history(
        event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT
    )
    host.stop()

    assert [event.event for event in history.events] == [STARTED, TIMER, FIRED, COMPLETED]
    assert [event.event_id for event in history.events] == [1, 2, 3, 4]
    assert [event.event_time.second for event in history.events] == [1, 1, 3, 3]
    assert history.run_id == "run-1"
    assert [command.run_id for command in host.commands] == ["", "run-1", "", "run-1"]
    assert [event.event for event in closing.events] == [COMPLETED]


async def test_a_history_is_the_same_after_json(client: Client) -> None:
    page = HistoryPage(
        run_id="run-1", status="completed", batches=[batch(1, STARTED, COMPLETED)], next_seq=3
    )
    host = ScriptedHost(client.log, lambda _: page)

    history = await client.get_workflow_handle("o-1", task_queue="orders").fetch_history()
    host.stop()

    assert WorkflowHistory.from_json("o-1", history.to_json()) == history
    with pytest.raises(ValueError, match="no history as JSON"):
        WorkflowHistory.from_json(
            "o-1", '{"events": [{"eventId": "1", "perdure": {"type": "Nonsense"}}]}'
        )


async def test_a_handle_without_a_queue_finds_it_once(client: Client) -> None:
    description = RunDescription(summary=summary("o-1", 1))
    shops = ScriptedHost(
        client.log, lambda _: Refused(code="not_found", message="no"), task_queue="shops"
    )
    orders = ScriptedHost(client.log, lambda _: description)
    handle = client.get_workflow_handle("o-1")

    found = await handle.describe()
    await handle.describe()
    shops.stop()
    orders.stop()

    assert found.status == WorkflowExecutionStatus.RUNNING
    assert [type(command) for command in shops.commands] == [DescribeWorkflow]
    assert len(orders.commands) == 3


async def test_an_id_on_two_queues_is_an_error_that_names_both(client: Client) -> None:
    description = RunDescription(summary=summary("o-1", 1))
    hosts = [
        ScriptedHost(client.log, lambda _: description, task_queue=queue)
        for queue in ("orders", "shops")
    ]

    with pytest.raises(RPCError, match="'orders', 'shops': say which"):
        await client.get_workflow_handle("o-1").describe()
    for host in hosts:
        host.stop()


async def test_an_id_that_no_queue_knows_is_not_found(client: Client) -> None:
    hosts = [
        ScriptedHost(
            client.log, lambda _: Refused(code="not_found", message="no"), task_queue=queue
        )
        for queue in ("orders", "shops")
    ]

    with pytest.raises(RPCError, match=r"knows a workflow 'o-1' \(asked: orders, shops\)"):
        await client.get_workflow_handle("o-1").describe()
    for host in hosts:
        host.stop()


@pytest.mark.parametrize("workflow_id", ["", "a\nb", 5])
async def test_an_id_that_cannot_be_is_refused_once(client: Client, workflow_id: Any) -> None:
    hosts = [
        ScriptedHost(client.log, lambda _: Refused(code="not_found", message=""), task_queue=queue)
        for queue in ("orders", "shops")
    ]
    untold: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: untold.append(told))

    with pytest.raises((ValueError, TypeError), match="workflow id"):
        await client.get_workflow_handle(workflow_id).describe()
    gc.collect()
    await asyncio.sleep(0)
    for host in hosts:
        host.stop()

    assert untold == []


async def test_a_namespace_without_queues_says_so(client: Client) -> None:
    with pytest.raises(RPCError, match=r"there is no topic default\.\*"):
        await client.get_workflow_handle("o-1").describe()


async def test_cancel_and_terminate_say_who_and_why(client: Client) -> None:
    host = ScriptedHost(client.log, lambda _: Accepted(workflow_id="o-1", run_id="r"))
    handle = client.get_workflow_handle(
        "o-1", run_id="r", first_execution_run_id="r0", task_queue="orders"
    )

    await handle.cancel(reason="changed my mind")
    await handle.terminate("detail", 7, reason="enough")
    host.stop()

    cancel, terminate = host.commands
    assert isinstance(cancel, CancelWorkflow)
    assert isinstance(terminate, TerminateWorkflow)
    assert (cancel.run_id, cancel.first_run_id, cancel.reason) == ("r", "r0", "changed my mind")
    assert [detail.data for detail in terminate.details] == [b'"detail"', b"7"]
    assert (terminate.reason, terminate.identity) == ("enough", client.identity)


async def test_who_cancels_what_has_closed_is_content(client: Client) -> None:
    host = ScriptedHost(
        client.log,
        lambda _: Refused(code="closed", message="workflow 'o-1' is completed already"),
        task_queue="orders",
    )
    handle = client.get_workflow_handle("o-1", task_queue="orders")

    await handle.cancel()
    with pytest.raises(RPCError, match="is completed already") as refused:
        await handle.terminate()
    host.stop()

    assert refused.value.status is RPCStatusCode.NOT_FOUND


async def test_a_result_is_followed_over_runs_or_not(client: Client) -> None:
    def script(ask: AwaitResult) -> RunClosed:
        if ask.run_id == "second":
            result = Payload(data=b'{"order_id":"1","paid":3}')
            return RunClosed(workflow_id="o", run_id="second", status="completed", result=result)
        return RunClosed(
            workflow_id="o", run_id="first", status="continued_as_new", next_run_id="second"
        )

    host = ScriptedHost(client.log, script)
    handle = client.get_workflow_handle_for(OrdersWorkflow.run, "o", task_queue="orders")

    followed = await handle.result()
    with pytest.raises(WorkflowContinuedAsNewError) as caught:
        await handle.result(follow_runs=False)
    host.stop()

    assert followed == Receipt("1", 3)
    assert caught.value.new_execution_run_id == "second"


async def test_interceptors_see_calls_in_their_order(tmp_path: Path) -> None:
    seen: list[str] = []

    class Writing(Interceptor):
        def __init__(self, name: str) -> None:
            self.name = name

        def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
            name = self.name

            class Link(OutboundInterceptor):
                async def start_workflow(self, input: Any) -> WorkflowHandle[Any, Any]:
                    seen.append(f"{name} {input.workflow}")
                    input.memo = {**(input.memo or {}), name: True}
                    return await self.next.start_workflow(input)

            return Link(next)

    client = await Client.connect(
        f"file:{tmp_path}", interceptors=[Writing("outer"), Writing("inner")]
    )
    host = ScriptedHost(client.log, lambda _: Accepted(workflow_id="o", run_id="r"))

    await client.start_workflow(OrdersWorkflow.run, Order("1", 1), id="o", task_queue="orders")
    host.stop()
    await client.close()

    assert seen == ["outer Orders", "inner Orders"]
    assert list(host.commands[0].memo) == ["outer", "inner"]


async def test_a_task_queue_is_described_partition_by_partition(client: Client) -> None:
    create_topics(client.log, "default", "orders", partitions=2)
    waiting = asyncio.create_task(client.describe_task_queue("orders"))
    from perdure_schemas.replies import TaskQueueInfo

    host = ScriptedHost(
        client.log,
        lambda ask: TaskQueueInfo(partition=ask.partition, epoch=1, pseq=2, upto=3, owner="me"),
    )

    infos = await waiting
    host.stop()

    assert [(info.partition, info.owner) for info in infos] == [(0, "me"), (1, "me")]


async def test_an_answer_to_something_else_is_left_aside(client: Client) -> None:
    def script(ask: DescribeWorkflow) -> list[Any]:
        forged = RunDescription(summary=summary("another", 1))
        of_another_kind = HistoryPage(run_id="r", status="running", next_seq=1)
        return [forged, of_another_kind, RunDescription(summary=summary(ask.workflow_id, 2))]

    host = ScriptedHost(client.log, script)

    described = await client.get_workflow_handle("o-1", task_queue="orders").describe()
    host.stop()

    assert described.id == "o-1"


async def test_an_answer_of_a_partition_that_was_not_asked_is_left_aside(client: Client) -> None:
    host = ScriptedHost(client.log, lambda _: None)
    described = asyncio.create_task(
        client.get_workflow_handle("o-1", task_queue="orders").describe()
    )
    await host.seen(1)
    (ask,) = host.commands

    host.answer(ask, RunDescription(summary=summary("o-1", 1)), partition=7)
    host.answer(ask, RunDescription(summary=summary("o-1", 2_000)))
    found = await described
    host.stop()

    assert found.start_time.timestamp() == 2


async def test_who_has_seen_an_id_of_an_ask_does_not_know_the_next(client: Client) -> None:
    host = ScriptedHost(client.log, lambda ask: RunDescription(summary=summary(ask.workflow_id, 1)))
    handle = client.get_workflow_handle("o-1", task_queue="orders")

    for _ in range(3):
        await handle.describe()
    host.stop()

    ids = [command.reply.correlation_id for command in host.commands]
    assert len({one[:8] for one in ids}) == len(ids) == 3
