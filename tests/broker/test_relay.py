"""What workflows emit arrives once at topics of users, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from perdure import _assembly as assembly
from perdure_topics.names import topic_name
from perdure_topics.ports import Log, TopicSpec
from tests.broker.processes import QUEUE, Crew, Process, dump_topic, until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(150)]
APP = "tests.broker.emitting_app"
PARTITIONS = 3
# The first relay of a queue may begin after the first emit.
FIRST = ("--from-beginning",)


@pytest.fixture
def log(crew: Crew) -> Iterator[Log]:
    log, close = assembly.open_log(crew.target)
    yield log
    close()


def make_topic(log: Log, name: str) -> str:
    log.create_topics([TopicSpec(name, PARTITIONS, 1, {})])
    return name


def relay(crew: Crew, name: str = "relay", *, words: tuple[str, ...] = FIRST) -> Process:
    return crew.process(name, "relay", *crew.where, "--task-queue", QUEUE, *words)


def read(crew: Crew, topic: str) -> list[tuple[str, int]]:
    """Every committed record of a topic: its key, and the number it tells."""
    consumer = Consumer(
        {
            "bootstrap.servers": crew.target,
            "group.id": uuid.uuid4().hex,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    found: list[tuple[str, int]] = []
    ended: set[int] = set()
    while len(ended) < PARTITIONS:
        message = consumer.poll(15.0)
        assert message is not None, f"{topic} cannot be read to its end: a transaction is open"
        if message.error() is not None:
            ended.add(message.partition() or 0)
            continue
        key, value = message.key(), message.value()
        assert key is not None
        assert value is not None
        headers = dict(message.headers() or ())
        assert headers["from"] == key
        assert headers["perdure-event-id"]
        found.append((key.decode(), json.loads(value)["number"]))
    consumer.close()
    return found


def caught_up(crew: Crew, log: Log) -> bool:
    """Whether the relay's marks are at the end of the events."""
    events = topic_name("events", crew.namespace, QUEUE)
    info = log.topic(events)
    assert info is not None
    consumer = Consumer(
        {"bootstrap.servers": crew.target, "group.id": f"{crew.namespace}.{QUEUE}.relay"}
    )
    places = [TopicPartition(events, number) for number in range(info.partitions)]
    marks = {mark.partition: mark.offset for mark in consumer.committed(places, 10.0)}
    consumer.close()
    return all(marks[number] == log.offsets(events, number)[1] for number in marks)


async def test_every_emit_is_read_once_whoever_is_killed(crew: Crew, log: Log) -> None:
    topic = make_topic(log, f"{crew.namespace}-sales")
    crew.host("first", app=APP)
    relaying = relay(crew)
    names = [f"teller-{number}" for number in range(12)]
    async with crew.client() as client:
        handles = [
            await client.start_workflow("Telling", args=[topic, 12, 250], id=name, task_queue=QUEUE)
            for name in names
        ]
        for kills in range(5):
            least = 12 + kills * 12

            async def has(least: int = least) -> bool:
                return len(await asyncio.to_thread(read, crew, topic)) >= least

            await until(has, f"{least} records are published", timeout_s=40.0)
            relaying.kill()
            if kills == 2:
                crew.processes[0].kill()
                crew.host("second", app=APP)
            relaying.start()
        async with asyncio.timeout(60):
            assert [await handle.result() for handle in handles] == [12] * len(names)
    await until(lambda: caught_up(crew, log), "the relay has read all events", timeout_s=40.0)

    found = read(crew, topic)
    assert sorted(found) == sorted((name, number) for name in names for number in range(12))
    for name in names:
        assert [number for key, number in found if key == name] == list(range(12))


async def test_of_two_relays_one_works_and_the_other_waits_for_its_turn(
    crew: Crew, log: Log
) -> None:
    topic = make_topic(log, f"{crew.namespace}-sales")
    crew.host(app=APP)
    relays = {name: relay(crew, name) for name in ("one", "other")}
    events = topic_name("events", crew.namespace, QUEUE)
    waits = f"another relay publishes what {events} emits: this one waits"
    names: list[str] = []
    async with crew.client() as client:

        async def tell_once_more() -> None:
            names.append(f"teller-{len(names)}")
            await client.execute_workflow(
                "Telling", args=[topic, 2, 0], id=names[-1], task_queue=QUEUE
            )
            await until(
                lambda: len(read(crew, topic)) == 2 * len(names), "all is published", timeout_s=40.0
            )

        waiting = await until(
            lambda: next((one for one in relays.values() if waits in one.said()), None),
            "one says that it waits",
            timeout_s=40.0,
        )
        (working,) = [one for one in relays.values() if one is not waiting]
        for _ in range(3):
            await tell_once_more()
        assert waits not in working.said()
        assert "took over" not in working.said() + waiting.said()

        # One that is frozen loses its turn, and finds that out when it wakes up.
        working.pause()
        await tell_once_more()
        working.resume()
        await tell_once_more()
        assert (working.status, waiting.status) == (None, None)
        waiting.stop()
        await tell_once_more()
        assert working.status is None

    assert sorted(read(crew, topic)) == sorted((name, n) for name in names for n in range(2))


