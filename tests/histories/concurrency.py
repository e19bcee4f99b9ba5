"""The workflows of golden histories of asyncio, and of calls. A new step gets a new workflow."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from perdure import workflow
from perdure.exceptions import ActivityError
from tests.histories.workflows import step


@workflow.defn
class Locking:
    """Three tasks share a lock, four a semaphore of two; who comes first goes first."""

    @workflow.run
    async def run(self) -> list[str]:
        lock, places, log = asyncio.Lock(), asyncio.Semaphore(2), list[str]()

        async def alone(name: str) -> None:
            async with lock:
                log.append(await step("alone", name))

        async def among(name: str) -> None:
            async with places:
                log.append(await step("among", name))

        await asyncio.gather(*(alone(name) for name in "abc"))
        await asyncio.gather(*(among(name) for name in "defg"))
        return log


@workflow.defn
class Queueing:
    """Two workers drain a bounded queue that a third task fills; the most urgent come first."""

    @workflow.run
    async def run(self) -> list[str]:
        urgent: asyncio.PriorityQueue[tuple[int, str]] = asyncio.PriorityQueue()
        work: asyncio.Queue[str] = asyncio.Queue(maxsize=1)
        done: list[str] = []

        async def fill() -> None:
            for place in (3, 1, 2):
                urgent.put_nowait((place, f"job-{place}"))
            while not urgent.empty():
                await work.put((await urgent.get())[1])

        async def drain(name: str) -> None:
            while True:
                job = await work.get()
                done.append(f"{name} {await step('do', job)}")
                work.task_done()

        workers = [asyncio.create_task(drain(name)) for name in ("x", "y")]
        await fill()
        await work.join()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return done


@workflow.defn
class Grouping:
    """One of a group fails; the other is cancelled, and both are known afterwards."""

    @workflow.run
    async def run(self) -> str:
        ended: list[str] = []

        async def patient() -> None:
            try:
                await step("patient")
            except asyncio.CancelledError:
                ended.append("patient cancelled")
                raise

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(step("hasty"), name="hasty")
                group.create_task(patient(), name="patient")
        except* ActivityError as errors:
            ended.append(f"{len(errors.exceptions)} failed")
        return ", ".join(ended)


@workflow.defn
class Timing:
    """Timeouts within timeouts: the inner one, the outer one, and one that is moved."""

    @workflow.run
    async def run(self) -> list[str]:
        said = []
        try:
            async with asyncio.timeout(60):
                await asyncio.wait_for(step("slow"), timeout=5)
        except TimeoutError:
            said.append("inner")
        try:
            async with asyncio.timeout(3):
                await asyncio.wait_for(asyncio.Event().wait(), timeout=30)
        except TimeoutError:
            said.append("outer")
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(1) as moved:
            moved.reschedule(loop.time() + 20)
            await asyncio.sleep(10)
            said.append("moved")
        return said


@workflow.defn
class Shielding:
    """Who waits gives up; what was shielded goes on to its end."""

    @workflow.run
    async def run(self) -> str:
        pay = asyncio.create_task(step("pay"))
        try:
            await asyncio.wait_for(asyncio.shield(pay), timeout=2)
        except TimeoutError:
            await step("apologise")
        return f"paid {await pay}"


@workflow.defn
class Completing:
    """Results as they come, the first of some, and a condition that many wait for."""

    @workflow.run
    async def run(self) -> list[Any]:
        seen: list[Any] = []
        for coming in workflow.as_completed([step("part", n) for n in range(3)]):
            seen.append(await coming)
        tasks = [asyncio.create_task(step("racer", n), name=str(n)) for n in range(2)]
        tasks.append(asyncio.create_task(asyncio.sleep(30), name="clock"))
        done, rest = await workflow.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        seen += sorted(task.get_name() for task in done)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        gate, ready = asyncio.Condition(), list[str]()

        async def wait_for(count: int) -> None:
            async with gate:
                await gate.wait_for(lambda: len(ready) >= count)
                seen.append(f"{count} ready")

        waiting = [asyncio.create_task(wait_for(count)) for count in (2, 1)]
        for name in "pq":
            await asyncio.sleep(timedelta(seconds=1).total_seconds())
            async with gate:
                ready.append(name)
                gate.notify_all()
        await asyncio.gather(*waiting)
        return seen


@workflow.defn
class Calling:
    """Another workflow is signalled and started where it does not run; then signalled again."""

    @workflow.run
    async def run(self, cart: str) -> str:
        handle = await workflow.signal_with_start_workflow(
            "Cart", "ada", id=cart, task_queue="carts", signal="add", signal_args=["lamp", 2]
        )
        await handle.signal("close")
        return f"{handle.id} {handle.run_id}"
