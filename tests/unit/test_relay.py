"""The relay: one target that cannot be published to holds back its own records, and no other's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from perdure_schemas.avro import encode
from perdure_schemas.events import WorkflowStarted
from perdure_schemas.fact_events import RecordEmitted
from perdure_schemas.transition import EpochBump, Transition, TransitionBody
from perdure_topics.kafka.group import STILL_S
from perdure_topics.names import topic_name, topic_settings
from perdure_topics.ports import StoredRecord, TopicSpec
from perdure_topics.publisher_port import Emission, Mark, PublishError, RefusedError
from perdure_topics.simulated.simulated_log import SimulatedBroker, SimulatedLog
from perdure_views.relay import Relay
from perdure_views.relay_lanes import Lane, Lanes
from perdure_views.relay_source import EVENT_ID, LATE_MAX, NoMarkError, Unmarked

EVENTS = topic_name("events", "ns", "q")
DEAD = topic_name("dead", "ns", "q")
Refuses = Callable[[Emission], str]


class Topics:
    """What a broker keeps of a publisher: records and marks, both or neither of a transaction."""

    def __init__(self) -> None:
        self.records: list[Emission] = []
        self.marks: dict[tuple[str, int], Mark] = {}
        self.refuses: Refuses = lambda _emission: ""
        """Why a record is refused; one that begins with an exclamation mark is for good."""
        self.fails = 0
        """How many of the next transactions end in doubt, and have not happened."""

        self.offsets: list[Mark] = []
        """What a group says: of an older release, or set by somebody."""

    def begin(self, places: Sequence[tuple[str, int]]) -> list[Mark]:
        return [self.marks[place] for place in places if place in self.marks] + self.offsets

    def publish(self, emissions: Sequence[Emission], marks: Sequence[Mark]) -> None:
        if self.fails:
            self.fails -= 1
            raise PublishError("away")
        for index, emission in enumerate(emissions):
            if reason := self.refuses(emission):
                raise RefusedError(reason, index=index, is_final=reason.startswith("!"))
        self.records += emissions
        self.marks.update({(mark.topic, mark.partition): mark for mark in marks})

    def close(self) -> None:
        """Nothing is open."""

    def keys(self, topic: str) -> list[str]:
        return [(one.key or b"").decode() for one in self.records if one.topic == topic]


class Turning:
    """A simulated log whose broker has a turn whenever somebody reads, for those who wait."""

    def __init__(self, log: SimulatedLog, broker: SimulatedBroker) -> None:
        self._log = log
        self._broker = broker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def tail(self, *, on_ready: Callable[[], None], committed: bool) -> Any:
        tail = self._log.tail(on_ready=on_ready, committed=committed)
        take, broker = tail.take, self._broker

        def turn_and_take(topic: str, partition: int, records_max: int) -> list[StoredRecord]:
            broker.run_until(broker.now_ms + 100)
            on_ready()
            return take(topic, partition, records_max)

        setattr(tail, "take", turn_and_take)  # noqa: B010 - typed as a method
        return tail


class MyTurn:
    def is_mine(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is held."""


