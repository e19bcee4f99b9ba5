"""The part of a client that reaches activities under way, from outside of their workers."""

from __future__ import annotations

from datetime import timedelta

from perdure.client._async_activity import (
    AsyncActivitiesClient,
    AsyncActivityHandle,
    AsyncActivityIDReference,
)
from perdure.client._connection import Connection
from perdure.client._pending_activities import PendingActivities
from perdure_schemas.converters import PayloadConverter


class ReachesActivities:
    """The part of a client that reaches activities under way."""

    @property
    def connection(self) -> Connection:
        """The client's side of the log."""
        raise NotImplementedError

    @property
    def values(self) -> PayloadConverter:
        """What reads and writes values."""
        raise NotImplementedError

    def _for_async_activities(self) -> AsyncActivitiesClient:
        """The client itself, as handles need it."""
        raise NotImplementedError

    def get_async_activity_handle(
        self,
        *,
        workflow_id: str | None = None,
        run_id: str | None = None,
        activity_id: str | None = None,
        task_token: bytes | None = None,
        task_queue: str | None = None,
    ) -> AsyncActivityHandle:
        """The handle of an activity that is completed from elsewhere.

        By `activity.info().task_token`, or by workflow_id and activity_id. Without a task queue,
        every queue is asked for the workflow.

        Raises ValueError when it is neither, or both.
        """
        if task_token is not None:
            if workflow_id is not None or run_id is not None or activity_id is not None:
                raise ValueError("give the task token or ids, not both")
            return AsyncActivityHandle(self._for_async_activities(), task_token)
        if workflow_id is None or activity_id is None:
            raise ValueError("give task_token, or workflow_id and activity_id")
        reference = AsyncActivityIDReference(workflow_id, run_id, activity_id, task_queue)
        return AsyncActivityHandle(self._for_async_activities(), reference)

    def pending_activities(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        task_queue: str | None = None,
        rpc_timeout: timedelta | None = None,
    ) -> PendingActivities:
        """The activities of a workflow without an outcome: to pause, reset, retry or fail them."""
        return PendingActivities(
            self.connection,
            self.values,
            workflow_id,
            run_id=run_id,
            task_queue=task_queue,
            rpc_timeout=rpc_timeout,
        )
