"""The simulated log keeps the contract, runs the same again, and has the faults it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, cast

import pytest

from perdure_topics.names import topic_name, topic_settings
from perdure_topics.ports import LogUnavailableError, Report, TopicSpec
from perdure_topics.simulated.simulated_log import FaultPlan, SimulatedBroker, SimulatedLog
from tests.log_contract import (
    GroupContract,
    Holder,
    MakeLog,
    ReadingContract,
    WritingContract,
    no_bell,
)


@pytest.fixture
def broker() -> SimulatedBroker:
    return SimulatedBroker(1)


@pytest.fixture
def make_log(broker: SimulatedBroker) -> MakeLog:
    return lambda: SimulatedLog(broker)


class _Turned:
    """Waiting is turning the world's time until the answer is true."""

    @pytest.fixture
    def wait(self, broker: SimulatedBroker) -> Callable[[Callable[[], Any]], Any]:
        def turn(condition: Callable[[], Any]) -> Any:
            until = broker.now_ms + 20_000
            while not (answer := condition()) and broker.now_ms < until:
                broker.run_until(min(broker.next_at(), broker.now_ms + 1))
            return answer

        return turn


class TestWriting(_Turned, WritingContract):
    """Writers in a world without faults."""


class TestReading(_Turned, ReadingContract):
    """Readers in a world without faults."""


class TestGroups(_Turned, GroupContract):
    """Groups in a world without faults."""


TOPIC = "t.q.events"


def world(seed: int, plan: FaultPlan | None = None) -> tuple[SimulatedBroker, SimulatedLog]:
    broker = SimulatedBroker(seed, plan)
    log = SimulatedLog(broker)
    log.create_topics([TopicSpec(TOPIC, 2, 1, topic_settings("events"))])
    return broker, log


def busy_run(seed: int) -> list[object]:
    """A writer that goes on with a new incarnation after each error, and a reader; all they saw."""
    plan = FaultPlan.draw(Random(seed))
    broker, log = world(seed, plan)
    seen: list[object] = []
    appender = log.appender(on_ready=no_bell)
    tail = log.tail(on_ready=no_bell, committed=True)
    tail.assign(TOPIC, 0, 0)
    for n in range(600):
        appender.append(TOPIC, 0, b"%d" % n, tag=n)
        broker.run_until(broker.now_ms + 50)
        reports = appender.reports()
        seen += reports
        if any(report.error for report in reports):
            appender.close()
            appender = log.appender(on_ready=no_bell)
        seen += tail.take(TOPIC, 0, 100)
    return seen


@pytest.mark.seeds(4, fresh=2)
def test_the_same_seed_is_the_same_run(seed: int) -> None:
    assert busy_run(seed) == busy_run(seed)
    assert busy_run(seed) != busy_run(seed + 1)


def fates(plan: FaultPlan, *, timeout_ms: int = 30_000) -> tuple[Counter[str], SimulatedBroker]:
    """What became of single appends, each by a writer of its own, a long while after."""
    broker, log = world(3, plan)
    found: Counter[str] = Counter()
    reports: list[Report] = []
    writers = []
    for n in range(400):
        writer = log.appender(on_ready=no_bell, timeout_ms=timeout_ms)
        writer.append(TOPIC, 0, b"%d" % n, tag=n)
        writers.append(writer)
        broker.run_until(broker.now_ms + 10)
    broker.run_until(broker.now_ms + 5_000)
    at_report = {record.value for record in broker.partition(TOPIC, 0).records}
    broker.run_until(broker.now_ms + 300_000)
    written = {record.value for record in broker.partition(TOPIC, 0).records}
    for writer in writers:
        reports += writer.reports()
    assert len(reports) == 400
    assert len(broker.partition(TOPIC, 0).records) == len(written), "written twice"
    for report in reports:
        value = b"%d" % cast("int", report.tag)
        if report.error is None:
            assert value in written
            found["acked" if report.offset is not None else "no offset"] += 1
        elif value in at_report:
            found["error, written"] += 1
        else:
            found["error, written late" if value in written else "error, not written"] += 1
    return found, broker


@pytest.mark.parametrize(
    ("plan", "fate"),
    [
        (FaultPlan(ack_lost=0.3), "error, written"),
        (FaultPlan(never_written=0.3), "error, not written"),
        (FaultPlan(late_written=0.3), "error, written late"),
        (FaultPlan(queue_timeout=0.3), "error, not written"),
        (FaultPlan(no_offset=0.3), "no offset"),
    ],
)
def test_each_fault_of_an_append_happens_and_no_other(plan: FaultPlan, fate: str) -> None:
    found, _ = fates(plan)
    assert 60 < found[fate] < 180
    assert found["acked"] + found[fate] >= 370  # a late one may be written before we look
    assert set(found) <= {"acked", fate, "error, written"}


def test_a_world_without_faults_has_none() -> None:
    found, _ = fates(FaultPlan())
    assert found == {"acked": 400}


@pytest.mark.seeds(10, fresh=5)
def test_a_writer_without_timeout_skips_nothing(seed: int) -> None:
    plan = FaultPlan(ack_lost=0.02, never_written=0.02, late_written=0.02, slow_append=0.05)
    broker, log = world(seed, plan)
    writers = 0
    done = 0
    while done < 300:
        # As effects are sent: after an error a new one starts behind the last contiguous ack.
        writers += 1
        writer = log.appender(on_ready=no_bell, timeout_ms=0)
        sent = done
        for _ in range(5_000):
            broker.run_until(broker.now_ms + 1)
            reports = writer.reports()
            for report in reports:
                if report.error is None and report.tag == done:
                    done += 1
            if any(report.error for report in reports) or done == 300:
                break
            if sent < min(done + 20, 300):
                writer.append(TOPIC, 0, b"%d" % sent, tag=sent)
                sent += 1
        writer.close()
    broker.run_until(broker.now_ms + 10_000)
    assert writers > 1
    firsts = list(dict.fromkeys(int(r.value or b"") for r in broker.partition(TOPIC, 0).records))
    assert firsts == list(range(300)), "first occurrences out of order"


