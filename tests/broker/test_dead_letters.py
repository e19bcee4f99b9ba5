"""Dead letters are for people: they are listed, shown, taken again once, and set aside."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest

from perdure_schemas.avro import encode
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.message_commands import SignalWorkflow
from perdure_topics.names import partition_of
from tests.broker.processes import PARTITIONS, QUEUE, Crew, until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]


def dead(crew: Crew, act: str, *words: str) -> str:
    done = crew.run("dead", act, *crew.where, "--task-queue", QUEUE, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def letters(crew: Crew, about: str, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        dead(crew, "list", "--about", about, "--output", "json", *words)
    )
    return found


async def test_a_signal_that_came_too_early_is_replayed_once_with_all_that_it_came_with(
    standing: Crew,
) -> None:
    visit = f"visit-{uuid.uuid4().hex[:8]}"
    partition = partition_of(visit, PARTITIONS)
    signal = SignalWorkflow(workflow_id=visit, signal_name="end", request_id=f"{visit}-come")
    sent = [("via", b"a"), ("via", b"b"), ("perdure-error", b"theirs")]
    standing.produce(partition, encode(signal), key=visit.encode(), headers=sent)

    def found() -> list[dict[str, Any]]:
        return letters(standing, visit)

    (letter,) = await until(lambda: asyncio.to_thread(found), "it is a dead letter")
    assert letter["request_id"] == f"{visit}-come"
    assert letter["headers"] == [["via", "a"], ["via", "b"], ["perdure-error", "theirs"]]
    assert "not_found" in letter["reason"]
    async with standing.client() as client:
        handle = await client.start_workflow("Visit", id=visit, task_queue=QUEUE)
        said = await asyncio.to_thread(dead, standing, "replay", letter["name"])
        assert f"{letter['name']} replayed" in said
        async with asyncio.timeout(30):
            assert await handle.result()

    again = standing.run("dead", "replay", letter["name"], *standing.where, "--task-queue", QUEUE)
    assert again.returncode == 1
    assert "or it is settled" in again.stderr
    assert found() == []
    (settled,) = letters(standing, visit, "--settled")
    assert settled["settled"] == "replayed"


async def test_an_unknown_word_in_a_field_is_a_dead_letter_and_starts_nothing(
    standing: Crew,
) -> None:
    name = f"words-{uuid.uuid4().hex[:8]}"
    start = StartWorkflow(
        workflow_id=name, workflow_type="Visit", id_reuse_policy="reject_duplicates"
    )
    standing.produce(partition_of(name, PARTITIONS), encode(start), key=name.encode())

    def found() -> list[dict[str, Any]]:
        return letters(standing, name)

    (letter,) = await until(lambda: asyncio.to_thread(found), "it is a dead letter")
    assert "id_reuse_policy is 'reject_duplicates': give one of" in letter["reason"]
    dead(standing, "drop", letter["name"])
    assert found() == []
    async with standing.client() as client:
        assert (await client.count_workflows(f"WorkflowId = '{name}'")).count == 0
