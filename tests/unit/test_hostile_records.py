"""Records that nobody of ours has written: none ends who reads it, and others are read as ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from perdure_schemas.avro import MAGIC, decode, encode
from perdure_schemas.commands import (
    ClaimActivity,
    CompleteActivity,
    DescribeWorkflow,
    ListWorkflows,
    StartWorkflow,
)
from perdure_schemas.events import WorkflowStarted
from perdure_schemas.fact_events import RecordEmitted
from perdure_schemas.message_commands import QueryWorkflow
from perdure_schemas.payloads import Payload, Priority, ReplyTo, RetryPolicy
from perdure_schemas.replies import CanceledAttempt, Reply, WorkerOrders
from perdure_schemas.transition import EpochBump, Transition, TransitionBody
from perdure_topics.names import partition_of, topic_name, topic_settings
from perdure_topics.ports import LogError, TopicSpec
from perdure_topics.publisher_port import Emission, Mark
from perdure_topics.simulated.simulated_log import SimulatedBroker, SimulatedLog
from perdure_topics.wire.frames import Place
from perdure_views.gateway.admission import READ_BYTES_MAX, admit
from perdure_views.gateway.principals import Principal
from perdure_views.insights.cursor import Following
from perdure_views.relay import Relay
from perdure_views.relay_source import Unmarked
from perdure_views.tracing.spans import Span
from perdure_views.tracing.trace_reader import TraceReader
from tests.unit.desk_world import World
from tests.unit.memory_log import MemoryLog
from tests.unit.worker_world import COMMANDS, REPLIES, TASKS, make_task

pytestmark = pytest.mark.timeout(60)
EVENTS = topic_name("events", "ns", "q")
UNREADABLE = MAGIC + b"a release to come"


# -- readers of events --


class Events:
    """Two partitions of events: one with a record that nobody can read, one without."""

    def __init__(self) -> None:
        self.broker = SimulatedBroker(1)
        self.log = SimulatedLog(self.broker, "reader")
        self.log.create_topics([TopicSpec(EVENTS, 2, 1, topic_settings("events"))])
        info = self.log.topic(EVENTS)
        assert info is not None
        self.topic = info
        for partition in range(2):
            self._write(
                partition, EpochBump(epoch=1, nonce=b"n", input_topic_id="t", owner="", time_ms=0)
            )
            self._accept(partition, 1, "first")
        self.broker.write(EVENTS, 0, UNREADABLE)
        self._accept(0, 2, "behind")
        self._accept(1, 2, "second")

    def _write(self, partition: int, record: Any) -> None:
        self.broker.write(EVENTS, partition, encode(record))

    def _accept(self, partition: int, pseq: int, name: str) -> None:
        workflow_id = f"{name}-{partition}"
        events = [
            WorkflowStarted(workflow_type="W"),
            RecordEmitted(topic="theirs", key=workflow_id.encode()),
        ]
        body = TransitionBody(
            workflow_id=workflow_id, run_id=workflow_id, seq=1, events=list(map(encode, events))
        )
        self._write(
            partition,
            Transition(
                epoch=1,
                nonce=b"n",
                pseq=pseq,
                after=-1,
                upto=-1,
                dispatched=0,
                time_ms=1_000,
                body=encode(body),
            ),
        )

    def turn(self) -> None:
        self.broker.run_until(self.broker.now_ms + 1_000)


def test_traces_go_on_in_the_other_partitions() -> None:
    events = Events()
    sink: list[Span] = []
    reader = TraceReader(
        events.log,
        [events.topic],
        lambda _topic, spans: sink.extend(spans),
        since_ms=0,
        ring=lambda: None,
    )
    for _ in range(5):
        events.turn()
        reader.step()

    positions = {one.partition: one.position for one in reader._readers}
    assert positions[1].next_offset == 3
    assert set(positions[1].runs) == {"first-1", "second-1"}
    assert positions[0].next_offset == 2, "what cannot be read is not passed over"
    assert set(positions[0].runs) == {"first-0"}


class Published:
    """A publisher in memory."""

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []

    def begin(self, _places: Sequence[tuple[str, int]]) -> list[Mark]:
        return []

    def publish(self, emissions: Sequence[Emission], _marks: Sequence[Mark]) -> None:
        self.keys += [one.key for one in emissions]

    def close(self) -> None:
        """Nothing is open."""


class MyTurn:
    """Nobody else relays."""

    def is_mine(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is held."""


def test_the_relay_goes_on_in_the_other_partitions() -> None:
    events = Events()
    events.log.create_topics([TopicSpec("theirs", 1, 1, {})])
    published: Any = Published()
    turn: Any = MyTurn()
    relay = Relay(
        events.log,
        [events.topic],
        published,
        turn=turn,
        ring=lambda: None,
        unmarked=Unmarked.PUBLISH,
    )
    for _ in range(5):
        events.turn()
        relay.step()

    assert sorted(filter(None, published.keys)) == [b"first-0", b"first-1", b"second-1"]


