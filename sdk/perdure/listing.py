"""How a client lists and counts runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from perdure.calls import CountWorkflowsInput, ListWorkflowsInput
from perdure.executions import WorkflowExecutionAsyncIterator, WorkflowExecutionCount
from perdure.handles import OutboundInterceptor
from perdure.update_handles import NO_METADATA


class ListsWorkflows:
    """The part of a client that lists and counts runs."""

    def _chain(self) -> OutboundInterceptor:
        """The first link of the chain that calls go through."""
        raise NotImplementedError

    def list_workflows(
        self,
        query: str | None = None,
        *,
        limit: int | None = None,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
        task_queue: str | None = None,
    ) -> WorkflowExecutionAsyncIterator:
        """List runs, newest first, of one task queue or of all."""
        return self._chain().list_workflows(
            ListWorkflowsInput(
                query=query,
                page_size=page_size,
                next_page_token=next_page_token,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                limit=limit,
                task_queue=task_queue,
            )
        )

    async def count_workflows(
        self,
        query: str | None = None,
        *,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
        task_queue: str | None = None,
    ) -> WorkflowExecutionCount:
        """Count runs, of one task queue or of all."""
        return await self._chain().count_workflows(
            CountWorkflowsInput(
                query=query,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                task_queue=task_queue,
            )
        )
