"""Effects on their way: `dispatched` never passes one that nobody has acknowledged."""

from __future__ import annotations

from datetime import timedelta

from perdure_actors.core.decision import Forward, SendAgain, SendCommand, SendTask
from perdure_actors.core.state import ActivityState, RecordId
from perdure_actors.partition.outbox import AT_ONCE_MAX, Address, Outbox, effect_rows, kept_effect
from perdure_actors.partition.run_cache import Ops
from perdure_actors.worker.task_checks import problem_of
from perdure_schemas.avro import decode, decode_as
from perdure_schemas.commands import CancelWorkflow
from perdure_schemas.events import ActivityScheduled
from perdure_schemas.tasks import ActivityTask
from perdure_schemas.tracing import TraceContext, attempt_span_id
from perdure_topics.names import partition_of, topic_name, topic_settings
from perdure_topics.ports import TopicSpec
from perdure_topics.simulated.simulated_log import SimulatedBroker, SimulatedLog


class Sender:
    """A dispatch on a log whose time stands still until it is turned."""

    def __init__(self) -> None:
        self.broker = SimulatedBroker(1)
        self.log = SimulatedLog(self.broker, "host")
        self.make("commands", "orders")
        self.told: list[str] = []
        self.dispatch = Outbox(
            self.log,
            Address("ns", "orders", 0, "events-id"),
            dispatched=3,
            token=lambda issued: b"%d" % issued.pseq,
            answer=lambda _reply, _record: None,
            again=self._again,
            on_ready=lambda: None,
            tell=lambda text, _error: self.told.append(text),
        )

    def _again(self, effect: SendAgain) -> SendTask | None:
        if effect.activity_id == "gone":
            return None
        return self.task_of(2, "orders")._replace(resent=True, moved=True)

    def make(self, role: str, queue: str) -> None:
        name = topic_name(role, "ns", queue)
        self.log.create_topics([TopicSpec(name, 1, 1, topic_settings(role))])

    def forward(self, pseq: int) -> None:
        self.dispatch.send(pseq, [Forward(pseq, b"wf", b"value")], epoch=1)

    def task_of(self, pseq: int, queue: str) -> SendTask:
        scheduled = ActivityScheduled(activity_id="1", activity_type="a", task_queue=queue)
        activity = ActivityState(scheduled, 1, 0, 1, RecordId(1, b"n", pseq, 0), 0)
        return SendTask("wf", "run", "Order", activity)

    def task(self, pseq: int, queue: str) -> None:
        self.dispatch.send(pseq, [self.task_of(pseq, queue)], epoch=1)

    def cancel(self, pseq: int, queue: str, *, epoch: int = 1, place: int = 0) -> None:
        effect = SendCommand(queue, CancelWorkflow(workflow_id="wf"))
        self.dispatch.send(pseq, [effect], epoch=epoch, place=place)

    def sources(self, queue: str) -> list[tuple[int, int, int]]:
        """Where the commands of a queue's topic come from, in the order of the log."""
        records = self.broker.partition(topic_name("commands", "ns", queue), 0).records
        found = [decode(record.value).source for record in records]  # type: ignore[attr-defined]
        return [(source.epoch, source.pseq, source.index) for source in found]

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


def test_a_timeout_of_ages_is_one_that_workers_take() -> None:
    sender = Sender()
    sender.make("tasks", "orders")
    ages = timedelta.max // timedelta(milliseconds=1)
    scheduled = ActivityScheduled(
        activity_id="1",
        activity_type="a",
        task_queue="orders",
        start_to_close_ms=ages,
        schedule_to_close_ms=ages,
        schedule_to_start_ms=ages,
        heartbeat_ms=ages,
    )
    activity = ActivityState(scheduled, 1, 0, 1, RecordId(1, b"n", 4, 0), 0)

    sender.dispatch.send(4, [SendTask("wf", "run", "Order", activity)], epoch=1)
    sender.turn()

    [record] = sender.broker.partition(topic_name("tasks", "ns", "orders"), 0).records
    assert problem_of(decode_as(ActivityTask, record.value)) == ""


def test_a_command_does_not_overtake_those_that_wait_for_its_topic() -> None:
    sender = Sender()
    sender.cancel(5, "later")
    sender.make("commands", "later")
    sender.cancel(6, "later")
    sender.cancel(7, "orders")
    sender.turn()
    assert sender.sources("orders") == [(1, 7, 0)]
    assert sender.dispatch.missing == {"later"}

    sender.dispatch.retry_waiting()
    sender.turn()

    assert sender.sources("later") == [(1, 5, 0), (1, 6, 0)]
    assert sender.dispatch.missing == set()
    assert sender.dispatch.is_idle