class World:
    """A queue of two partitions whose workflows emit, and a relay that may be started anew."""

    def __init__(self, *topics: str, earlier: str = "") -> None:
        self.broker = SimulatedBroker(1)
        simulated = SimulatedLog(self.broker, "relay")
        self.log: Any = Turning(simulated, self.broker)
        if earlier:
            self.make(earlier)
        specs = [(EVENTS, 2), (DEAD, 1), *((topic, 2) for topic in topics)]
        self.log.create_topics(
            [TopicSpec(name, count, 1, topic_settings("events")) for name, count in specs]
        )
        self.topics = Topics()
        self.now_s = 0.0
        self.unmarked = Unmarked.REFUSE
        self.told: list[tuple[str, str]] = []
        self._pseqs = Counter[int]()
        for partition in (0, 1):
            bump = EpochBump(epoch=1, nonce=b"n", input_topic_id="t", owner="", time_ms=0)
            self.broker.write(EVENTS, partition, encode(bump))
        self.start()
        self.pass_s(2)

    def start(self) -> None:
        """Another relay, which knows what the marks say and nothing else."""
        info = self.log.topic(EVENTS)
        assert info is not None
        publisher: Any = self.topics
        turn: Any = MyTurn()
        self.relay = Relay(
            self.log,
            [info],
            publisher,
            turn=turn,
            ring=lambda: None,
            unmarked=self.unmarked,
            tell=lambda due, why: self.told.append((due.event_id, why)),
            clock=lambda: self.now_s,
        )

    def make(self, topic: str, partitions: int = 2) -> None:
        self.log.create_topics([TopicSpec(topic, partitions, 1, topic_settings("events"))])

    def emit(self, *whats: tuple[str, str], partition: int = 0, to: int = -1) -> None:
        """One transition that emits to topics, by key."""
        self._pseqs[partition] += 1
        records = [RecordEmitted(topic=topic, key=k.encode(), partition=to) for topic, k in whats]
        events = [WorkflowStarted(workflow_type="W"), *records]
        body = TransitionBody(
            workflow_id="w",
            run_id=f"r{partition}-{self._pseqs[partition]}",
            seq=1,
            events=[encode(event) for event in events],
        )
        transition = Transition(
            epoch=1,
            nonce=b"n",
            pseq=self._pseqs[partition],
            after=-1,
            upto=-1,
            dispatched=0,
            time_ms=1_000,
            body=encode(body),
        )
        self.broker.write(EVENTS, partition, encode(transition))

    def settle(self, target: str, **how: Any) -> list[Lane]:
        """What `perdure relay retry|skip` does."""
        info = self.log.topic(EVENTS)
        assert info is not None
        publisher: Any = self.topics
        lanes = Lanes(self.log, info, publisher, queue=("ns", "q"))
        try:
            return lanes.settle(target, **how)
        finally:
            lanes.close()

    def pass_s(self, count: int) -> None:
        for _ in range(count):
            self.now_s += 1
            self.broker.run_until(self.broker.now_ms + 1_000)
            for _ in range(4):
                self.relay.step()


def test_a_topic_that_is_not_there_holds_back_its_own_records_only() -> None:
    world = World("a")
    world.emit(("a", "1"), ("gone", "2"), ("a", "3"))
    world.emit(("gone", "4"), ("a", "5"))
    world.emit(("a", "6"), ("gone", "7"), partition=1)
    world.pass_s(5)
    assert sorted(world.topics.keys("a")) == ["1", "3", "5", "6"]

    world.make("gone")
    world.pass_s(5)
    world.emit(("gone", "8"), ("a", "9"))
    world.pass_s(3)

    gone = world.topics.keys("gone")
    assert sorted(gone) == ["2", "4", "7", "8"]
    assert [key for key in gone if key != "7"] == ["2", "4", "8"], "the order of the log"
    assert sorted(world.topics.keys("a")) == ["1", "3", "5", "6", "9"]


def test_a_restart_loses_and_doubles_nothing_of_what_is_behind() -> None:
    world = World("a")
    world.emit(("a", "1"), ("gone", "2"))
    world.pass_s(3)
    world.emit(("a", "3"), ("gone", "4"))
    world.pass_s(3)
    world.start()
    world.emit(("gone", "5"), ("a", "6"))
    world.pass_s(3)
    assert world.topics.keys("a") == ["1", "3", "6"]
    world.make("gone")
    world.start()
    world.pass_s(5)
    world.start()
    world.pass_s(3)

    assert world.topics.keys("gone") == ["2", "4", "5"]
    assert world.topics.keys("a") == ["1", "3", "6"]


def test_a_partition_that_is_not_there_holds_back_what_is_for_it() -> None:
    world = World("a")
    world.emit(("a", "1"))
    world.emit(("a", "two"), to=7)
    world.emit(("a", "3"))
    world.pass_s(4)

    assert world.topics.keys("a") == ["1", "3"]


def test_a_record_that_its_topic_does_not_take_holds_back_those_behind_it() -> None:
    world = World("a", "b")
    world.topics.refuses = lambda one: "!too large" if (one.topic, one.key) == ("a", b"2") else ""
    world.emit(("a", "1"), ("a", "2"), ("b", "2"), ("a", "3"))
    world.emit(("a", "4"), ("b", "4"))
    world.emit(("a", "other"), partition=1)
    world.pass_s(4)

    assert sorted(world.topics.keys("a")) == ["1", "other"]
    assert world.topics.keys("b") == ["2", "4"]
    assert world.topics.keys(DEAD) == []
    (event_id, why) = world.told[-1]
    assert event_id == "r0-1-3", "the run, and which of its events"
    assert "too large" in why


