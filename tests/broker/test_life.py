"""A run's life on Kafka: delayed, continued, retried, told things of any name, and found."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest

from perdure.client import WorkflowExecutionStatus
from perdure.common import RetryPolicy
from perdure_schemas import commands as cmd
from perdure_schemas.avro import encode
from perdure_schemas.payloads import Payload
from perdure_topics.names import partition_of, topic_name
from tests.broker.orders_app import STAGE, TURN
from tests.broker.processes import PARTITIONS, QUEUE, Crew, until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(90)]


async def test_a_run_is_delayed_continued_retried_and_found(standing: Crew) -> None:
    workflow_id = f"life-{uuid.uuid4().hex[:8]}"
    async with standing.client() as client:
        handle = await client.start_workflow(
            "Life",
            1,
            id=workflow_id,
            task_queue=QUEUE,
            memo={"first": True, "kept": "yes"},
            start_delay=timedelta(milliseconds=200),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100)),
        )

        async def found() -> bool:
            query = f"Turn = 2 AND Stage = 'late' AND WorkflowId = '{workflow_id}'"
            runs = [run async for run in client.list_workflows(query, task_queue=QUEUE)]
            return {run.status for run in runs} == {
                WorkflowExecutionStatus.FAILED,
                WorkflowExecutionStatus.RUNNING,
            }

        await until(found, "the first attempt has failed, and the second runs")
        current = client.get_workflow_handle(workflow_id, task_queue=QUEUE)
        await current.signal("note")
        assert await current.execute_update("bring", "tea") == "tea"
        assert await current.query("whatever") == ["note", "bring"]
        shown = (await current.describe()).typed_search_attributes
        assert (shown[TURN], shown[STAGE]) == (2, "late")
        await current.signal("end")
        assert await handle.result() == {
            "number": 20,
            "memo": {"kept": "yes", "turn": 2},
            "turn": 2,
            "failure": "Again: once more",
            "heard": ["note", "bring", "end"],
        }

        letters = refused_by_type(standing, workflow_id)
        await until(lambda: letters() != [], "the start is put aside")
    (letter,) = letters()
    assert "search attribute 'Turn' is of type Int" in letter
    assert "is given as Keyword" in letter
    runs = standing.check().of_workflow(workflow_id)
    assert len(runs) == 3


def refused_by_type(crew: Crew, workflow_id: str) -> Callable[[], list[str]]:
    """Start a run with another type as a stranger may; what the dead letters say of it."""
    partition = partition_of(workflow_id, PARTITIONS)
    other = next(
        f"other-{n}" for n in range(1000) if partition_of(f"other-{n}", PARTITIONS) == partition
    )
    word = Payload(data=b'"two"', metadata={"type": b"Keyword"})
    start = cmd.StartWorkflow(
        workflow_id=other, workflow_type="Life", search_attributes={"Turn": word}
    )
    offset = crew.produce(partition, encode(start), key=other.encode())
    topic = topic_name("dead", crew.namespace, QUEUE)
    place = (str(partition).encode(), str(offset).encode())

    def letters() -> list[str]:
        found = [dict(record.headers) for record in crew.dump()[topic]]
        return [
            headers["perdure-error"].decode()
            for headers in found
            if (headers.get("perdure-partition"), headers.get("perdure-offset")) == place
        ]

    return letters