def test_an_appender_that_ends_is_followed_by_one_that_keeps_the_order() -> None:
    sender = Sender()
    for pseq in (4, 5):
        sender.cancel(pseq, "orders")
    sender.dispatch._restart()
    sender.cancel(6, "orders")
    assert sender.turn() == 3

    assert sender.turn() == 6
    taken = sender.sources("orders")
    assert [source for n, source in enumerate(taken) if source not in taken[:n]] == [
        (1, 4, 0),
        (1, 5, 0),
        (1, 6, 0),
    ]


def test_what_goes_to_a_topic_that_was_deleted_waits_for_it_and_others_are_sent() -> None:
    sender = Sender()
    sender.make("commands", "later")
    sender.cancel(4, "later")
    assert sender.turn() == 4
    del sender.broker.topics[topic_name("commands", "ns", "later")]

    sender.cancel(5, "later")
    sender.forward(6)
    sender.cancel(7, "later")
    for _ in range(5):
        assert sender.turn() == 4

    assert len(sender.broker.partition(topic_name("commands", "ns", "orders"), 0).records) == 1
    (said,) = sender.told
    assert said.startswith("there is no topic ns.later.commands any more: ")
    assert "perdure topics create --task-queue later" in said
    assert sender.dispatch.missing == {"later"}

    sender.make("commands", "later")
    sender.dispatch.retry_waiting()
    assert sender.turn() == 7
    assert sender.sources("later") == [(1, 5, 0), (1, 7, 0)]
    assert not sender.dispatch.missing


def test_a_topic_made_anew_with_fewer_partitions_is_sent_to() -> None:
    sender = Sender()
    name = topic_name("commands", "ns", "later")
    assert partition_of("wf", 9) > 0
    for pseq, partitions in ((4, 9), (5, 1)):
        sender.broker.topics.pop(name, None)
        spec = TopicSpec(name, partitions, 1, topic_settings("commands"))
        sender.log.create_topics([spec])
        sender.cancel(pseq, "later")
        sender.turn()

    assert sender.turn() == 5
    assert sender.sources("later") == [(1, 5, 0)]


def test_a_log_that_takes_nothing_is_tried_once_a_second() -> None:
    sender = Sender()
    partition = sender.broker.topics[topic_name("commands", "ns", "orders")][1].pop()

    sender.forward(4)
    for _ in range(20):
        sender.turn()
    tried = sender.dispatch._failures
    assert tried <= AT_ONCE_MAX + 1
    sender.dispatch.retry_waiting()
    sender.turn()
    assert sender.dispatch._failures == tried + 1

    sender.broker.topics[topic_name("commands", "ns", "orders")][1].append(partition)
    sender.dispatch.retry_waiting()
    assert sender.turn() == 4


def test_a_command_sent_again_says_where_it_came_from_first() -> None:
    sender = Sender()
    sender.cancel(4, "orders", epoch=9, place=3)
    sender.turn()

    assert sender.sources("orders") == [(9, 4, 3)]
    assert sender.dispatch.done == [(4, 3)]


def test_a_task_that_was_handed_back_is_kept_until_its_ack_and_is_to_be_claimed() -> None:
    sender = Sender()
    sender.make("tasks", "orders")
    sender.dispatch.send(5, [SendAgain("run", "1")], epoch=1, place=2)
    assert sender.dispatch.dispatched == 4

    assert sender.turn() == 5
    assert sender.dispatch.done == [(5, 2)]
    (record,) = sender.broker.partition(topic_name("tasks", "ns", "orders"), 0).records
    task = decode_as(ActivityTask, record.value)
    assert (task.token, task.wants_claim) == (b"2", True)


def test_one_that_nobody_needs_any_more_is_not_sent() -> None:
    sender = Sender()
    sender.dispatch.send(5, [SendAgain("run", "gone")], epoch=1)

    assert sender.dispatch.dispatched == 5
    assert sender.dispatch.done == [(5, 0)]


def test_a_hand_back_is_a_row_of_the_table_until_its_task_is_out() -> None:
    ops: Ops = {}

    (key,) = effect_rows([SendAgain("run", "1")], 5, 1, ops)

    row = ops[key]
    assert row is not None
    assert kept_effect(row) == (1, SendAgain("run", "1"))