def test_insights_go_on_in_the_other_partitions() -> None:
    events, log = Events(), MemoryLog()
    log.create_topics([TopicSpec(EVENTS, 2, 1, topic_settings("events"))])
    for partition in range(2):
        for record in events.broker.partition(EVENTS, partition).given:
            log.put(EVENTS, partition, record.value or b"")
    following = Following(log, events.topic, "q")

    following.catch_up()
    following.catch_up()

    assert following._at(0) == 2
    assert following._at(1) == 3


# -- the gateway --

RITA = Principal(name="rita", role="read")
OSKAR = Principal(name="oskar", role="operate")
HERE = Place(partition=partition_of("w", 4), partitions=4, reply_partitions=2)
FINE = ReplyTo(partition=1, correlation_id="abc-1")

REFUSED: dict[str, tuple[Any, Place, str]] = {
    "a reply partition of nonsense": (
        DescribeWorkflow(workflow_id="w", reply=ReplyTo(partition=2**40, correlation_id="x")),
        HERE,
        "its answer would go to partition 1099511627776 of 2",
    ),
    "a reply partition below 0": (
        DescribeWorkflow(workflow_id="w", reply=ReplyTo(partition=-1, correlation_id="x")),
        HERE,
        "partition -1",
    ),
    "a correlation id that is long": (
        DescribeWorkflow(workflow_id="w", reply=ReplyTo(partition=0, correlation_id="x" * 201)),
        HERE,
        "correlation id",
    ),
    "a correlation id of control characters": (
        DescribeWorkflow(workflow_id="w", reply=ReplyTo(partition=0, correlation_id="x\0|")),
        HERE,
        "correlation id",
    ),
    "a deadline before all time": (
        DescribeWorkflow(
            workflow_id="w", reply=ReplyTo(partition=0, correlation_id="x", deadline_ms=-1)
        ),
        HERE,
        "is waited for",
    ),
    "a partition that is not there": (
        DescribeWorkflow(workflow_id="w", reply=FINE),
        HERE._replace(partition=2**31),
        "partition 2147483648 of 4",
    ),
    "the partition of another": (
        DescribeWorkflow(workflow_id="w", reply=FINE),
        HERE._replace(partition=(HERE.partition + 1) % 4),
        "is not of partition",
    ),
    "an id that is none": (
        DescribeWorkflow(workflow_id="w\0", reply=FINE),
        HERE,
        "cannot be printed",
    ),
    "a list of another partition": (
        ListWorkflows(partition=2**50, reply=FINE),
        HERE,
        "it asks partition",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_gateway_refuses_what_no_client_writes(name: str) -> None:
    record, place, said = REFUSED[name]
    row = ("ns.q.commands", place.partition, encode(record), b"k", ())

    with pytest.raises(LogError, match="denied: ") as refused:
        admit(RITA, row, place, names=True)

    assert said in str(refused.value)


def test_the_gateway_writes_what_a_reader_asks_itself() -> None:
    ask = DescribeWorkflow(workflow_id="w", reply=FINE)
    headers = (
        ("perdure-reply", b"\xff" * 1000),
        ("traceparent", b"\xff"),
        ("tracestate", b"x" * 10_000),
        ("mine", b"anything"),
    )
    row = ("ns.q.commands", HERE.partition, encode(ask), b"\xff\xfe", headers)

    admitted = admit(RITA, row, HERE, names=True)

    written: Any = decode(admitted.value)
    assert replace(written, reply=FINE) == ask
    assert replace(written.reply, deadline_ms=FINE.deadline_ms) == FINE
    assert admitted.key == b"w"
    assert admitted.headers == (("perdure-reply", b"1|abc-1|"),)


def test_a_reader_writes_no_command() -> None:
    start = StartWorkflow(workflow_id="w", workflow_type="W", reply=FINE)
    row = ("ns.q.commands", HERE.partition, encode(start), b"w", ())

    with pytest.raises(LogError, match="has the role 'read'"):
        admit(RITA, row, HERE, names=True)
    assert admit(OSKAR, row, HERE, names=True).key == b"w"


def test_a_reader_asks_with_few_bytes() -> None:
    payload = Payload(data=b'"' + b"x" * READ_BYTES_MAX + b'"')
    ask = QueryWorkflow(workflow_id="w", query_name="q", input=[payload], reply=FINE)
    row = ("ns.q.commands", HERE.partition, encode(ask), b"w", ())

    with pytest.raises(LogError, match="who may only read asks with 262144 at most"):
        admit(RITA, row, HERE, names=True)
    assert admit(OSKAR, row, HERE, names=True).key == b"w"


# -- the activity worker --

HOSTILE_TASKS: dict[str, dict[str, Any]] = {
    "told on a topic of a user": {"commands_topic": "theirs"},
    "told on the events": {"commands_topic": "default.orders.events"},
    "told on a name of no topic": {"commands_topic": "\0" * 1000},
    "told on a partition of nonsense": {"partition": 2**40},
    "told on a partition below 0": {"partition": -1},
    "no attempt": {"attempt": 0},
    "too many attempts": {"attempt": 2**62},
    "no token": {"token": b""},
    "a long token": {"token": b"x" * 10_000},
    "a time-out below 0": {"start_to_close_ms": -1},
    "a time-out for ever": {"start_to_close_ms": 2**63 - 1},
    "heartbeats for ever": {"heartbeat_ms": 2**62},
    "before all time": {"scheduled_ms": -(2**63)},
}


@pytest.mark.parametrize("name", HOSTILE_TASKS)
def test_a_task_that_no_host_wrote_is_skipped(name: str) -> None:
    world = World()
    world.host.send(make_task(1, **HOSTILE_TASKS[name]))
    world.host.send(make_task(2))
    world.desk.turn()

    assert [attempt.task.workflow_id for attempt in world.hand.started] == ["order-2"]
    assert world.desk.counts["undecodable"] == 1
    world.end(world.hand.started[0])
    world.settle()
    assert world.committed == 2


STRANGE_TASKS: dict[str, dict[str, Any]] = {
    "a priority of nonsense": {"priority": Priority(priority_key=-(2**63))},
    "a policy of nonsense": {"retry_policy": RetryPolicy(maximum_attempts=2**62)},
    "many details": {"heartbeat_details": [Payload(encoding="\0")] * 10_000},
    "an id of control characters": {"activity_id": "\0\x1b", "workflow_id": "\0"},
}


@pytest.mark.parametrize("name", STRANGE_TASKS)
def test_a_task_of_strange_values_is_run(name: str) -> None:
    world = World()
    world.host.send(make_task(1, **STRANGE_TASKS[name]))
    world.desk.turn()
    world.end(world.hand.started[0])
    world.settle()
    assert world.host.commands(CompleteActivity)


def test_a_task_that_cannot_be_started_fails_and_ends_no_worker() -> None:
    world = World()
    start = world.hand.start

    def refuses(attempt: Any) -> None:
        if attempt.task.workflow_id == "order-1":
            raise OverflowError("days=999999999999; must have magnitude <= 999999999")
        start(attempt)

    world.hand.start = refuses  # type: ignore[method-assign]
    world.host.send(make_task(1))
    world.host.send(make_task(2))
    world.desk.turn()
    world.settle()

    assert [attempt.task.workflow_id for attempt in world.hand.started] == ["order-2"]
    (failed,) = [r for r in world.host.reports() if type(r).__name__ == "FailActivity"]
    assert "could not start it" in str(failed)


def test_a_host_that_is_nowhere_holds_up_no_report_of_others() -> None:
    world = World()
    world.host.send(make_task(1, commands_topic="default.gone.commands"))
    world.host.send(make_task(2, partition=9_999))
    world.host.send(make_task(3))
    world.desk.turn()
    for attempt in list(world.hand.started):
        world.end(attempt)
    world.pass_ms(20_000)

    (done,) = world.host.commands(CompleteActivity)
    assert done.workflow_id == "order-3"
    assert world.committed == 3


HOSTILE_REPLIES: dict[str, bytes] = {
    "no record": b"\xff" * 50,
    "no body": encode(Reply(correlation_id="w1", body=b"", partition=0, offset=0)),
    "another body": encode(Reply(correlation_id="w1", body=encode(make_task(1)))),
    "a body within a body": encode(
        Reply(correlation_id="w1", body=encode(Reply(correlation_id="w1", body=b"\xc3\x01")))
    ),
    "places of nonsense": encode(
        Reply(correlation_id="w1", partition=-(2**63), offset=2**63 - 1, body=b"")
    ),
    "cancels of nobody": encode(
        Reply(
            correlation_id="w1",
            body=encode(
                WorkerOrders(canceled=[CanceledAttempt(token=b"\xff" * 999, reason="\0" * 9999)])
            ),
        )
    ),
    "a claim that nobody made": encode(
        Reply(correlation_id="w1", body=encode(WorkerOrders(token=b"x", granted=True)))
    ),
}


@pytest.mark.parametrize("name", HOSTILE_REPLIES)
def test_a_reply_that_no_host_wrote_ends_no_worker(name: str) -> None:
    world = World()
    world.log.put(REPLIES, 0, HOSTILE_REPLIES[name])
    world.log.put(TASKS, 0, HOSTILE_REPLIES[name])
    world.host.send(make_task(2))
    world.desk.turn()
    world.end(world.hand.started[0])
    world.settle()

    assert [done.workflow_id for done in world.host.commands(CompleteActivity)] == ["order-2"]
    assert not world.host.commands(ClaimActivity)
    assert world.log.topics[COMMANDS]
