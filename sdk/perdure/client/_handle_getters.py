"""How a client makes handles of workflows; nothing is asked for that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate

from perdure._records.workflow_names import workflow_facts
from perdure.client._handle import HandlesClient, WorkflowHandle
from perdure.types import ReturnType, SelfType


class GetsHandles:
    """The part of a client that makes handles."""

    def _self(self) -> HandlesClient:
        """The client, as handles need it."""
        raise NotImplementedError

    def get_workflow_handle(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: type | None = None,
        task_queue: str | None = None,
    ) -> WorkflowHandle[Any, Any]:
        """The handle of a workflow. Without a task queue, every queue is asked for it once."""
        return WorkflowHandle(
            self._self(),
            workflow_id,
            run_id=run_id,
            result_run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=result_type,
            task_queue=task_queue,
        )

    def get_workflow_handle_for(
        self,
        workflow: Callable[Concatenate[SelfType, ...], Awaitable[ReturnType]],
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
        task_queue: str | None = None,
    ) -> WorkflowHandle[SelfType, ReturnType]:
        """The typed handle of a workflow, by its run method."""
        return self.get_workflow_handle(
            workflow_id,
            run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=workflow_facts(workflow).result_type,
            task_queue=task_queue,
        )
