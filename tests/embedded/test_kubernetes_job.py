"""The Job workflow against the part of the Kubernetes API that it uses, served over HTTP here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from examples.kubernetes.app import TASK_QUEUE, JobActivities, JobRequest, JobWorkflow, manifest_of
from examples.kubernetes.cluster import Cluster
from perdure.client import Client, WorkflowFailureError
from perdure.exceptions import ApplicationError, CancelledError
from perdure.worker import Worker
from tests.broker.kafka_broker import free_port
from tests.broker.processes import until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(60)]


class Jobs:
    """The jobs of a namespace: made, looked at, deleted; the test says when one ends."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.made = 0
        self.deleted: list[str] = []
        self.refuse = 0
        """So many requests are answered with 503."""

    def app(self) -> Starlette:
        path = "/apis/batch/v1/namespaces/default/jobs"
        return Starlette(
            routes=[
                Route(path, self.create, methods=["POST"]),
                Route(path + "/{name}", self.one, methods=["GET", "DELETE"]),
            ]
        )

    async def create(self, request: Request) -> JSONResponse:
        if self.refuse:
            self.refuse -= 1
            return JSONResponse({"message": "try again"}, 503)
        job = await request.json()
        name = job["metadata"]["name"]
        if name in self.jobs:
            return JSONResponse({"reason": "AlreadyExists"}, 409)
        kubernetes_validate.validate(job, "1.34", strict=True)
        self.jobs[name] = {**job, "status": {"active": 1}}
        self.made += 1
        return JSONResponse(self.jobs[name], 201)

    async def one(self, request: Request) -> JSONResponse:
        name = request.path_params["name"]
        if name not in self.jobs:
            return JSONResponse({"reason": "NotFound"}, 404)
        if request.method == "DELETE":
            self.deleted.append(name)
            return JSONResponse(self.jobs.pop(name))
        return JSONResponse(self.jobs[name])

    def end(self, name: str, kind: str, message: str = "") -> None:
        condition = {"type": kind, "status": "True", "message": message}
        self.jobs[name]["status"] = {"failed": 3, "conditions": [condition]}


@asynccontextmanager
async def served(jobs: Jobs) -> AsyncIterator[str]:
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(jobs.app(), host="127.0.0.1", port=port, log_level="error")
    )
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started, "the API answers")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


def asked(name: str) -> JobRequest:
    return JobRequest(name, "busybox", ["true"], deadline=timedelta(minutes=1))


async def test_a_job_is_run_watched_and_cleaned_up(tmp_path: Path) -> None:
    jobs = Jobs()
    jobs.refuse = 1
    async with served(jobs) as url:
        cluster = Cluster(url)
        client = await Client.connect(f"file:{tmp_path}")
        activities = JobActivities(cluster, look_s=0.05)
        async with Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[JobWorkflow],
            activities=[activities.create_job, activities.wait_for_job, activities.delete_job],
        ):
            good, bad, stopped = [
                await client.start_workflow(
                    JobWorkflow.run, asked(name), id=name, task_queue=TASK_QUEUE
                )
                for name in ("good", "bad", "stopped")
            ]
            await until(lambda: len(jobs.jobs) == 3, "all are made, one at its second try")
            jobs.end("good", "Complete")
            jobs.end("bad", "Failed", "BackoffLimitExceeded")

            assert await good.result() == "complete"
            with pytest.raises(WorkflowFailureError) as failed:
                await bad.result()
            cause = failed.value.cause.__cause__
            assert isinstance(cause, ApplicationError)
            assert cause.message == "job bad failed 3 times: BackoffLimitExceeded"
            await stopped.cancel()
            with pytest.raises(WorkflowFailureError) as ended:
                await stopped.result()
            assert isinstance(ended.value.cause, CancelledError)

        assert sorted(jobs.deleted) == ["bad", "good", "stopped"]
        assert (jobs.made, jobs.jobs) == (3, {})
        await cluster.close()
        await client.close()


def test_the_job_is_valid() -> None:
    kubernetes_validate.validate(manifest_of(asked("a-job")), "1.34", strict=True)
