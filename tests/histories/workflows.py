"""The workflows of the golden histories. Their steps never change: a new one gets a new name."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from perdure import workflow
from perdure._schedules.scheduler import Scheduler
from perdure.common import RetryPolicy, SearchAttributeKey
from perdure.exceptions import ActivityError, ApplicationError, ChildWorkflowError

__all__ = ["Scheduler"]  # the built-in workflow of schedules has golden histories, too
MINUTE = timedelta(minutes=1)
STAGE = SearchAttributeKey.for_keyword("Stage")


@dataclass
class Order:
    order_id: str
    amount: float


async def step(name: str, *args: Any, **options: Any) -> Any:
    return await workflow.execute_activity(
        name, args=args, start_to_close_timeout=MINUTE, **options
    )


@workflow.defn
class OrderSaga:
    """Charge, deduct, notify; a refund where deducting fails."""

    @workflow.run
    async def run(self, order: Order) -> str:
        policy = RetryPolicy(maximum_interval=MINUTE, maximum_attempts=5)
        payment = await step("charge_payment", order, retry_policy=policy)
        try:
            await step("deduct_inventory", order, retry_policy=policy)
        except ActivityError as error:
            await step("refund_payment", payment)
            raise ApplicationError("out of stock", type="OutOfStock") from error
        try:
            await step("send_notification", order.order_id)
        except ActivityError:
            return "shipped, not told"
        return "shipped"


@workflow.defn
class Race:
    """Three activities in a task group, under a timeout; the losers are cancelled."""

    @workflow.run
    async def run(self) -> str:
        try:
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                tasks = [group.create_task(step("runner", n)) for n in range(3)]
        except TimeoutError:
            return "nobody"
        return ",".join(str(task.result()) for task in tasks)


@workflow.defn
class Patient:
    """Waits for a condition that a sleeping task makes true, and tidies up when cancelled."""

    def __init__(self) -> None:
        self.is_ready = False

    @workflow.run
    async def run(self) -> str:
        waker = asyncio.create_task(self.wake())
        try:
            await workflow.wait_condition(lambda: self.is_ready, timeout=3600)
            name = f"report-{workflow.uuid4().hex[:8]}-{workflow.random().randint(1, 100)}"
            await step(name)
            await asyncio.sleep(60)
        finally:
            await step("tidy_up", workflow.cancellation_reason())
        await waker
        return "done"

    async def wake(self) -> None:
        await asyncio.sleep(5)
        self.is_ready = True


@workflow.defn
class Counter:
    """Continues as a new run after each step."""

    @workflow.run
    async def run(self, left: int) -> None:
        await asyncio.sleep(0.25)
        if left:
            workflow.continue_as_new(left - 1)


@workflow.defn
class Mended:
    """Blocked once by a bug, then resumed by fixed code."""

    @workflow.run
    async def run(self) -> list[Any]:
        return [await step("first"), await step("second")]


@workflow.defn
class Noting:
    """A patch, a deprecated one, side effects, memo, search attributes, and a record emitted."""

    @workflow.run
    async def run(self) -> str:
        number = workflow.side_effect(lambda: 7)
        if workflow.patched("new-step"):
            await step("new_step", number)
        workflow.deprecate_patch("older-step")
        level = workflow.mutable_side_effect("level", lambda: "low")
        workflow.upsert_memo({"level": level})
        workflow.upsert_search_attributes([STAGE.value_set("noted")])
        workflow.emit("orders", "o-1", {"level": level})
        await workflow.sleep(1)
        return workflow.mutable_side_effect("level", lambda: "high")


@workflow.defn
class Family:
    """Two children: one gives its result; the other is cancelled after a while."""

    @workflow.run
    async def run(self) -> str:
        kind = workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED
        first = await workflow.start_child_workflow("Kid", 1, id="first", result_type=int)
        second = await workflow.start_child_workflow(
            "Kid", 2, task_queue="elsewhere", cancellation_type=kind
        )
        value = await first
        second.cancel()
        try:
            await second
        except ChildWorkflowError as error:
            return f"{value}, {type(error.cause).__name__}"
        return f"{value}, and both"


@workflow.defn
class Entity:
    """An entity that is told things, one at a time, and begins anew when it was told enough."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.lock = asyncio.Lock()
        self.is_done = False

    @workflow.run
    async def run(self, carried: list[str]) -> list[str]:
        self.told = carried + self.told
        await workflow.wait_condition(lambda: self.is_done or len(self.told) >= 4)
        await workflow.wait_condition(workflow.all_handlers_finished)
        if not self.is_done:
            workflow.continue_as_new(self.told[-1:])
        return self.told

    @workflow.signal
    async def tell(self, what: str) -> None:
        async with self.lock:
            await step("note", what)
            self.told.append(what)

    @workflow.signal
    def finish(self) -> None:
        self.is_done = True

    @workflow.update
    async def tell_and_wait(self, what: str) -> int:
        async with self.lock:
            await asyncio.sleep(1)
            self.told.append(what)
        if what == "bad":
            raise ApplicationError("not to be told", type="Untold")
        return len(self.told)

    @tell_and_wait.validator
    def check_tell_and_wait(self, what: str) -> None:
        if not what:
            raise ValueError("nothing to tell")

    @workflow.query
    def all_told(self) -> list[str]:
        return self.told


@workflow.defn
class Operated:
    """Activities that its own host runs, that another process completes, and that people mend."""

    @workflow.run
    async def run(self) -> list[Any]:
        found: list[Any] = [
            await workflow.execute_local_activity("look_up", 1, start_to_close_timeout=MINUTE),
            await step("approve"),
        ]
        for name in ("refund", "mail"):
            try:
                found.append(await step(name, on_exhausted="pause"))
            except ActivityError as error:
                found.append(type(error.cause).__name__)
        return found
