"""Run a Job, watch it, and clean up after it, whatever happens to this process meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from examples.kubernetes.cluster import Cluster
from perdure import activity, workflow
from perdure.common import RetryPolicy
from perdure.exceptions import ApplicationError

TASK_QUEUE = "jobs"
LOOK_S = 1.0
RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=20)


@dataclass
class JobRequest:
    """What to run."""

    name: str
    image: str
    command: list[str]
    backoff_limit: int = 2
    deadline: timedelta = timedelta(hours=6)
    labels: dict[str, str] = field(default_factory=dict)


class JobActivities:
    """What the workflow needs of the cluster."""

    def __init__(self, cluster: Cluster, *, look_s: float = LOOK_S) -> None:
        self.cluster = cluster
        self.look_s = look_s

    @activity.defn
    async def create_job(self, asked: JobRequest) -> None:
        await self.cluster.create_job(manifest_of(asked))

    @activity.defn
    async def wait_for_job(self, name: str) -> str:
        """Look until it has ended; each look is a heartbeat, so a dead watcher is replaced."""
        while True:
            status = await self.cluster.job_status(name)
            if status is None:
                raise ApplicationError(f"job {name} is gone", type="JobDeleted", non_retryable=True)
            if status.is_complete:
                return "complete"
            if status.is_failed:
                raise ApplicationError(
                    f"job {name} failed {status.failed} times: {status.message}",
                    type="JobFailed",
                    non_retryable=True,
                )
            activity.heartbeat({"active": status.active, "failed": status.failed})
            await asyncio.sleep(self.look_s)

    @activity.defn
    async def delete_job(self, name: str) -> None:
        await self.cluster.delete_job(name)


@workflow.defn
class JobWorkflow:
    """One Job from beginning to end; cancelling the workflow deletes the Job."""

    @workflow.run
    async def run(self, asked: JobRequest) -> str:
        await workflow.execute_activity_method(
            JobActivities.create_job,
            asked,
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=RETRY,
        )
        try:
            return await workflow.execute_activity_method(
                JobActivities.wait_for_job,
                asked.name,
                start_to_close_timeout=asked.deadline,
                heartbeat_timeout=timedelta(seconds=30),
                retry_policy=RETRY,
            )
        finally:
            # Shielded, because a cancelled run cleans up too.
            await asyncio.shield(
                workflow.start_activity_method(
                    JobActivities.delete_job,
                    asked.name,
                    start_to_close_timeout=timedelta(seconds=30),
                    retry_policy=RETRY,
                )
            )


def manifest_of(asked: JobRequest) -> dict[str, object]:
    """The Job as Kubernetes takes it."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": asked.name, "labels": asked.labels},
        "spec": {
            "backoffLimit": asked.backoff_limit,
            "activeDeadlineSeconds": int(asked.deadline.total_seconds()),
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "containers": [{"name": "job", "image": asked.image, "command": asked.command}],
                }
            },
        },
    }


def activities() -> list[JobActivities]:
    """What `perdure worker examples.kubernetes.app` runs."""
    return [JobActivities(Cluster())]
