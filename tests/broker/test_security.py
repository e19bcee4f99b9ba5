"""TLS, SASL and rights on a real broker: each role can do its work and nothing else."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from perdure import _assembly as assembly
from perdure.client import Client, RPCError
from perdure_topics.kafka.access import access_settings
from perdure_topics.names import topic_name
from perdure_topics.ports import Log, LogError
from perdure_topics.rights import ROLES, rights_of
from perdure_topics.task_queue_topics import create_topics
from tests.broker.kafka_jars import BrokerUnavailableError, kafka_libs
from tests.broker.orders_app import Job, outcome_of
from tests.broker.processes import APP, PARTITIONS, QUEUE, ROOT, Process, TaskQueue, until
from tests.broker.secured import PASSWORD, SecuredBroker

pytestmark = pytest.mark.broker

NAMESPACE: Final = "guarded"
TOPICS: Final = ("commands", "events", "tasks", "dead", "replies", "findings")
# Who may do what, by role of the topic: everything else must be refused.
MAY_WRITE: Final = {
    "client": {"commands"},
    "host": {"commands", "events", "tasks", "dead", "replies"},
    "worker": {"commands"},
    "gateway": {"commands"},
    "insights": {"findings"},
    "relay": {"dead", "findings"},
    "triggers": {"commands"},
    "reader": set[str](),
    "nobody": set[str](),
}
MAY_READ: Final = {
    "client": {"replies"},
    "host": {"commands", "events"},
    "worker": {"tasks", "replies"},
    "gateway": {"events", "dead", "replies", "findings"},
    "insights": {"events"},
    "relay": {"events"},
    "triggers": {"replies"},
    "reader": {"events", "findings"},
    "nobody": set[str](),
}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """A broker with the topics of one queue, and each role's rights granted."""
    try:
        kafka_libs()
    except BrokerUnavailableError as missing:
        pytest.skip(f"no Kafka broker here: {missing}")
    made = SecuredBroker(tmp_path_factory.mktemp("secured"))
    made.start()
    try:
        log, close = assembly.open_log(made.broker.bootstrap, settings={})
        create_topics(log, NAMESPACE, QUEUE, partitions=PARTITIONS)
        close()
        for role in ROLES:
            rights = rights_of(role, NAMESPACE, QUEUE)
            assembly.grant_rights(made.broker.bootstrap, rights, f"User:{role}")
        yield made
    finally:
        made.stop()


@pytest.fixture
def as_user(secured: SecuredBroker) -> Iterator[dict[str, Log]]:
    """The log as each user has it."""
    opened = {}
    closers = []
    for user in MAY_WRITE:
        log, close = assembly.open_log(
            secured.secure, settings=access_settings(secured.config(user), environment={})
        )
        opened[user] = log
        closers.append(close)
    yield opened
    for close in closers:
        close()


def can_write(log: Log, topic: str) -> bool:
    bell = threading.Event()
    appender = log.appender(on_ready=bell.set, timeout_ms=5_000)
    try:
        appender.append(topic, 0, b"x", key=None, tag=1)
        for _ in range(200):
            reports = appender.reports()
            if reports:
                return reports[0].error is None
            bell.wait(0.1)
            bell.clear()
        raise AssertionError(f"no report of a record for {topic}")
    except LogError:
        return False
    finally:
        appender.close()


def can_read(log: Log, topic: str, said: pytest.LogCaptureFixture) -> bool:
    try:
        assert log.topic(topic) is not None
    except LogError as error:
        # What may not even be described cannot be read; the broker does not say so to a reader.
        if "perdure acls" not in str(error):
            raise
        return False
    bell = threading.Event()
    tail = log.tail(on_ready=bell.set, committed=False)
    try:
        tail.assign(topic, 0, 0)
        for _ in range(200):
            if tail.take(topic, 0, 1):
                return True
            if f"reading {topic}-0: " in said.text:
                assert "perdure acls" in said.text
                return False
            bell.wait(0.1)
            bell.clear()
        raise AssertionError(f"neither a record nor a refusal for {topic}")
    finally:
        tail.close()
        said.clear()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("user", list(MAY_WRITE))
def test_each_role_may_write_and_read_its_topics_and_no_others(
    secured: SecuredBroker, as_user: dict[str, Log], user: str, caplog: pytest.LogCaptureFixture
) -> None:
    owner, close = assembly.open_log(secured.broker.bootstrap, settings={})
    names = {role: topic_name(role, NAMESPACE, QUEUE) for role in TOPICS}
    try:
        for topic in names.values():
            assert can_write(owner, topic)
        written = {role for role, topic in names.items() if can_write(as_user[user], topic)}
        read = {role for role, topic in names.items() if can_read(as_user[user], topic, caplog)}
    finally:
        close()

    assert written == MAY_WRITE[user]
    assert read == MAY_READ[user]


