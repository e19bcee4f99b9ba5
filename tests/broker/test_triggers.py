"""Triggers on a real broker: records start and signal once, bad ones are put aside."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from perdure import _assembly as assembly
from perdure_topics.ports import Log, TopicSpec
from tests.broker.kafka_broker import free_port
from tests.broker.processes import QUEUE, Crew, Process, dump_topic, until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(480)]
APP = "tests.broker.triggered_app"
TOPICS = ("orders", "remarks")
EARLY = 5
"""Orders that are remarked on before they are placed."""


@pytest.fixture
def topics(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Log, dict[str, str]]]:
    """The topics that the app's triggers read, named after the test's namespace."""
    names = {name: f"{crew.namespace}-{name}" for name in TOPICS}
    monkeypatch.setenv("TRIGGERED_PREFIX", crew.namespace)
    log, close = assembly.open_log(crew.target)
    dead = [f"{name}.dead" for name in names.values()]
    log.create_topics([TopicSpec(name, 2, 1, {}) for name in (*names.values(), *dead)])
    yield log, names
    close()


def produce(crew: Crew, topic: str, key: str | None, value: str) -> None:
    producer = Producer({"bootstrap.servers": crew.target})
    producer.produce(topic, value=value, key=key)
    assert producer.flush(20) == 0


def letters(log: Log, topic: str) -> Counter[bytes]:
    """How often each dead letter of a topic is there, by its id."""
    return Counter(dict(one.headers)["perdure-source"] for one in dump_topic(log, f"{topic}.dead"))


def begin_again(crew: Crew, topics: Iterable[str]) -> None:
    """Put the group of the triggers back to the beginning."""
    consumer = Consumer(
        {"bootstrap.servers": crew.target, "group.id": f"{crew.namespace}-triggers"}
    )
    places = [TopicPartition(topic, number, 0) for topic in topics for number in range(2)]
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()


def produce_odd_headers(crew: Crew, topic: str) -> None:
    """Records that no client of librdkafka's would write, among honest ones."""
    command = [sys.executable, "-m", "tests.broker.odd_headers", crew.target, topic, "0"]
    subprocess.run(command, check=True, timeout=30)


def triggers(crew: Crew, folder: Path, *options: str) -> Process:
    where = [*crew.where, "--state-dir", str(folder), *options]
    return crew.process("triggers", "triggers", f"{APP}:triggers", *where)


async def test_records_start_and_signal_once_and_bad_ones_are_put_aside(
    crew: Crew, topics: tuple[Log, dict[str, str]], tmp_path: Path
) -> None:
    log, names = topics
    crew.host(app=APP)
    await asyncio.to_thread(produce_odd_headers, crew, names["orders"])
    running = triggers(crew, tmp_path / "faust")
    for number in range(EARLY):
        produce(crew, names["remarks"], f"o-{number}", json.dumps(f"remark {number}"))
    for number in range(20):
        produce(crew, names["orders"], f"o-{number}", json.dumps({"order_id": number}))
    produce(crew, names["orders"], None, "no JSON")
    produce(crew, names["remarks"], None, '"who is it about?"')
    async with crew.client() as client:

        async def started(least: int) -> bool:
            return (await client.count_workflows("WorkflowType = 'Order'")).count >= least

        await until(lambda: started(10), "some have started", timeout_s=150.0)
        running.kill()
        for number in range(20, 40):
            produce(crew, names["orders"], f"o-{number}", json.dumps({"order_id": number}))
        running.start()
        await until(lambda: started(40), "all have started", timeout_s=150.0)
        for number in range(EARLY, 40):
            produce(crew, names["remarks"], f"o-{number}", json.dumps(f"remark {number}"))
            if number == 20:
                running.kill()
                running.start()
        handles = [client.get_workflow_handle(f"order-{n}", task_queue=QUEUE) for n in range(40)]
        async with asyncio.timeout(180):
            told = [await handle.result() for handle in handles]
        found = await client.count_workflows("WorkflowType = 'Order'")

        # All of it once more: nothing is done twice, and a letter that comes twice says so.
        running.stop()
        sent = {name: letters(log, topic) for name, topic in names.items()}
        begin_again(crew, names.values())
        running.start()
        for name, topic in names.items():

            def twice(name: str = name, topic: str = topic) -> bool:
                return sum(letters(log, topic).values()) > sum(sent[name].values())

            await until(twice, f"the dead letter of {topic} comes again", timeout_s=150.0)
            assert set(letters(log, topic)) == set(sent[name])
        assert (await client.count_workflows("WorkflowType = 'Order'")).count == 40

    assert told == [[f"remark {number}"] for number in range(40)]
    assert found.count == 40
    bad = {record.value for record in dump_topic(log, f"{names['orders']}.dead")}
    assert bad == {b"no JSON", b"junk"}
    (remark, *_) = dump_topic(log, f"{names['remarks']}.dead")
    assert dict(remark.headers)["perdure-reason"] == b"the record has no key"
    assert dict(remark.headers)["perdure-source"].decode().startswith(f"{names['remarks']}-")


def produce_in_transactions(crew: Crew, topic: str) -> None:
    """An order that is taken back, one that is not, and one with two headers of a name."""
    producer = Producer({"bootstrap.servers": crew.target, "transactional.id": f"{topic}-shop"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, value=json.dumps({"order_id": 900}), key="o-900")
    producer.flush(20)
    producer.abort_transaction(20)
    producer.begin_transaction()
    for value, key in ((json.dumps({"order_id": 901}), "o-901"), ("no JSON", "o-902")):
        producer.produce(topic, value=value, key=key, headers=[("via", b"a"), ("via", b"b")])
    producer.commit_transaction(20)


async def test_only_what_was_committed_starts_and_a_letter_keeps_all_its_headers(
    crew: Crew, topics: tuple[Log, dict[str, str]], tmp_path: Path
) -> None:
    log, names = topics
    crew.host(app=APP)
    await asyncio.to_thread(produce_in_transactions, crew, names["orders"])
    port = free_port()
    running = triggers(crew, tmp_path / "faust", "--metrics-port", str(port))
    async with crew.client() as client:

        async def started() -> bool:
            return (await client.count_workflows("WorkflowType = 'Order'")).count > 0

        await until(started, "the order has started", timeout_s=150.0)
        await until(lambda: letters(log, names["orders"]), "the letter is there", timeout_s=150.0)
        found = [run.id async for run in client.list_workflows("WorkflowType = 'Order'")]

    assert found == ["order-901"]
    (letter,) = dump_topic(log, f"{names['orders']}.dead")
    assert (letter.key, letter.value) == (b"o-902", b"no JSON")
    assert letter.headers[:2] == (("via", b"a"), ("via", b"b"))

    def measured() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            told: str = answer.read().decode()
        return told

    def has_caught_up() -> bool:
        lags = re.findall(r"perdure_triggers_lag\{.*\} ([\d.]+)", measured())
        return bool(lags) and not any(map(float, lags))

    await until(has_caught_up, "the lag is told, and there is none", timeout_s=60.0)
    assert re.search(r'perdure_triggers_records_total\{.*outcome="buried".*\} 1.0', measured())
    running.stop()


def test_a_topic_that_is_missing_is_named(crew: Crew) -> None:
    ended = crew.run("triggers", f"{APP}:triggers", *crew.where)

    assert ended.returncode == 1
    assert "error: there is no topic 'none-orders'" in ended.stderr