def test_a_person_sends_the_record_that_is_refused_to_the_dead_letters_and_the_rest_follows() -> (
    None
):
    world = World("a")
    world.topics.refuses = lambda one: "!too large" if (one.topic, one.key) == ("a", b"2") else ""
    world.emit(("a", "1"), ("a", "2"), ("a", "3"))
    world.emit(("a", "4"))
    world.pass_s(4)

    assert world.settle("a") == [
        Lane(0, "a", 1, "!too large (event r0-1-3)", published=0, skipped=0)
    ]
    (settled,) = world.settle("a", skips=1)
    assert settled == Lane(0, "a", 1, "", published=2, skipped=1, is_behind=False)

    world.start()
    world.emit(("a", "5"))
    world.pass_s(4)
    assert world.topics.keys("a") == ["1", "3", "4", "5"]
    (dead,) = [one for one in world.topics.records if one.topic == DEAD]
    assert (dead.key, dead.headers["perdure-topic"]) == (b"2", b"a")
    assert dead.headers[EVENT_ID] == b"r0-1-3"
    assert b"too large" in dead.headers["perdure-error"]


def test_all_that_waits_for_a_topic_that_is_never_made_can_be_skipped() -> None:
    world = World("a")
    world.emit(("gone", "1"), ("a", "2"), ("gone", "3"))
    world.emit(("gone", "4"))
    world.pass_s(4)

    (settled,) = world.settle("gone", skips=2, problem_of=lambda _target: "there is none")
    assert (settled.skipped, settled.why) == (2, "there is none")
    (settled,) = world.settle("gone", skips=float("inf"), problem_of=lambda _target: "none")
    assert (settled.skipped, settled.is_behind) == (1, False)
    assert world.topics.keys(DEAD) == ["1", "3", "4"]


def test_without_a_mark_nothing_is_published_until_somebody_says_what_was() -> None:
    world = World("a")
    world.emit(("a", "1"))
    world.pass_s(3)
    assert world.topics.keys("a") == ["1"]
    world.topics.marks.clear()

    world.start()
    with pytest.raises(NoMarkError, match=r"--from-beginning .*--from-now"):
        world.pass_s(2)
    assert world.topics.keys("a") == ["1"]

    world.unmarked = Unmarked.PASS
    world.start()
    world.pass_s(3)
    world.emit(("a", "2"))
    world.pass_s(3)
    assert world.topics.keys("a") == ["1", "2"]


def test_who_says_that_nothing_was_published_has_it_published() -> None:
    world = World("a")
    world.emit(("a", "1"))
    world.pass_s(3)
    world.topics.marks.clear()
    world.unmarked = Unmarked.PUBLISH

    world.start()
    world.pass_s(3)
    world.start()
    world.pass_s(3)

    assert world.topics.keys("a") == ["1", "1"]


def test_what_an_older_release_left_in_its_groups_offset_is_gone_on_from() -> None:
    world = World("a")
    world.emit(("a", "1"))
    world.pass_s(3)
    world.topics.offsets = [mark._replace(behind={}) for mark in world.topics.marks.values()]
    world.topics.marks.clear()

    world.start()
    world.emit(("a", "2"))
    world.pass_s(3)

    assert world.topics.keys("a") == ["1", "2"]


def test_marks_of_another_topic_of_the_same_name_are_no_marks() -> None:
    world, other = World("a"), World("a", earlier="another")
    world.emit(("a", "1"))
    world.pass_s(3)
    other.emit(("a", "2"))
    other.topics.marks = dict(world.topics.marks)

    other.start()
    with pytest.raises(NoMarkError):
        other.pass_s(2)


def test_marks_of_a_quiet_queue_are_made_again_within_the_hour() -> None:
    world = World("a")
    world.emit(("a", "1"))
    world.pass_s(20)
    world.topics.marks.clear()

    world.now_s += 3_600
    world.relay.step()

    assert len(world.topics.marks) == 2


def test_a_users_topic_that_is_named_like_one_of_ours_is_published_to() -> None:
    world = World("crm.orders.events", "crm.findings")
    world.log.create_topics([TopicSpec("crm.other.commands", 1, 1, {})])
    world.emit(("crm.orders.events", "1"), ("crm.findings", "2"))
    world.pass_s(3)

    assert world.topics.keys("crm.orders.events") == ["1"]
    assert world.topics.keys("crm.findings") == ["2"]


