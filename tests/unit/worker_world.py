"""What tests of the activity worker share: its topics, tasks to run, and what it has reported."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from perdure_actors.definitions.registry import ActivityRegistry
from perdure_actors.worker.activity_worker import ActivityWorker, ActivityWorkerSettings
from perdure_schemas.avro import decode, decode_as, encode
from perdure_schemas.commands import WorkerLease
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_schemas.payloads import Record
from perdure_schemas.replies import CanceledAttempt, Reply, WorkerOrders
from perdure_schemas.tasks import ActivityTask
from perdure_topics.ports import Headers, TopicSpec
from tests.unit.memory_log import MemoryLog

TASKS = "default.orders.tasks"
COMMANDS = "default.orders.commands"
REPLIES = "default.replies"
CONVERTER = DefaultPayloadConverter()
R = TypeVar("R", bound=Record)


def make_log() -> MemoryLog:
    log = MemoryLog()
    specs = [(TASKS, 2), (COMMANDS, 3), (REPLIES, 2)]
    log.create_topics([TopicSpec(name, count, 1, {}) for name, count in specs])
    return log


def make_task(number: int = 1, activity_type: str = "work", **fields: Any) -> ActivityTask:
    args = fields.pop("args", ())
    settings: dict[str, Any] = {
        "workflow_id": f"order-{number}",
        "run_id": f"run-{number}",
        "workflow_type": "Order",
        "activity_id": "1",
        "activity_type": activity_type,
        "attempt": 1,
        "token": b"token-%d" % number,
        "commands_topic": COMMANDS,
        "partition": 1,
        "input": CONVERTER.to_payloads(args),
        "namespace": "default",
        "task_queue": "orders",
    }
    return ActivityTask(**settings | fields)


class HostSide:
    """The host's end of the log: sends tasks and orders, reads commands."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log

    def send(self, task: ActivityTask, *, partition: int = 0, headers: Headers = ()) -> int:
        return self.log.put(TASKS, partition, encode(task), headers=headers)

    def commands(self, kind: type[R]) -> list[R]:
        """What was reported of one kind, over all partitions of all commands topics."""
        records = [
            decode(record.value)
            for name, partitions in self.log.topics.items()
            if name.endswith(".commands")
            for partition in partitions
            for record in partition
        ]
        return [record for record in records if isinstance(record, kind)]

    def reports(self) -> list[Record]:
        """All that was reported to partition 1, but for leases, in order."""
        records = [decode(record.value) for record in self.log.topics[COMMANDS][1]]
        return [record for record in records if not isinstance(record, WorkerLease)]

    async def first(self, kind: type[R]) -> R:
        """Wait for a report of a kind."""
        await self.log.until(lambda: self.commands(kind))
        return self.commands(kind)[0]

    def answer(self, partition: int, correlation_id: str, orders: WorkerOrders) -> None:
        reply = Reply(correlation_id=correlation_id, body=encode(orders))
        self.log.put(REPLIES, partition, encode(reply))

    def grant(self, claim: Any, *, granted: bool = True, reason: str = "") -> None:
        """Answer a claim."""
        orders = WorkerOrders(token=claim.token, granted=granted, reason=reason)
        self.answer(claim.reply.partition, claim.reply.correlation_id, orders)

    def cancel(self, token: bytes, reason: str = "cancel_requested") -> None:
        """Push a cancellation to the worker, as its newest lease says where."""
        lease = self.commands(WorkerLease)[-1]
        orders = WorkerOrders(canceled=[CanceledAttempt(token=token, reason=reason)])
        self.answer(lease.reply_partition, lease.worker_id, orders)


class WorkerWorld:
    """A running worker and its host's end."""

    def __init__(self, log: MemoryLog, worker: ActivityWorker, run: asyncio.Task[None]) -> None:
        self.log = log
        self.host = HostSide(log)
        self.worker = worker
        self.run = run

    async def stop(self) -> None:
        self.worker.stop()
        await self.run


@asynccontextmanager
async def worker_world(
    activities: Sequence[Callable[..., Any]], **options: Any
) -> AsyncIterator[WorkerWorld]:
    """A worker that owns both partitions of the tasks topic."""
    log = options.pop("log", None) or make_log()
    executor = options.pop("executor", None)
    redelivery_end = options.pop("redelivery_end", 0)
    settings: dict[str, Any] = {
        "namespace": "default",
        "task_queue": "orders",
        "identity": "worker@test",
    }
    worker = ActivityWorker(
        log,
        ActivityWorkerSettings(**settings | options),
        activities=ActivityRegistry(activities),
        converter=CONVERTER,
        executor=executor,
    )
    run = asyncio.create_task(worker.run())
    await asyncio.wait(
        [run, asyncio.create_task(worker.wait_ready())], return_when="FIRST_COMPLETED"
    )
    for partition in (0, 1):
        log.readers[-1].assign(partition, redelivery_end=redelivery_end)
    world = WorkerWorld(log, worker, run)
    try:
        yield world
    finally:
        worker.stop()
        await asyncio.wait([run])


def value_of(payload: Any) -> Any:
    return None if payload is None else CONVERTER.from_payload(payload)


def lease_of(data: bytes | None) -> WorkerLease:
    return decode_as(WorkerLease, data)