def test_a_killed_process_is_noticed_after_its_session() -> None:
    broker, log = world(5)
    other = SimulatedLog(broker, "other")
    first = Holder(log.member("g", TOPIC, on_ready=no_bell))
    second = Holder(other.member("g", TOPIC, on_ready=no_bell))
    broker.run_until(3_000)
    first.look()
    broker.run_until(6_000)
    assert sorted((len(first.look()), len(second.look()))) == [1, 1]
    broker.crash(log.node)
    broker.run_until(broker.now_ms + 5_000)
    assert len(second.look()) == 1
    broker.run_until(broker.now_ms + 2_000)
    assert second.look() == {0, 1}
    assert first.member.changes() == []


def test_a_paused_process_is_a_zombie_that_learns_late() -> None:
    broker, log = world(6)
    other = SimulatedLog(broker, "other")
    first = Holder(log.member("g", TOPIC, on_ready=no_bell))
    appender = log.appender(on_ready=no_bell)
    broker.run_until(1_000)
    assert first.look() == {0, 1}
    second = Holder(other.member("g", TOPIC, on_ready=no_bell))
    broker.pause(log.node)
    appender.append(TOPIC, 0, b"late", tag="late")
    broker.run_until(broker.now_ms + 15_000)
    assert second.look() == {0, 1}
    assert first.look() == {0, 1}, "it does not know"
    assert broker.partition(TOPIC, 0).records == []
    broker.resume(log.node)
    broker.run_until(broker.now_ms + 100)
    assert first.kinds.count("lost") == 0
    first.look()
    assert first.kinds.count("lost") == 2
    assert [r.value for r in broker.partition(TOPIC, 0).records] == [b"late"]


def test_a_broker_that_is_away_takes_and_gives_nothing() -> None:
    broker, log = world(7)
    appender = log.appender(on_ready=no_bell)
    tail = log.tail(on_ready=no_bell, committed=False)
    tail.assign(TOPIC, 0, 0)
    broker.outage(4_000)
    with pytest.raises(LogUnavailableError):
        log.topic(TOPIC)
    appender.append(TOPIC, 0, b"x", tag="x")
    broker.run_until(3_900)
    assert (appender.reports(), tail.take(TOPIC, 0, 9)) == ([], [])
    broker.run_until(5_000)
    assert [report.offset for report in appender.reports()] == [0]
    assert [record.value for record in tail.take(TOPIC, 0, 9)] == [b"x"]
    # Longer than the writer's timeout: reported as failed.
    broker.outage(60_000)
    appender.append(TOPIC, 0, b"y", tag="y")
    broker.run_until(70_000)
    (failed,) = appender.reports()
    assert failed.error is not None
    assert broker.partition(TOPIC, 0).end == 1


def test_a_foreign_transaction_hides_from_committed_readers_only() -> None:
    broker, log = world(8)
    topic = topic_name("commands", "t", "q")
    log.create_topics([TopicSpec(topic, 1, 1, topic_settings("commands"))])
    tails = [log.tail(on_ready=no_bell, committed=flag) for flag in (True, False)]
    for tail in tails:
        tail.assign(topic, 0, 0)
    broker.write(topic, 0, b"before")
    broker.stall(topic, 0, 5_000)
    broker.write(topic, 0, b"after")
    broker.run_until(1_000)
    committed, uncommitted = ([r.value for r in tail.take(topic, 0, 9)] for tail in tails)
    assert committed == [b"before"]
    assert uncommitted == [b"before", b"after"]
    # It is appended, though it cannot be read yet.
    probe = tails[0].probe_end(topic, 0)
    broker.run_until(2_000)
    assert (probe.end(), tails[0].position(topic, 0)) == (2, 1)
    broker.run_until(6_000)
    assert [r.value for r in tails[0].take(topic, 0, 9)] == [b"after"]
    # Behind it stands the mark of the transaction, which is nothing to read.
    broker.run_until(7_000)
    assert tails[0].take(topic, 0, 9) == []
    assert tails[0].position(topic, 0) == broker.partition(topic, 0).end == 3


def test_a_truncated_tail_is_lost_and_its_offsets_come_again() -> None:
    broker, _ = world(9)
    for n in range(5):
        broker.write(TOPIC, 0, b"%d" % n)
    assert broker.truncate(TOPIC, 0, 2) == 2
    again = broker.write(TOPIC, 0, b"new")
    assert (again.offset, again.leader_epoch) == (3, 1)


def test_plans_differ_from_seed_to_seed_and_can_be_made_smaller() -> None:
    plans = [FaultPlan.draw(Random(seed)) for seed in range(200)]
    on = Counter(name for plan in plans for name in plan.on())
    assert len(on) == 13
    assert all(60 < count < 140 for count in on.values())
    assert "truncation" not in on
    assert FaultPlan.draw(Random(1), truncation=True).truncation > 0
    plan = FaultPlan(ack_lost=0.5, stall=0.1)
    assert plan.without("ack_lost").on() == ["stall"]
