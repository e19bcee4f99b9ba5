"""Calls from workflows that the type checker accepts, and wrong ones that it must refuse.

Each wrong call carries the error it must be; strict mypy reports an ignore that nothing needs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_type

from perdure import workflow
from perdure.common import RetryPolicy, SearchAttributeKey, SearchAttributePair
from perdure.common import TypedSearchAttributes as Attributes

MINUTE = timedelta(minutes=1)


@dataclass
class Order:
    order_id: str


async def charge(order: Order) -> int:
    return len(order.order_id)


def refund(order: Order) -> str:
    return order.order_id


async def ping() -> None: ...


async def transfer(source: str, target: str, amount: float) -> bool:
    return source != target and amount > 0


class Desk:
    async def file(self, paper: str) -> bytes:
        return paper.encode()

    def count(self) -> int:
        return 0


async def right(order: Order) -> None:
    assert_type(await workflow.execute_activity(charge, order, start_to_close_timeout=MINUTE), int)
    assert_type(await workflow.execute_activity(refund, order, start_to_close_timeout=MINUTE), str)
    await workflow.execute_activity(ping, schedule_to_close_timeout=MINUTE)
    assert_type(
        await workflow.execute_activity(
            transfer, args=["a", "b", 1.0], start_to_close_timeout=MINUTE
        ),
        bool,
    )
    assert_type(
        await workflow.execute_activity(
            "charge", order, result_type=int, start_to_close_timeout=MINUTE
        ),
        int,
    )
    handle = workflow.start_activity(charge, order, start_to_close_timeout=MINUTE)
    assert_type(handle, workflow.ActivityHandle[int])
    task: asyncio.Task[int] = handle
    assert_type(await task, int)
    assert_type(
        await workflow.execute_activity_method(Desk.file, "x", start_to_close_timeout=MINUTE),
        bytes,
    )
    assert_type(
        await workflow.execute_activity_method(Desk.count, start_to_close_timeout=MINUTE), int
    )
    config = workflow.ActivityConfig(
        start_to_close_timeout=MINUTE, retry_policy=RetryPolicy(maximum_attempts=1)
    )
    assert_type(await workflow.execute_activity(charge, order, **config), int)
    first, second = await asyncio.gather(
        workflow.execute_activity(charge, order, start_to_close_timeout=MINUTE),
        workflow.execute_activity(refund, order, start_to_close_timeout=MINUTE),
    )
    assert_type(first, int)
    assert_type(second, str)


async def wrong(order: Order) -> None:
    run, start = workflow.execute_activity, workflow.start_activity
    await run(charge, "order", start_to_close_timeout=MINUTE)  # type: ignore[arg-type]
    await run(charge, start_to_close_timeout=MINUTE)  # type: ignore[arg-type]
    await run(charge, order, start_to_close_timeout=60)  # type: ignore[call-overload]
    await run(charge, order, start_to_close=MINUTE)  # type: ignore[call-overload]
    await run(ping, order, start_to_close_timeout=MINUTE)  # type: ignore[arg-type]
    start(charge, 1, start_to_close_timeout=MINUTE)  # type: ignore[arg-type]
    method = workflow.start_activity_method
    method(Desk.file, 1, start_to_close_timeout=MINUTE)  # type: ignore[misc]
    text: str = await run(charge, order, start_to_close_timeout=MINUTE)  # type: ignore[arg-type]
    await workflow.wait_condition(lambda: True, 5)  # type: ignore[call-arg]
    workflow.info().workflow_id = text  # type: ignore[misc]


@workflow.defn
class Right:
    @workflow.run
    async def run(self, order: Order) -> int:
        return 1


class Wrong:
    @workflow.run  # type: ignore[type-var]
    def run(self) -> int:
        return 1


def decorating() -> None:
    assert_type(Right().run(Order("1")).__class__, type)  # type: ignore[assert-type]
    workflow.defn(7)  # type: ignore[call-overload]
    workflow.defn(name="x", dynamic=True)  # type: ignore[call-overload]


def attributes() -> None:
    amount = SearchAttributeKey.for_float("amount")
    word = SearchAttributeKey.for_keyword("word")
    found = Attributes([SearchAttributePair(amount, 1.0), SearchAttributePair(word, "x")])
    assert_type(found[amount], float)
    assert_type(found.get(word), str | None)
    amount.value_set("much")  # type: ignore[arg-type]


def number() -> int:
    return 7


async def noted() -> None:
    assert_type(workflow.patched("a"), bool)
    assert_type(workflow.side_effect(number), int)
    assert_type(workflow.side_effect(number, type_hint=str), str)
    assert_type(workflow.mutable_side_effect("level", number), int)
    workflow.upsert_search_attributes([SearchAttributeKey.for_int("Amount").value_set(7)])
    workflow.emit("orders", "o-1", {"paid": True}, headers={"kind": b"paid"})


async def noted_wrongly() -> None:
    workflow.side_effect(7)  # type: ignore[call-overload]
    workflow.mutable_side_effect(number)  # type: ignore[call-overload]
    workflow.patched(7)  # type: ignore[arg-type]
    SearchAttributeKey.for_int("Amount").value_set("7")  # type: ignore[arg-type]
    workflow.emit("orders", 7, None)  # type: ignore[arg-type]


class Wants:
    async def run(self, order: Order, times: int) -> bytes:
        return order.order_id.encode() * times


async def children(order: Order) -> None:
    handle = await workflow.start_child_workflow(
        Right.run, order, parent_close_policy=workflow.ParentClosePolicy.ABANDON
    )
    assert_type(handle, workflow.ChildWorkflowHandle[Right, int])
    assert_type(await handle, int)
    assert_type(await workflow.execute_child_workflow(Right.run, order, id="kid"), int)
    assert_type(await workflow.execute_child_workflow(Wants.run, args=[order, 2]), bytes)
    await workflow.execute_child_workflow("Right", order, result_type=int)
    await workflow.execute_child_workflow(Right.run, 7)  # type: ignore[misc]
    await workflow.execute_child_workflow(Right.run, order, id=7)  # type: ignore[call-overload]
    await workflow.start_child_workflow(Right.run, order, timeout=5)  # type: ignore[call-overload]


async def local(order: Order) -> None:
    assert_type(
        await workflow.execute_local_activity(charge, order, start_to_close_timeout=MINUTE), int
    )
    assert_type(
        await workflow.execute_local_activity_method(
            Desk.file, "x", schedule_to_close_timeout=MINUTE, local_retry_threshold=MINUTE
        ),
        bytes,
    )
    handle = workflow.start_local_activity(ping, start_to_close_timeout=MINUTE)
    assert_type(handle, workflow.ActivityHandle[None])


async def local_wrongly(order: Order) -> None:
    run = workflow.execute_local_activity
    await run(charge, 7, start_to_close_timeout=MINUTE)  # type: ignore[arg-type]
    await run(charge, order, heartbeat_timeout=MINUTE)  # type: ignore[call-overload]
    await run(charge, order, task_queue="other")  # type: ignore[call-overload]


@workflow.defn
class Heard:
    @workflow.run
    async def run(self) -> None: ...

    @workflow.signal
    async def note(self, text: str) -> None: ...


async def others(order: Order) -> None:
    heard: workflow.ExternalWorkflowHandle[Heard] = workflow.get_external_workflow_handle_for(
        Heard.run, "h", task_queue="far"
    )
    await heard.signal(Heard.note, "a")
    await heard.signal("note", "a")
    await heard.cancel(reason="enough")
    child = await workflow.start_child_workflow(Heard.run)
    await child.signal(Heard.note, "a")
    await heard.signal(Heard.note, 7)  # type: ignore[call-overload]
    await child.signal(Heard.note, 7)  # type: ignore[call-overload]
