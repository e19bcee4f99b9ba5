"""Insights on a real broker: a SIGKILL in the middle changes no figure."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from perdure import _assembly as assembly
from perdure._gateway.serve import serving
from perdure.client import Client, RPCError
from perdure_schemas.avro import decode
from perdure_schemas.findings import Finding
from perdure_topics.names import topic_name
from perdure_topics.ports import TopicSpec
from perdure_views.gateway.settings import Settings
from perdure_views.insights.snapshot import read_insights
from tests.broker.kafka_broker import free_port
from tests.broker.orders_app import Job
from tests.broker.processes import PARTITIONS, QUEUE, Crew, Process, dump_topic, until

pytestmark = pytest.mark.broker


def figures_at(port: int) -> list[dict[str, Any]]:
    """What the app shows; nothing while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/figures", timeout=5) as answer:
            found: list[dict[str, Any]] = json.load(answer)
            return found
    except OSError:
        return []


async def owned(crew: Crew, client: Client) -> None:
    """Wait until a host answers for every partition."""

    async def holds() -> bool:
        try:
            return len(await crew.owners(client)) == PARTITIONS
        except RPCError:
            return False

    await until(holds, "a host owns the partitions", timeout_s=60.0)


def insights(crew: Crew, port: int, folder: Path) -> Process:
    options = ["--task-queue", QUEUE, "--web-port", str(port), "--state-dir", str(folder)]
    return crew.process("insights", "insights", *crew.where, *options)


@pytest.mark.timeout(240)
async def test_killed_insights_come_to_the_same_figures(crew: Crew, tmp_path: Path) -> None:
    crew.host()
    crew.worker()
    port = free_port()
    app = insights(crew, port, tmp_path / "insights")
    first = [Job(f"first-{n}", failures=n % 2) for n in range(20)]
    more = [Job(f"more-{n}") for n in range(20)]
    async with crew.client() as client:
        await owned(crew, client)
        await asyncio.gather(*(crew.start(client, job) for job in first))
        await until(lambda: figures_at(port), "figures are shown", timeout_s=90.0)
        app.kill()
        await asyncio.gather(*(crew.start(client, job) for job in more))
        await crew.finish(client, [*first, *more])
        app.start()
        log, close = assembly.open_log(crew.target)
        try:
            topic = log.topic(topic_name("events", crew.namespace, QUEUE))
            assert topic is not None
            expected, _ = await asyncio.to_thread(read_insights, log, topic, QUEUE, 0)
            assert sum(row["started"] for row in expected if row["window_s"] == 60) == 40

            async def same() -> bool:
                return await asyncio.to_thread(figures_at, port) == expected

            await until(same, "the figures are those of the whole log", timeout_s=90.0)
            app.kill()
            app.start()
            await until(same, "they are so after another kill", timeout_s=90.0)
        finally:
            close()


@pytest.mark.timeout(150)
async def test_a_run_nobody_knows_is_found(crew: Crew, tmp_path: Path) -> None:
    crew.host()
    async with crew.client() as client:
        await owned(crew, client)
        await client.start_workflow("Unheard", id="lost", task_queue=QUEUE)
    port = free_port()
    insights(crew, port, tmp_path / "insights")
    log, close = assembly.open_log(crew.target)
    try:
        topic = topic_name("findings", crew.namespace)

        def findings() -> list[Any]:
            return [decode(r.value) for r in dump_topic(log, topic) if r.value is not None]

        async def told() -> list[Any]:
            return await asyncio.to_thread(findings)

        (finding,) = await until(told, "the finding is published", timeout_s=90.0)
    finally:
        close()
    assert isinstance(finding, Finding)
    assert (finding.kind, finding.workflow_id) == ("blocked", "lost")
    assert "lack the workflow type" in finding.cause
    settings = Settings(port=0, insights=((QUEUE, f"http://127.0.0.1:{port}"),))
    async with crew.client() as client, serving(client, settings) as url:

        def health() -> Any:
            with urllib.request.urlopen(f"{url}/api/v1/health", timeout=10) as answer:
                return json.load(answer)

        async def counted() -> Any:
            found = await asyncio.to_thread(health)
            return found if found["windows"] else None

        shown = await until(counted, "the gateway shows the figures of insights", timeout_s=60.0)
    assert [one["finding_id"] for one in shown["findings"]] == [finding.finding_id]
    assert sum(one["started"] for one in shown["windows"]) == 1
    assert shown["problems"] == []


def test_tables_of_another_number_of_partitions_are_refused_with_what_to_delete(
    crew: Crew, tmp_path: Path
) -> None:
    where = [*crew.where, "--task-queue", QUEUE, "--state-dir", str(tmp_path)]
    log, close = assembly.open_log(crew.target)
    name = f"{crew.namespace}.{QUEUE}.insights"
    directory = tmp_path / log.cluster_id / "insights" / name
    directory.mkdir(parents=True)
    (directory / "events.json").write_text('{"topic_id": "gone", "partitions": 7}')
    try:
        of_others = crew.run("insights", *where)
        log.create_topics([TopicSpec(f"{name}-rows-changelog", 7, 1, {})])
        of_topic = crew.run("insights", *where)
    finally:
        close()

    for ended in (of_others, of_topic):
        assert ended.returncode == 1
        said = " ".join(ended.stderr.split())
        assert f"Delete the topic {name}-rows-changelog and the directory" in said
    assert "of 7 partitions where this one has 4" in " ".join(of_others.stderr.split())
    assert f"{name}-rows-changelog on {crew.target} has 7 partitions" in " ".join(
        of_topic.stderr.split()
    )
