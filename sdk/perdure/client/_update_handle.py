"""The handle of an update: its outcome, waited for as long as it takes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Generic, Protocol

from perdure._records.rpc_errors import RPCError
from perdure.client._exceptions import (
    TIMED_OUT,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from perdure.client._inputs import NO_METADATA, AwaitWorkflowUpdateInput
from perdure.types import LocalReturnType
from perdure_actors.replay.failures import exception_of
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.replies import UpdateAnswer


class UpdateCalls(Protocol):
    """The call of a client's interceptor chain that the handle of an update makes."""

    async def await_workflow_update(self, input: AwaitWorkflowUpdateInput) -> UpdateAnswer:
        """Wait for the outcome of an update."""


class UpdateClient(Protocol):
    """What the handle of an update needs of its client."""

    def values_for(self, workflow_id: str) -> PayloadConverter:
        """What reads and writes the values of a workflow."""

    @property
    def outbound(self) -> UpdateCalls:
        """The first link of the client's interceptor chain."""


class WorkflowUpdateHandle(Generic[LocalReturnType]):
    """An update, by its id and its run, whether it has an outcome or not."""

    def __init__(
        self,
        client: UpdateClient,
        id: str,
        workflow_id: str,
        *,
        workflow_run_id: str | None = None,
        result_type: type | None = None,
        known_outcome: UpdateAnswer | None = None,
        task_queue: str | None = None,
    ) -> None:
        self._client = client
        self._id = id
        self._workflow_id = workflow_id
        self._workflow_run_id = workflow_run_id
        self._result_type = result_type
        self._known_outcome = known_outcome
        self._task_queue = task_queue

    @property
    def id(self) -> str:
        """The update's id."""
        return self._id

    @property
    def workflow_id(self) -> str:
        """The workflow it was sent to."""
        return self._workflow_id

    @property
    def workflow_run_id(self) -> str | None:
        """The run that took it."""
        return self._workflow_run_id

    async def result(
        self,
        *,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> LocalReturnType:
        """Wait for what the update returned.

        Raises WorkflowUpdateFailedError when it failed, was refused, or its run ended first, and
        WorkflowUpdateRPCTimeoutOrCancelledError when it is not known in time.
        """
        if self._known_outcome is None:
            try:
                self._known_outcome = await self._client.outbound.await_workflow_update(
                    AwaitWorkflowUpdateInput(
                        id=self._workflow_id,
                        run_id=self._workflow_run_id,
                        update_id=self._id,
                        rpc_metadata=rpc_metadata,
                        rpc_timeout=rpc_timeout,
                        task_queue=self._task_queue,
                    )
                )
            except RPCError as error:
                if error.status in TIMED_OUT:
                    raise WorkflowUpdateRPCTimeoutOrCancelledError from error
                raise
        return self._value(self._known_outcome)

    def _value(self, outcome: UpdateAnswer) -> LocalReturnType:
        values = self._client.values_for(self._workflow_id)
        if outcome.failure is not None:
            raise WorkflowUpdateFailedError(exception_of(outcome.failure, values))
        value: Any = None
        if outcome.result is not None:
            what = f"the result of update {self._id!r}"
            value = values.from_payload(outcome.result, self._result_type, what=what)
        result: LocalReturnType = value
        return result