ROOT_OPTIONS: Final = ("--namespace", NAMESPACE, "--task-queue", QUEUE)


@pytest.mark.timeout(120)
async def test_orders_run_with_each_process_in_its_own_role(
    secured: SecuredBroker, tmp_path: Path
) -> None:
    queue = TaskQueue(secured.secure, tmp_path, namespace=NAMESPACE)

    def process(name: str, role: str, *options: str) -> Process:
        where = ["worker", APP, "--broker", secured.secure, *ROOT_OPTIONS, *options, "--verbose"]
        way = ["--kafka-config", str(secured.config(role))]
        return Process(name, [*way, *where], tmp_path, journal=queue.journal).start()

    host = process("host", "host", "--workflows-only", "--state-dir", str(tmp_path / "tables"))
    worker = process("worker", "worker", "--activities-only")
    client = await Client.connect(
        secured.secure, namespace=NAMESPACE, kafka_config=secured.config("client")
    )
    try:
        job = Job("guarded", steps=3)
        result = await client.execute_workflow("Chain", job, id=job.name, task_queue=QUEUE)
        assert result == outcome_of(job)
        await until(lambda: "AUTHORIZATION" not in host.said() + worker.said(), "no complaint")
        assert PASSWORD not in host.said() + worker.said()
    finally:
        await client.close()
        worker.stop()
        host.stop()


@pytest.mark.parametrize(
    ("mechanism", "more"),
    [
        ("PLAIN", {}),
        (
            "OAUTHBEARER",
            {
                "enable.sasl.oauthbearer.unsecure.jwt": "true",
                "sasl.oauthbearer.config": "principal=client",
            },
        ),
    ],
)
async def test_other_mechanisms_reach_the_broker(
    secured: SecuredBroker, mechanism: str, more: dict[str, str]
) -> None:
    config = secured.config("client", **{"sasl.mechanism": mechanism}, **more)

    client = await Client.connect(secured.secure, namespace=NAMESPACE, kafka_config=config)

    assert await client.connection.partitions(QUEUE) == PARTITIONS
    await client.close()


@pytest.mark.parametrize(
    ("more", "told"),
    [({"sasl.password": "wrong"}, "credentials"), ({"ssl.ca.location": "/dev/null"}, "ssl")],
)
async def test_a_broker_that_refuses_the_way_is_named_with_the_reason(
    secured: SecuredBroker, more: dict[str, str], told: str
) -> None:
    settings = access_settings(secured.config("client"), environment={}) | more

    with pytest.raises((RPCError, ValueError)) as raised:
        await Client.connect(secured.secure, namespace=NAMESPACE, kafka_config=settings)

    assert told in str(raised.value).lower()
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize("command", ["worker", "relay"])
def test_a_process_without_the_rights_ends_and_says_which_command_lists_them(
    secured: SecuredBroker, tmp_path: Path, command: str
) -> None:
    way = ["--kafka-config", str(secured.config("client"))]
    words = {"worker": ["worker", APP, "--state-dir", str(tmp_path)], "relay": ["relay"]}[command]

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "perdure.cli",
            *way,
            *words,
            "--broker",
            secured.secure,
            *ROOT_OPTIONS,
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
        cwd=ROOT,
    )

    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "`perdure acls ROLE` lists what each role needs" in said
    assert "Traceback" not in said
    assert PASSWORD not in said


@pytest.mark.parametrize("role", ["host", "relay", "worker"])
def test_no_role_deletes_the_events_topic(secured: SecuredBroker, role: str) -> None:
    way = access_settings(secured.config(role), environment={})
    admin = AdminClient({"bootstrap.servers": secured.secure, "log_level": 0, **way})
    events = topic_name("events", NAMESPACE, QUEUE)

    (deleting,) = admin.delete_topics([events]).values()

    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        deleting.result(20)


def test_who_may_make_no_topics_is_shown_the_lines_for_whoever_may(secured: SecuredBroker) -> None:
    way = ["--kafka-config", str(secured.config("client"))]
    words = ["topics", "create", "--broker", secured.secure, "--namespace", NAMESPACE]
    done = subprocess.run(
        [sys.executable, "-m", "perdure.cli", *way, *words, "--task-queue", "never"],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
        cwd=ROOT,
    )

    assert done.returncode == 1
    assert "AUTHORIZATION" in done.stderr
    assert f"--create --if-not-exists --topic {NAMESPACE}.never.commands" in done.stderr
