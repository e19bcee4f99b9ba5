"""What people do to a workflow that has gone wrong or is over: reset it, delete it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, Self

from perdure.client._inputs import NO_METADATA, DeleteWorkflowInput, ResetWorkflowInput
from perdure_schemas.answers.reset_points import LAST_TASK, read_point


class ResetRun(Protocol):
    """The run that a reset has begun."""

    @property
    def run_id(self) -> str | None: ...
    @property
    def first_execution_run_id(self) -> str | None: ...


class OperatorCalls(Protocol):
    """The calls of a client's interceptor chain that operators make."""

    async def reset_workflow(self, input: ResetWorkflowInput) -> ResetRun: ...
    async def delete_workflow(self, input: DeleteWorkflowInput) -> None: ...


class OperatedWorkflow:
    """A workflow, as people mend it."""

    _id: str
    _run_id: str | None
    _result_run_id: str | None
    _first_execution_run_id: str | None
    _task_queue: str | None
    _closing: Any

    def _operators(self) -> OperatorCalls:
        raise NotImplementedError

    async def reset(
        self,
        to: str | int | datetime = LAST_TASK,
        *,
        reason: str = "",
        exclude: Sequence[Literal["signal", "update"]] = (),
        again: bool = False,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> Self:
        """End the run, and begin a new one that goes on from an event of its history.

        What happened up to there is not done again; today's code takes that event anew. Pending
        activities begin with attempt 1, children go on for the new run.

        Args:
            to: `"last-workflow-task"`, `"first-workflow-task"`, `"first-activity"`,
                `"last-activity"`, an event's number, `"build:ID"` for the first step of a build,
                or a time: the first step at that time or later.
            reason: Why; kept with both runs.
            exclude: What of later messages does not come again: `"signal"`, `"update"`.
            again: Reset a run that was reset before once more.
            rpc_metadata: Not used.
            rpc_timeout: How long to wait for each answer.

        Returns the new run's handle. Raises ValueError for a point that is not there, and RPCError
        when it is refused.

        Example::

            mended = await handle.reset("first-activity", reason="wrong price list")
            print(await mended.result())
        """
        text = f"time:{to.isoformat()}" if isinstance(to, datetime) else str(to)
        handle = await self._operators().reset_workflow(
            ResetWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                to=read_point(text),
                reason=reason,
                exclude=exclude,
                again=again,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                task_queue=self._task_queue,
            )
        )
        mended = copy(self)
        mended._run_id = mended._result_run_id = handle.run_id
        mended._first_execution_run_id = handle.first_execution_run_id
        mended._closing = None
        return mended

    async def delete(
        self,
        *,
        reason: str = "",
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Forget the run, which must have closed: no list, description or history has it any more.

        The log keeps a word that says so, and tables made from that log leave the run out.

        Args:
            reason: Why, for people; it stands in the log.
            rpc_metadata: Not used.
            rpc_timeout: How long to wait for each answer.

        Raises RPCError when it is open, goes on as another run, or is not there.

        Example::

            await client.get_workflow_handle("order-1").delete(reason="asked by the customer")
        """
        await self._operators().delete_workflow(
            DeleteWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                reason=reason,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                task_queue=self._task_queue,
            )
        )
