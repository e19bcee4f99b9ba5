"""The gateway in front of a real Kafka: pages' questions, and clients through it."""

from __future__ import annotations

import uuid
from pathlib import Path

import httpx
import pytest

from perdure._gateway.serve import serving
from perdure.client import Client
from perdure.worker import Worker
from perdure_topics.task_queue_topics import create_topics
from perdure_views.gateway.settings import Settings
from tests.broker.conftest import SharedKafka
from tests.web.shop import ACTIVITIES, WORKFLOWS

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]


async def test_a_gateway_serves_people_and_clients_before_a_broker(
    kafka: SharedKafka, tmp_path: Path
) -> None:
    namespace, queue = f"gate-{uuid.uuid4().hex[:8]}", "shop"
    inside = await Client.connect(kafka.bootstrap, namespace=namespace, lazy=True)
    create_topics(inside.log, namespace, queue, partitions=2)
    worker = Worker(
        inside,
        task_queue=queue,
        workflows=WORKFLOWS,
        activities=ACTIVITIES,
        state_directory=tmp_path,
    )
    async with worker, serving(inside, Settings(port=0)) as url:
        outside = await Client.connect(url, namespace=namespace)
        result = await outside.execute_workflow("Greeting", "ada", id="g-1", task_queue=queue)
        history = await outside.get_workflow_handle("g-1").fetch_history()
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            listed = (await http.get("/api/v1/workflows")).json()
            described = (await http.get("/api/v1/task-queue", params={"queue": queue})).json()
        await outside.close()
    await inside.close()

    assert result == "Hello, ada!"
    assert history.events[-1].event_type == "WorkflowCompleted"
    assert [run["workflow_id"] for run in listed["runs"]] == ["g-1"]
    assert (described["silent"], described["lag"]) == (0, 0)