async def test_a_topic_that_is_deleted_is_named_and_what_follows_waits_for_it(
    crew: Crew, log: Log
) -> None:
    topic = make_topic(log, f"{crew.namespace}-sales")
    crew.host(app=APP)
    relaying = relay(crew)
    async with crew.client() as client:
        await client.execute_workflow("Telling", args=[topic, 3, 0], id="before", task_queue=QUEUE)
        await until(lambda: len(read(crew, topic)) == 3, "the first are published")
        admin = AdminClient({"bootstrap.servers": crew.target})
        (deleting,) = admin.delete_topics([topic]).values()
        deleting.result(20)
        await client.execute_workflow("Telling", args=[topic, 3, 0], id="after", task_queue=QUEUE)
        await until(
            lambda: f"there is no topic '{topic}'" in relaying.said(), "it says so", timeout_s=40.0
        )
        assert relaying.status is None
        make_topic(log, topic)
        await until(lambda: len(read(crew, topic)) == 3, "what waited is published", timeout_s=40.0)
        # What was published before is not published again, and what comes after is.
        await client.execute_workflow("Telling", args=[topic, 1, 0], id="later", task_queue=QUEUE)
        await until(lambda: len(read(crew, topic)) == 4, "it goes on", timeout_s=40.0)

    assert sorted(read(crew, topic)) == [("after", 0), ("after", 1), ("after", 2), ("later", 0)]


async def test_a_topic_that_is_missing_is_named_and_waited_for(crew: Crew, log: Log) -> None:
    topic = f"{crew.namespace}-late"
    crew.host(app=APP)
    relaying = relay(crew)
    async with crew.client() as client:
        await client.execute_workflow("Telling", args=[topic, 3, 0], id="early", task_queue=QUEUE)
    await until(lambda: f"there is no topic '{topic}'" in relaying.said(), "the relay says so")

    make_topic(log, topic)

    await until(lambda: len(read(crew, topic)) == 3, "what waited is published")
    assert sorted(read(crew, topic)) == [("early", 0), ("early", 1), ("early", 2)]


def forget_offsets(crew: Crew) -> None:
    """What Kafka does by itself a week after the last commit."""
    admin = AdminClient({"bootstrap.servers": crew.target})
    (forgetting,) = admin.delete_consumer_groups([f"{crew.namespace}.{QUEUE}.relay"]).values()
    forgetting.result(20)


async def test_a_relay_goes_on_after_a_quiet_week_and_asks_where_its_marks_are_gone(
    crew: Crew, log: Log
) -> None:
    topic = make_topic(log, f"{crew.namespace}-sales")
    crew.host(app=APP)
    relaying = relay(crew)

    async def tell(name: str) -> None:
        async with crew.client() as client:
            await client.execute_workflow("Telling", args=[topic, 2, 0], id=name, task_queue=QUEUE)

    await tell("first")
    await until(lambda: caught_up(crew, log), "all is published", timeout_s=40.0)
    relaying.stop()
    forget_offsets(crew)

    again = relay(crew, "again", words=())
    await tell("second")
    await until(lambda: caught_up(crew, log), "it goes on", timeout_s=40.0)
    again.stop()
    assert len(read(crew, topic)) == 4, "nothing is published twice"

    admin = AdminClient({"bootstrap.servers": crew.target})
    (deleting,) = admin.delete_topics([topic_name("marks", crew.namespace, QUEUE)]).values()
    deleting.result(20)
    forget_offsets(crew)
    lost = relay(crew, "lost", words=())
    await until(lambda: lost.status is not None, "it asks", timeout_s=40.0)
    assert lost.status == 1
    assert "--from-beginning" in lost.said()
    assert "--from-now" in lost.said()

    relay(crew, "told", words=("--from-now",))
    await until(lambda: caught_up(crew, log), "it has begun", timeout_s=40.0)
    await tell("third")
    await until(lambda: len(read(crew, topic)) == 6, "what is new is published", timeout_s=40.0)


async def test_a_record_that_is_too_large_waits_for_a_person_and_holds_up_its_own_topic_only(
    crew: Crew, log: Log
) -> None:
    small = f"{crew.namespace}-small"
    log.create_topics([TopicSpec(small, PARTITIONS, 1, {"max.message.bytes": "2000"})])
    # Named as a queue of this namespace would name its events, and nobody's but a user's.
    other = make_topic(log, topic_name("events", crew.namespace, "nobodys"))
    crew.host(app=APP)
    relaying = relay(crew)
    async with crew.client() as client:
        for topic in (small, other):
            job = [topic, [10, 5_000, 900, 900, 900]]
            await client.execute_workflow(
                "Sizing", args=[job[0], job[1]], id=topic, task_queue=QUEUE
            )
    await until(lambda: len(read(crew, other)) == 5, "others go on", timeout_s=40.0)
    await until(lambda: "MSG_SIZE_TOO_LARGE" in relaying.said(), "it says so", timeout_s=40.0)

    where = [*crew.where, "--task-queue", QUEUE]
    held = crew.run("relay", "held", *where, "--output", "json")
    (lane,) = json.loads(held.stdout)
    assert lane["target"] == small
    skipped = crew.run("relay", "skip", *where, "--target", small, "--output", "json")
    (lane,) = json.loads(skipped.stdout)

    assert (lane["skipped"], lane["is_behind"]) == (1, False), lane
    assert [number for _, number in read(crew, small)] == [0, 2, 3, 4]
    findings = dump_topic(log, topic_name("findings", crew.namespace))
    assert b"emit_held" in (findings[0].value or b"")
