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
from perdure_topics.ports import TopicSpec
from perdure_topics.publisher_port import Emission, Mark, PublishError, RefusedError
from perdure_topics.simulated.simulated_log import SimulatedBroker, SimulatedLog
from perdure_views.relay import Relay
from perdure_views.relay_source import LATE_MAX

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

    def begin(self, places: Sequence[tuple[str, int]]) -> list[Mark]:
        return [self.marks[place] for place in places if place in self.marks]

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


class MyTurn:
    def is_mine(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is held."""


class World:
    """A queue of two partitions whose workflows emit, and a relay that may be started anew."""

    def __init__(self, *topics: str) -> None:
        self.broker = SimulatedBroker(1)
        self.log = SimulatedLog(self.broker, "relay")
        specs = [(EVENTS, 2), (DEAD, 1), *((topic, 2) for topic in topics)]
        self.log.create_topics(
            [TopicSpec(name, count, 1, topic_settings("events")) for name, count in specs]
        )
        self.topics = Topics()
        self.now_s = 0.0
        self._pseqs = Counter[int]()
        for partition in (0, 1):
            bump = EpochBump(epoch=1, nonce=b"n", input_topic_id="t", owner="", time_ms=0)
            self.broker.write(EVENTS, partition, encode(bump))
        self.start()

    def start(self) -> None:
        """Another relay, which knows what the marks say and nothing else."""
        info = self.log.topic(EVENTS)
        assert info is not None
        publisher: Any = self.topics
        turn: Any = MyTurn()
        self.relay = Relay(
            self.log, [info], publisher, turn=turn, ring=lambda: None, clock=lambda: self.now_s
        )

    def make(self, topic: str, partitions: int = 2) -> None:
        self.log.create_topics([TopicSpec(topic, partitions, 1, topic_settings("events"))])

    def emit(self, *whats: tuple[str, str], partition: int = 0, to: int = -1) -> None:
        """One transition that emits to topics, by key."""
        self._pseqs[partition] += 1
        records = [RecordEmitted(topic=topic, key=k.encode(), partition=to) for topic, k in whats]
        events = [WorkflowStarted(workflow_type="W"), *records]
        body = TransitionBody(
            workflow_id="w", run_id="r", seq=1, events=[encode(event) for event in events]
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


def test_a_record_that_its_topic_will_never_take_is_a_dead_letter() -> None:
    world = World("a")
    world.topics.refuses = lambda one: "!too large" if (one.topic, one.key) == ("a", b"2") else ""
    world.emit(("a", "1"), ("a", "2"), ("a", "3"))
    world.emit(("a", "4"))
    world.pass_s(4)

    assert world.topics.keys("a") == ["1", "3", "4"]
    (dead,) = [one for one in world.topics.records if one.topic == DEAD]
    assert (dead.key, dead.headers["perdure-topic"]) == (b"2", b"a")
    assert b"too large" in dead.headers["perdure-error"]


def test_where_dead_letters_are_refused_too_only_that_topic_waits() -> None:
    world = World("a", "b")
    refused = {"a": "!too large", DEAD: "denied"}
    world.topics.refuses = lambda one: refused.get(one.topic, "")
    world.emit(("a", "1"), ("b", "2"))
    world.pass_s(5)
    assert world.topics.keys("b") == ["2"]

    del refused[DEAD]
    world.pass_s(70)
    assert world.topics.keys(DEAD) == ["1"]


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
    world.pass_s(20)
    assert world.topics.keys("a") == ["1"]
    assert [world.topics.keys(name) for name in names] == [[name] for name in names]


@pytest.mark.parametrize("drawn", range(30))
def test_each_arrives_once_and_in_order_whatever_fails_meanwhile(drawn: int) -> None:
    rng = Random(drawn)
    names = ["a", "b", "c"]
    world = World("a")
    refused: set[str] = set()
    world.topics.refuses = lambda one: "denied" if one.topic in refused else ""
    emitted: dict[tuple[str, int], list[str]] = {}
    for number in range(40):
        partition = rng.randrange(2)
        whats = [
            (rng.choice(names), f"{partition}/{number}/{place}")
            for place in range(rng.randrange(4))
        ]
        for topic, key in whats:
            emitted.setdefault((topic, partition), []).append(key)
        world.emit(*whats, partition=partition)
        act = rng.random()
        if act < 0.15:
            world.start()
        elif act < 0.3:
            world.make(rng.choice(names))
        elif act < 0.4:
            refused ^= {rng.choice(names)}
        elif act < 0.5:
            world.topics.fails = rng.randrange(1, 4)
        if rng.random() < 0.7:
            world.pass_s(rng.randrange(1, 4))
    refused.clear()
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