def test_what_is_emitted_to_another_queues_own_topic_is_held_back_with_the_reason() -> None:
    world = World("a", *(topic_name(role, "crm", "q") for role in ("tasks", "dead")))
    commands, events = (topic_name(role, "crm", "q") for role in ("commands", "events"))
    world.make(commands)
    world.make(events)
    info = world.log.topic(commands)
    assert info is not None
    bump = EpochBump(epoch=1, nonce=b"n", input_topic_id=info.topic_id, owner="", time_ms=0)
    world.broker.write(events, 0, encode(bump))
    world.emit((commands, "1"), ("a", "2"))
    world.pass_s(3)

    assert world.topics.keys("a") == ["2"]
    assert world.topics.keys(commands) == []
    assert world.told == [
        ("r0-1-2", f"topic {commands!r} is task queue 'q''s own: only its processes write there")
    ]


def test_each_record_says_which_event_it_is() -> None:
    world = World("a")
    world.emit(("a", "1"), ("a", "2"))
    world.pass_s(3)

    assert [one.headers[EVENT_ID] for one in world.topics.records] == [b"r0-1-2", b"r0-1-3"]


def test_a_topic_that_refuses_for_a_while_is_left_behind_and_catches_up() -> None:
    world = World("a", "b")
    refused = {"a": "denied"}
    world.topics.refuses = lambda one: refused.get(one.topic, "")
    for number in range(5):
        world.emit(("a", str(number)), ("b", str(number)))
        world.pass_s(2)
    assert world.topics.keys("b") == ["0", "1", "2", "3", "4"]
    assert world.topics.keys("a") == []

    refused.clear()
    world.pass_s(40)
    assert world.topics.keys("a") == ["0", "1", "2", "3", "4"]
    assert world.topics.keys("b") == ["0", "1", "2", "3", "4"]


def test_more_than_a_mark_can_hold_make_the_relay_wait(caplog: pytest.LogCaptureFixture) -> None:
    names = [f"gone{number}" for number in range(LATE_MAX + 2)]
    world = World("a")
    world.emit(*((name, name) for name in names), ("a", "1"))
    world.pass_s(3)
    assert world.topics.keys("a") == []
    assert "the relay waits" in caplog.text

    for name in names:
        world.make(name)
    world.pass_s(60)
    assert world.topics.keys("a") == ["1"]
    assert [world.topics.keys(name) for name in names] == [[name] for name in names]


@pytest.mark.parametrize("drawn", range(30))
def test_each_arrives_once_and_in_order_whatever_fails_meanwhile(drawn: int) -> None:
    rng = Random(drawn)
    names = ["a", "b", "c"]
    world = World("a")
    refused: set[str] = set()
    large: set[bytes] = set()

    def refuses(one: Emission) -> str:
        if one.topic in refused:
            return "denied"
        return "!too large" if one.key in large else ""

    world.topics.refuses = refuses
    emitted: dict[tuple[str, int], list[str]] = {}
    for number in range(40):
        partition = rng.randrange(2)
        whats = [
            (rng.choice(names), f"{partition}/{number}/{place}")
            for place in range(rng.randrange(4))
        ]
        for topic, key in whats:
            emitted.setdefault((topic, partition), []).append(key)
            if rng.random() < 0.05:
                large.add(key.encode())
        world.emit(*whats, partition=partition)
        act = rng.random()
        if act < 0.15:
            world.start()
        elif act < 0.3:
            world.make(rng.choice(names))
        elif act < 0.4:
            refused ^= {rng.choice(names)}
        elif act < 0.45:
            large.clear()
        elif act < 0.55:
            world.topics.fails = rng.randrange(1, 4)
        if rng.random() < 0.7:
            world.pass_s(rng.randrange(1, 4))
    refused.clear()
    large.clear()
    for name in names:
        world.make(name)
    world.pass_s(60)

    for (topic, partition), keys in emitted.items():
        found = [key for key in world.topics.keys(topic) if key.startswith(f"{partition}/")]
        assert found == keys, (topic, partition)


def test_a_relay_with_nothing_to_do_asks_whose_turn_it_is_before_it_counts_as_standing_still() -> (
    None
):
    world = World("sales")

    while (waits_s := world.relay.step()) == 0:
        pass

    assert 0 < waits_s < STILL_S / 2
