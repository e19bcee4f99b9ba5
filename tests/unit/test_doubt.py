"""Code that kills its process is found, whatever made it run: the run is blocked, others go on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from perdure import workflow
from perdure_actors.partition.doubt import DOUBTS, LIVES_IN_DOUBT, MARKS_MAX
from perdure_actors.replay.coroutine import Coroutine
from perdure_schemas.avro import decode, decode_as
from perdure_schemas.commands import WorkerLease
from perdure_schemas.events import (
    ActivityFailed,
    ActivityTimedOut,
    InputTrying,
    TimerFired,
    WorkflowStarted,
)
from perdure_schemas.message_commands import QueryWorkflow, SignalWorkflow
from perdure_schemas.message_events import WorkflowSignaled
from perdure_schemas.payloads import Record
from perdure_schemas.replies import Refused
from perdure_schemas.transition import Transition, TransitionBody
from tests.unit.host_world import HostWorld

pytestmark = pytest.mark.timeout(60)
DEATHS_MAX = LIVES_IN_DOUBT + MARKS_MAX + 1


class Killed(KeyboardInterrupt):
    """The process of a host ends here: the one thing that its fences let through."""


class Killer:
    """Kills whoever runs the code of one workflow id on one kind of event."""

    def __init__(self) -> None:
        self.workflow_id = "bad"
        self.on: type[Record] = TimerFired
        self.times = 0
        self.first_run_only = False


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Killer:
    made = Killer()
    advance = Coroutine.advance

    def deadly(self: Coroutine, event: Record, **more: Any) -> Any:
        of_it = self.facts.workflow_id == made.workflow_id
        if of_it and isinstance(event, made.on) and not _is_spared(event, made):
            made.times += 1
            raise Killed
        return advance(self, event, **more)

    monkeypatch.setattr(Coroutine, "advance", deadly)
    return made


def _is_spared(event: Record, killer: Killer) -> bool:
    return (
        killer.first_run_only and isinstance(event, WorkflowStarted) and not event.continued_run_id
    )


@workflow.defn(sandboxed=False)
class Napping:
    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(timedelta(seconds=5))
        return "slept"

    @workflow.signal
    def poke(self) -> None:
        """Heard, and nothing else."""


@workflow.defn(sandboxed=False)
class Working:
    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity("nobody's", schedule_to_close_timeout=timedelta(seconds=5))
        return "worked"


@workflow.defn(sandboxed=False)
class Renewing:
    @workflow.run
    async def run(self) -> None:
        if workflow.info().continued_run_id is None:
            workflow.continue_as_new(backoff_start_interval=timedelta(seconds=2))
        await asyncio.sleep(1000)


bugs: list[Exception] = []


@workflow.defn(sandboxed=False)
class Waiting:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def poke(self) -> None:
        if bugs:
            raise bugs[0]


def live_through(here: HostWorld, for_ms: int, *, also: Callable[[], None] | None = None) -> None:
    """Give the hosts their turns; each that dies is followed by another."""
    until_ms = here.broker.now_ms + for_ms
    while here.broker.now_ms < until_ms:
        if also is not None:
            also()
        try:
            here.turn()
        except Killed:
            assert here.deaths < 4 * DEATHS_MAX, "hosts die for ever"
            here.die()


def made() -> HostWorld:
    here = HostWorld([Napping, Working, Renewing, Waiting])
    here.run(1_000)
    return here


def marks(here: HostWorld) -> list[InputTrying]:
    out = []
    for record in here.records("events"):
        envelope = decode(record.value)
        if isinstance(envelope, Transition):
            events = [decode(data) for data in decode_as(TransitionBody, envelope.body).events]
            out += [event for event in events if isinstance(event, InputTrying)]
    return out


@pytest.mark.parametrize(
    ("name", "on"),
    [
        ("Napping", TimerFired),
        ("Working", (ActivityTimedOut, ActivityFailed)),
        ("Waiting", WorkflowStarted),
        ("Waiting", WorkflowSignaled),
        ("Renewing", WorkflowStarted),
    ],
)
def test_a_killer_is_blocked_whatever_made_it_run(killer: Killer, name: str, on: Any) -> None:
    here = made()
    killer.on, killer.first_run_only = on, name == "Renewing"
    here.start(name, "bad")
    here.start("Napping", "good")
    live_through(here, 1_000)
    if on is WorkflowSignaled:
        here.send(SignalWorkflow(workflow_id="bad", signal_name="poke"))

    live_through(here, 200_000)

    assert 3 <= here.deaths <= DEATHS_MAX
    assert here.deaths == killer.times
    bad = here.describe("bad")
    assert bad.summary.block is not None
    assert bad.summary.block.cause == "killer"
    assert f"tried {MARKS_MAX} times" in bad.summary.block.message
    assert here.describe("good").summary.status == "completed"


def test_a_killer_is_found_beside_others_that_are_busy(killer: Killer) -> None:
    """There is always something that is accepted between two deaths."""
    here = made()
    here.start("Napping", "bad")
    here.start("Waiting", "busy")
    sent = 0

    def poke() -> None:
        nonlocal sent
        sent += 1
        if sent % 5 == 0:
            here.send(SignalWorkflow(workflow_id="busy", signal_name="poke"))

    live_through(here, 300_000, also=poke)

    assert here.deaths <= DEATHS_MAX
    assert here.describe("bad").summary.block.cause == "killer"
    assert here.describe("busy").summary.history_length > 1_000


def test_a_killer_among_many_deadlines_is_found(killer: Killer) -> None:
    here = made()
    for number in range(100):
        here.start("Napping", f"good-{number}")
    here.start("Napping", "bad")

    live_through(here, 300_000)

    assert here.deaths <= DEATHS_MAX
    assert here.describe("bad").summary.block.cause == "killer"
    for number in range(0, 100, 9):
        assert here.describe(f"good-{number}").summary.status == "completed"


def test_marks_say_what_is_tried_and_are_gone_once_it_is_lived_through(killer: Killer) -> None:
    here = made()
    here.start("Napping", "bad")
    live_through(here, 200_000)

    found = marks(here)

    assert [mark.kind for mark in found if mark.kind] == ["timer"] * (MARKS_MAX + 1)
    (slot,) = here.host.slots.values()
    assert slot.shard is not None
    assert slot.shard.meta.marks == {}


def test_a_blocked_run_that_kills_as_it_is_tried_again_is_left_alone(killer: Killer) -> None:
    killer.workflow_id = "nobody"
    here = made()
    here.start("Waiting", "bad")
    bugs.append(ValueError("a bug that the next release mends"))
    here.send(SignalWorkflow(workflow_id="bad", signal_name="poke"))
    here.run(2_000)
    assert here.describe("bad").summary.block.cause == "error"
    killer.workflow_id, killer.on = "bad", WorkflowSignaled
    bugs.clear()
    here.die()
    here.start("Napping", "good")

    live_through(here, 200_000)

    assert 3 <= killer.times <= DEATHS_MAX
    assert here.describe("bad").summary.block.cause == "killer"
    assert here.describe("good").summary.status == "completed"


def test_an_input_that_changes_nothing_is_not_taken_for_what_kills_behind_it(
    killer: Killer,
) -> None:
    here = made()
    for number in range(3):
        here.start("Waiting", f"bad-{number}")
    here.run(1_000)
    killer.on = WorkflowSignaled
    here.send(WorkerLease(worker_id="w", task_queue="q", reply_partition=0, lease_ms=60_000))
    for number in range(3):
        killer.workflow_id = f"bad-{number}"
        here.send(SignalWorkflow(workflow_id=f"bad-{number}", signal_name="poke"))
        live_through(here, 90_000)

    assert here.deaths > 2 * MARKS_MAX
    assert not here.said("input_failed")
    assert not here.dead()
    tried = Counter(mark.offset for mark in marks(here))
    assert max(tried.values()) <= MARKS_MAX + 2


@pytest.mark.parametrize("name", ["Napping", "Waiting"])
def test_a_query_that_kills_is_found(
    killer: Killer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Of a run that has closed, or is open. Who asks asks again; nothing of it is recorded."""
    killer.workflow_id = "nobody"
    here = made()
    here.start(name, "bad")
    here.start("Napping", "good")
    here.run(8_000)
    look = Coroutine.look

    def deadly(self: Coroutine, *args: Any) -> Any:
        if self.facts.workflow_id == "bad":
            killer.times += 1
            raise Killed
        return look(self, *args)

    monkeypatch.setattr(Coroutine, "look", deadly)
    turns = 0

    def ask() -> None:
        nonlocal turns
        turns += 1
        if turns % 50 == 0:
            reply = here.reply_to(f"{turns}")
            here.send(QueryWorkflow(workflow_id="bad", query_name="said", reply=reply))

    live_through(here, 200_000, also=ask)
    here.run(1_000)

    assert killer.times <= DEATHS_MAX
    refused = here.answer(f"{turns - turns % 50}")
    assert isinstance(refused, Refused)
    assert f"tried {MARKS_MAX} times" in refused.message


def test_hand_overs_now_and_then_are_no_doubt(killer: Killer) -> None:
    here = made()
    here.start("Waiting", "good")
    for _ in range(5):
        here.run(20_000)
        here.send(SignalWorkflow(workflow_id="good", signal_name="poke"))
        here.run(1_000)
        here.die()
    here.run(20_000)

    (slot,) = here.host.slots.values()
    assert slot.shard is not None
    assert not slot.shard.doubt.is_on
    assert marks(here) == []


def test_doubt_ends_when_its_hosts_have_lived_through_enough(killer: Killer) -> None:
    here = made()
    here.start("Napping", "bad")
    live_through(here, 200_000)
    (slot,) = here.host.slots.values()
    assert slot.shard is not None
    assert slot.shard.doubt.is_on

    for number in range(DOUBTS):
        here.start("Waiting", f"good-{number}")
    here.run(30_000)

    assert not slot.shard.doubt.is_on
