"""Effects on their way: `dispatched` never passes one that nobody has acknowledged."""

from __future__ import annotations

from perdure_actors.core.decision import Forward, SendTask
from perdure_actors.core.state import ActivityState, RecordId
from perdure_actors.dispatch import Address, Dispatch
from perdure_schemas.events import ActivityScheduled
from perdure_schemas.tracing import TraceContext, attempt_span_id
from perdure_topics.names import topic_name, topic_settings
from perdure_topics.ports import TopicSpec
from perdure_topics.simulated import SimulatedBroker, SimulatedLog


class Sender:
    """A dispatch on a log whose time stands still until it is turned."""

    def __init__(self) -> None:
        self.broker = SimulatedBroker(1)
        self.log = SimulatedLog(self.broker, "host")
        self.make("commands", "orders")
        self.dispatch = Dispatch(
            self.log,
            Address("ns", "orders", 0, "events-id"),
            dispatched=3,
            token=lambda issued: b"%d" % issued.pseq,
            answer=lambda _reply, _record: None,
            on_ready=lambda: None,
        )

    def make(self, role: str, queue: str) -> None:
        name = topic_name(role, "ns", queue)
        self.log.create_topics([TopicSpec(name, 1, 1, topic_settings(role))])

    def forward(self, pseq: int) -> None:
        self.dispatch.send(pseq, [Forward(pseq, b"wf", b"value")], epoch=1)

    def task(self, pseq: int, queue: str) -> None:
        scheduled = ActivityScheduled(activity_id="1", activity_type="a", task_queue=queue)
        activity = ActivityState(scheduled, 1, 0, 1, RecordId(1, b"n", pseq, 0), 0)
        self.dispatch.send(pseq, [SendTask("wf", "run", "Order", activity)], epoch=1)

    def turn(self, passed_ms: int = 50) -> int:
        self.broker.run_until(self.broker.now_ms + passed_ms)
        self.dispatch.step()
        return self.dispatch.dispatched


def test_what_is_acknowledged_is_dispatched() -> None:
    sender = Sender()
    sender.forward(4)
    assert sender.dispatch.dispatched == 3

    assert sender.turn() == 4
    assert sender.dispatch.is_idle


def test_a_record_without_effects_is_dispatched_at_once() -> None:
    sender = Sender()
    sender.dispatch.send(4, [], epoch=1)

    assert sender.dispatch.dispatched == 4


def test_an_effect_sent_late_holds_dispatched_back() -> None:
    sender = Sender()
    sender.forward(9)
    sender.forward(5)

    assert sender.dispatch.dispatched == 4
    assert sender.turn() == 9


def test_an_effect_that_waits_for_its_topic_holds_dispatched_back_until_its_ack() -> None:
    sender = Sender()
    sender.task(5, "later")
    sender.forward(9)
    assert sender.turn() == 4

    sender.make("tasks", "later")
    sender.forward(10)
    sender.dispatch.retry_waiting()

    assert sender.dispatch.dispatched == 4
    assert sender.turn() == 10
    assert sender.dispatch.is_idle


def test_a_task_carries_the_span_of_its_attempt() -> None:
    sender = Sender()
    sender.make("tasks", "orders")
    scheduled = ActivityScheduled(activity_id="1", activity_type="a", task_queue="orders")
    activity = ActivityState(scheduled, 2, 0, 3, RecordId(1, b"n", 4, 0), 0)
    place = TraceContext(0xABC, 0xDEF, state="a=b")
    sender.dispatch.send(4, [SendTask("wf", "run", "Order", activity, trace=place)], epoch=1)
    sender.turn()
    [record] = sender.broker.topics[topic_name("tasks", "ns", "orders")][1][0].records
    attempt = place._replace(span_id=attempt_span_id("run", 2, 3))
    assert record.headers == (("traceparent", attempt.header().encode()), ("tracestate", b"a=b"))
