"""Three brokers, three copies of each topic: one is killed, and the work goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import _assembly as assembly
from perdure_topics.names import topic_name
from perdure_topics.task_queue_topics import create_topics
from tests.broker.kafka_broker import KafkaBroker, free_port, new_cluster_id
from tests.broker.kafka_jars import BrokerUnavailableError, kafka_libs
from tests.broker.orders_app import Job
from tests.broker.processes import QUEUE, Crew, until

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(400)]
BROKERS = 3


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[list[KafkaBroker]]:
    """A cluster: each node is broker and controller."""
    try:
        kafka_libs()
    except BrokerUnavailableError as missing:
        pytest.skip(f"no Kafka broker here: {missing}")
    cluster_id, taken = new_cluster_id(), set[int]()
    made = []
    for number in range(BROKERS):
        port = free_port(taken=taken)
        made.append(KafkaBroker(tmp_path / f"kafka-{number}", port=port, cluster_id=cluster_id))
        taken |= {port, made[-1].controller_port}
    voters = [f"{number}@127.0.0.1:{one.controller_port}" for number, one in enumerate(made)]
    for number, one in enumerate(made):
        one.configure(
            {
                "node.id": str(number),
                "controller.quorum.voters": ",".join(voters),
                "offsets.topic.replication.factor": str(BROKERS),
                "transaction.state.log.replication.factor": str(BROKERS),
                "transaction.state.log.min.isr": "2",
                "min.insync.replicas": "2",
            }
        )
    try:
        for one in made:
            one.begin()
        for one in made:
            one.await_answer()
        yield made
    finally:
        for one in made:
            one.stop(timeout_s=5.0)


async def test_a_broker_of_three_is_killed_and_the_work_goes_on(
    brokers: list[KafkaBroker], tmp_path: Path
) -> None:
    crew = Crew(",".join(one.bootstrap for one in brokers), tmp_path)
    log, close = assembly.open_log(crew.target)
    try:
        create_topics(log, crew.namespace, QUEUE, partitions=3, replication=BROKERS)
        events = log.topic(topic_name("events", crew.namespace, QUEUE))
        assert events is not None
        assert events.replication == BROKERS
    finally:
        close()
    crew.host()
    crew.worker()
    jobs = [Job(f"job-{number}", pause_ms=200) for number in range(9)]
    later = [Job(f"later-{number}") for number in range(3)]
    try:
        async with crew.client() as client:
            for job in jobs:
                await crew.start(client, job)
            await until(lambda: len(crew.lines()) >= 3, "some activities have run", timeout_s=120.0)
            # With three partitions it leads one of each topic.
            brokers[0].kill()
            await crew.finish(client, jobs, timeout_s=120.0)
            for job in later:
                await crew.start(client, job)
            await crew.finish(client, later, timeout_s=120.0)
        crew.check()
    finally:
        crew.end()
