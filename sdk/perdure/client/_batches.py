"""Batches of a namespace: looked at before, started, watched, paused and stopped."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from perdure._batches.batch_records import (
    BATCH_ID_PREFIX,
    PROGRESS_KEY,
    BatchAction,
    BatchProgress,
    BatchState,
    check_batch,
    decode_progress,
    encode,
)
from perdure_actors.core.state import BATCH_TYPE
from perdure_schemas.answers.reset_points import LAST_TASK

if TYPE_CHECKING:
    from perdure.client._client import Client
    from perdure.client._executions import WorkflowExecution
    from perdure.client._workflow_handle import WorkflowHandle

RATE: Final = 50.0
SAMPLE: Final = 10


@dataclass(frozen=True)
class BatchPreview:
    """What a batch would be about."""

    count: int
    sample: list[WorkflowExecution]
    """The first few of those runs."""


@dataclass(frozen=True)
class BatchDescription:
    """How a batch stands."""

    id: str
    status: str
    """running, paused, or how it ended: completed, canceled, terminated, failed."""
    start_time: datetime
    close_time: datetime | None
    progress: BatchProgress


class BatchHandle:
    """A batch by its id."""

    def __init__(self, client: Client, id: str) -> None:
        self._client = client
        self.id = id

    def _workflow(self) -> WorkflowHandle[Any, Any]:
        return self._client.get_workflow_handle(BATCH_ID_PREFIX + self.id, result_type=bytes)

    async def describe(self) -> BatchDescription:
        """Ask how it stands. Raises RPCError when there is none of this id."""
        return await _described(await self._workflow().describe())

    async def pause(self) -> None:
        """Let it begin no further page; what is under way ends. Raises RPCError."""
        await self._workflow().signal("pause")

    async def resume(self) -> None:
        """Let it go on. Raises RPCError."""
        await self._workflow().signal("resume")

    async def cancel(self) -> None:
        """Stop it; what it has done stays done. Raises RPCError."""
        await self._workflow().cancel(reason="the batch was cancelled")

    async def result(self) -> BatchProgress:
        """Wait for its end; what it came to.

        Raises WorkflowFailureError when it was stopped, and RPCError.
        """
        return decode_progress(await self._workflow().result())


class Batches:
    """One action on all runs that a filter names. Each batch is a workflow, so it survives kills.

    Args:
        client: A connected client; its namespace is meant.

    Example:
        batches = Batches(client)
        found = await batches.preview("WorkflowType = 'Order' AND ExecutionStatus = 'Blocked'")
        batch = await batches.start(
            "WorkflowType = 'Order' AND ExecutionStatus = 'Blocked'", "reset", to="first-activity"
        )
        print(await batch.result())
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def preview(self, query: str) -> BatchPreview:
        """How many runs a filter names, and the first of them. Raises RPCError for a wrong one."""
        counted = await self._client.count_workflows(query)
        listed = self._client.list_workflows(query, limit=SAMPLE)
        return BatchPreview(counted.count, [run async for run in listed])

    async def start(
        self,
        query: str,
        action: str,
        *,
        reason: str = "",
        rate: float = RATE,
        signal: str = "",
        args: Sequence[Any] = (),
        to: str = "",
        exclude: Sequence[str] = (),
        task_queue: str | None = None,
        id: str | None = None,
    ) -> BatchHandle:
        """Start a batch. Runs that begin later are none of its own, whatever they are.

        Args:
            query: Which runs, as for lists; never empty.
            action: cancel, terminate, signal, retry, reset or delete.
            reason: Why; kept with each run where the action keeps one.
            rate: Runs a second at most, 1,000 the most.
            signal: The signal's name.
            args: The signal's arguments.
            to: Where a reset goes back to, as `WorkflowHandle.reset` takes it.
            exclude: What of later messages a reset leaves out.
            task_queue: The queue whose workers do it; that of the first run when not given.
            id: The batch's id; made when not given.

        Raises ValueError where it cannot be or names no run, RPCError for a wrong filter.
        """
        what = BatchAction(
            kind=action,
            reason=reason,
            signal_name=signal,
            signal_input=self._client.values.to_payloads(list(args)) if args else [],
            to=to or LAST_TASK,
            exclude=list(exclude),
        )
        check_batch(query, what, rate)
        found = await self.preview(query)
        if not found.sample:
            raise ValueError("the filter names no run, so there is nothing to do")
        state = BatchState(
            id=id or uuid.uuid4().hex[:12],
            query=query,
            action=what,
            rate=rate,
            identity=self._client.identity,
            before=await self._newest(query),
            progress=BatchProgress(total=found.count),
        )
        await self._client.start_workflow(
            BATCH_TYPE,
            encode(state),
            id=BATCH_ID_PREFIX + state.id,
            task_queue=task_queue or found.sample[0].task_queue,
            static_summary=f"{action} of runs with {query}"[:200],
        )
        return BatchHandle(self._client, state.id)

    async def _newest(self, query: str) -> datetime | None:
        """When the newest run that a filter names began: partitions have clocks of their own."""
        listed = self._client.list_workflows(f"{query} ORDER BY StartTime DESC", limit=1)
        return max([run.start_time async for run in listed], default=None)

    def handle(self, id: str) -> BatchHandle:
        """The handle of a batch, whether there is one or not."""
        return BatchHandle(self._client, id)

    async def list(self) -> list[BatchDescription]:
        """The batches of the namespace, the newest first. Raises RPCError."""
        found = self._client.list_workflows(f"WorkflowType = '{BATCH_TYPE}'", limit=1_000)
        return [await _described(one) async for one in found]


async def _described(run: WorkflowExecution) -> BatchDescription:
    memo = await run.memo()
    data = memo.get(PROGRESS_KEY)
    progress = decode_progress(data) if data is not None else BatchProgress()
    status = run.status.name.lower() if run.status is not None else ""
    return BatchDescription(
        id=run.id.removeprefix(BATCH_ID_PREFIX),
        status="paused" if status == "running" and progress.paused else status,
        start_time=run.start_time,
        close_time=run.close_time,
        progress=progress,
    )
