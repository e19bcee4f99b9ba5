"""Endpoints of task queues: partitions, owners, lag, workers, open runs."""

from __future__ import annotations

import asyncio
from typing import Final

from perdure_schemas import commands
from perdure_schemas.payloads import Record
from perdure_schemas.replies import TaskQueueInfo, WorkerInfo
from perdure_views.gateway.backend import BackendError
from perdure_views.gateway.endpoints import Call, Endpoint, Param
from perdure_views.gateway.problems import expect
from perdure_views.gateway.shapes import PartitionShape, Queues, QueueShape, WorkerShape

QUEUE_ASK_S: Final = 5.0
"""A partition without a host is shown as such after this, not waited for."""


async def list_queues(call: Call) -> Queues:
    """The task queues of the namespace."""
    return Queues(task_queues=await call.backend.task_queues())


async def describe_queue(call: Call) -> QueueShape:
    """How a task queue stands, with the partitions that do not answer."""
    queue = call.text("queue")
    numbers = range(await call.backend.partitions(queue))
    infos = await asyncio.gather(*(_info(call, queue, number) for number in numbers))
    # Read behind the answers, so that nothing they count as read is beyond the end.
    commands_ends = await call.backend.ends(queue, "commands")
    events_ends = await call.backend.ends(queue, "events")
    partitions = [
        _partition(number, info, commands_ends[number][1], events_ends[number][1])
        for number, info in zip(numbers, infos, strict=True)
    ]
    return QueueShape(
        task_queue=queue,
        partitions=partitions,
        workers=_workers([info for info in infos if info is not None]),
        open_runs=sum(one.open_runs for one in partitions),
        blocked_runs=sum(one.blocked_runs for one in partitions),
        pending_activities=sum(one.pending_activities for one in partitions),
        lag=sum(max(one.lag, 0) for one in partitions),
        silent=sum(not one.answers for one in partitions),
    )


async def _info(call: Call, queue: str, number: int) -> TaskQueueInfo | None:
    what = f"describe of partition {number} of task queue {queue!r}"
    try:
        answers: list[Record] = await call.backend.ask_partitions(
            what,
            lambda partition, reply: commands.DescribeTaskQueue(partition=partition, reply=reply),
            task_queue=queue,
            partitions=[number],
            timeout_s=QUEUE_ASK_S,
        )
    except BackendError as error:
        if error.code != "deadline_exceeded":
            raise
        return None
    return expect(TaskQueueInfo, what, answers[0])


def _partition(
    number: int, info: TaskQueueInfo | None, commands_end: int, events_end: int
) -> PartitionShape:
    if info is None:
        return PartitionShape(partition=number, answers=False, events_end=events_end)
    return PartitionShape(
        partition=number,
        answers=True,
        owner=info.owner,
        epoch=info.epoch,
        transitions=info.pseq,
        read_to=info.upto,
        lag=max(commands_end - 1 - info.upto, 0),
        events_end=events_end,
        open_runs=info.open_runs,
        blocked_runs=info.blocked_runs,
        pending_activities=info.pending_activities,
    )


def _workers(infos: list[TaskQueueInfo]) -> list[WorkerShape]:
    """Each worker once, as the partition that heard it last knows it."""
    latest: dict[str, WorkerInfo] = {}
    for info in infos:
        for worker in info.workers:
            known = latest.get(worker.worker_id)
            if known is None or known.last_seen_ms < worker.last_seen_ms:
                latest[worker.worker_id] = worker
    return [
        WorkerShape(
            worker_id=worker.worker_id,
            identity=worker.identity,
            slots=worker.slots,
            slots_used=worker.slots_used,
            last_seen_ms=worker.last_seen_ms,
            version=worker.version,
        )
        for worker in sorted(latest.values(), key=lambda worker: worker.identity)
    ]


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/api/v1/task-queues",
        name="listTaskQueues",
        says="The task queues of the namespace.",
        role="read",
        answers=list_queues,
        answer=Queues,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/task-queue",
        name="describeTaskQueue",
        says="How a task queue stands: owners, lag, workers, and what is open.",
        role="read",
        answers=describe_queue,
        params=(Param(name="queue", says="the task queue", is_required=True),),
        answer=QueueShape,
    ),
)
