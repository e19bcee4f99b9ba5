"""The fence round a shard: whatever an input, a read or a deadline raises, its host goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from perdure import workflow
from perdure_actors.core import rules
from perdure_actors.partition.doubt import BUMPS_IN_DOUBT, MARKS_MAX
from perdure_actors.partition.fence import FAILURES_MAX
from perdure_actors.partition.queries import READS
from perdure_schemas.avro import decode, encode
from perdure_schemas.child_commands import ReportChildRefused
from perdure_schemas.commands import CancelWorkflow, DescribeWorkflow, ListWorkflows, StartWorkflow
from perdure_schemas.events import TimerFired, WorkflowStarted
from perdure_schemas.message_commands import SignalWorkflow
from perdure_schemas.payloads import EffectId, ReplyTo, RunRef
from perdure_schemas.replies import Accepted, Refused, RunDescription
from perdure_topics.names import partition_of
from tests.unit.host_world import HostWorld

pytestmark = pytest.mark.timeout(60)
ERRORS = (ValueError, OverflowError, RecursionError, KeyError, UnicodeError, AssertionError)


@workflow.defn(sandboxed=False)
class Quiet:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def poke(self) -> None:
        if raises:
            raise raises[0]


@workflow.defn(sandboxed=False)
class Napping:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(timedelta(seconds=5))
        await asyncio.sleep(0)


@workflow.defn(sandboxed=False)
class Naming:
    @workflow.run
    async def run(self) -> None:
        workflow.upsert_search_attributes({"half \ud83d": ["v"]})
        await asyncio.sleep(1)


raises: list[BaseException] = []


@pytest.fixture(autouse=True)
def nothing_raises() -> Iterator[None]:
    raises.clear()
    yield
    raises.clear()


def failing(error: BaseException, *, of: str = "bad", **found: Any) -> Any:
    """What fails for one workflow id, and does for the others what it did."""
    was = found["was"]

    def fails(*args: Any) -> Any:
        if any(getattr(arg, "workflow_id", "") == of for arg in args):
            raise error
        return was(*args)

    return fails


def plant(monkeypatch: pytest.MonkeyPatch, table: Any, row: object, fails: object) -> None:
    monkeypatch.setitem(table, row, fails)


def world(**more: Any) -> HostWorld:
    made = HostWorld([Quiet, Napping, Naming], **more)
    made.run(1_000)
    return made


@pytest.mark.parametrize("kind", ERRORS)
def test_an_ask_that_fails_is_answered_internal(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world()
    here.start("Quiet", "good")
    here.run(1_000)
    row = failing(kind("a page token of the devil"), was=READS[DescribeWorkflow])
    plant(monkeypatch, READS, DescribeWorkflow, row)

    answer = here.describe("bad")

    assert isinstance(answer, Refused)
    assert answer.code == "internal"
    assert kind.__name__ in answer.message
    assert isinstance(here.describe("good"), RunDescription)
    assert len(here.said("ask_failed")) == 1
    assert here.host.takeovers == 1, "nobody was taken over for an ask"
    assert not here.dead()


@pytest.mark.parametrize("kind", ERRORS)
def test_a_command_that_cannot_be_decided_goes_to_the_dead_letters(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world()
    row = failing(kind("a cron expression of the devil"), was=rules.COMMANDS[StartWorkflow])
    plant(monkeypatch, rules.COMMANDS, StartWorkflow, row)

    bad, good = here.start("Quiet", "bad"), here.start("Quiet", "good")
    here.run(2_000)

    refused = here.answer(bad)
    assert isinstance(refused, Refused)
    assert refused.code == "internal"
    assert isinstance(here.answer(good), Accepted)
    (why,) = here.dead()
    assert why.startswith("internal: ")
    assert kind.__name__ in why
    (said,) = here.said("input_failed")
    assert "offset 0" in said
    assert "dead letters" in said
    assert here.host.takeovers == 1


def test_an_actor_whose_command_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    here = world()
    here.make_topic("commands", 1, task_queue="parents")
    row = failing(OverflowError("too far"), was=rules.COMMANDS[StartWorkflow])
    plant(monkeypatch, rules.COMMANDS, StartWorkflow, row)

    here.send(
        StartWorkflow(
            workflow_id="bad",
            workflow_type="Quiet",
            parent=RunRef(workflow_id="parent", run_id="r", task_queue="parents"),
            child_id="child-1",
            source=EffectId(topic_id="t", partition=0, epoch=1, pseq=1, index=0),
        )
    )
    here.run(2_000)

    (record,) = here.broker.partition("ns.parents.commands", 0).given
    report = decode(record.value)
    assert isinstance(report, ReportChildRefused)
    assert (report.child_id, report.code) == ("child-1", "internal")
    assert "OverflowError" in report.message


def test_what_fails_in_the_middle_gives_its_partition_back_and_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = world(partitions=2)
    one = next(f"w{n}" for n in range(99) if partition_of(f"w{n}", 2) == 0)
    other = next(f"w{n}" for n in range(99) if partition_of(f"w{n}", 2) == 1)
    apply = rules.APPLY[WorkflowStarted]

    def breaks(run: Any, event: WorkflowStarted, *rest: Any) -> Any:
        apply(run, event, *rest)
        if run.state.workflow_id == one:
            raise IndexError("half of it has happened")

    plant(monkeypatch, rules.APPLY, WorkflowStarted, breaks)
    bad, good = here.start("Quiet", one), here.start("Quiet", other)
    here.run(10_000)

    assert isinstance(here.answer(good), Accepted)
    refused = here.answer(bad)
    assert isinstance(refused, Refused)
    assert refused.code == "internal"
    assert len(here.dead()) == 1
    assert here.host.takeovers == 2 + FAILURES_MAX + 1
    given_back = here.said("given_back")
    assert "the input at offset 0 failed" in given_back[0]
    # The partition goes on with what comes next.
    monkeypatch.undo()
    again = here.start("Quiet", one)
    here.run(1_000)
    assert isinstance(here.answer(again), Accepted)


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), MemoryError("all")])
def test_code_that_escapes_three_times_is_blocked(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world()
    here.start("Quiet", "bad")
    here.start("Quiet", "good")
    here.run(1_000)
    feed = here.code.make

    def escapes(started: Any, facts: Any) -> Any:
        made = feed(started, facts)
        if facts.workflow_id == "bad":

            def advance(*_args: Any, **_more: Any) -> Any:
                raise error

            made.advance = advance  # type: ignore[method-assign]
        return made

    here.code.make = escapes  # type: ignore[method-assign]
    for slot in here.host.slots.values():
        assert slot.shard is not None
        slot.shard.run_cache.clear()

    here.send(SignalWorkflow(workflow_id="bad", signal_name="poke"))
    here.send(SignalWorkflow(workflow_id="good", signal_name="poke"))
    here.run(10_000)

    bad, good = here.describe("bad"), here.describe("good")
    assert bad.summary.block is not None
    assert bad.summary.block.cause == "killer"
    assert type(error).__name__ in bad.summary.block.message
    assert good.summary.block is None
    assert not here.dead()


@pytest.mark.parametrize("error", [SystemExit(3), MemoryError("all")])
def test_code_that_escapes_every_host_that_meets_it_is_blocked(error: BaseException) -> None:
    """What a host counts is gone with it: the marks in the log are not."""
    here = world()
    here.start("Quiet", "bad")
    here.start("Quiet", "good")
    here.run(1_000)
    make, tries = here.code.make, 0

    def escapes(started: Any, facts: Any) -> Any:
        made = make(started, facts)
        if facts.workflow_id == "bad":

            def advance(*_args: Any, **_more: Any) -> Any:
                nonlocal tries
                tries += 1
                raise error

            made.advance = advance  # type: ignore[method-assign]
        return made

    here.code.make = escapes  # type: ignore[method-assign]
    for slot in here.host.slots.values():
        assert slot.shard is not None
        slot.shard.run_cache.clear()
    here.send(SignalWorkflow(workflow_id="bad", signal_name="poke"))
    here.send(SignalWorkflow(workflow_id="good", signal_name="poke"))
    until_ms = here.broker.now_ms + 200_000
    while here.broker.now_ms < until_ms:
        lost = len(here.said("given_back"))
        here.turn()
        if len(here.said("given_back")) > lost:
            here.die()

    bad, good = here.describe("bad"), here.describe("good")
    assert bad.summary.block is not None
    assert bad.summary.block.cause == "killer"
    assert good.summary.block is None
    assert tries <= BUMPS_IN_DOUBT + MARKS_MAX
    assert not here.dead()


def test_a_table_whose_damage_only_reading_shows_is_made_anew() -> None:
    here = world()
    here.start("Napping", "one")
    here.run(1_000)
    for name in list(here.store._contents):
        here.store.damage(name, within=True)

    here.start("Quiet", "two")
    here.run(8_000)

    assert here.describe("one").summary.status == "completed"
    assert here.describe("two").summary.status == "running"
    assert len(here.said("table_damaged")) == 1


def test_a_search_attribute_whose_name_is_no_text_costs_nobody_anything() -> None:
    here = world()
    here.start("Naming", "named")
    here.run(3_000)

    summary = here.describe("named").summary
    assert summary.status == "completed"
    assert list(summary.search_attributes) == ["half \\ud83d"]
    assert here.host.takeovers == 1


def test_a_deadline_that_fails_is_put_off_and_others_are_fired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = world()
    here.start("Napping", "bad")
    here.start("Napping", "good")
    here.run(2_000)
    row = rules.ALARMS["timer"]

    def fails(world_: Any, run: Any, *rest: Any) -> Any:
        if run.state.workflow_id == "bad":
            raise OverflowError("date value out of range")
        return row(world_, run, *rest)

    plant(monkeypatch, rules.ALARMS, "timer", fails)
    here.run(8_000)

    assert here.describe("good").summary.status == "completed"
    assert here.describe("bad").summary.status == "running"
    assert len(here.said("deadline_failed")) == 1
    assert here.host.takeovers == 1
    monkeypatch.undo()
    here.run(61_000)
    assert here.describe("bad").summary.status == "completed"


def test_a_deadline_that_costs_its_partition_three_times_blocks_its_run_or_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = world()
    here.start("Napping", "bad")
    here.start("Napping", "good")
    here.run(2_000)
    apply = rules.APPLY[TimerFired]

    def breaks(run: Any, event: TimerFired, *rest: Any) -> Any:
        apply(run, event, *rest)
        if run.state.workflow_id == "bad":
            raise IndexError("half of it has happened")

    plant(monkeypatch, rules.APPLY, TimerFired, breaks)
    here.run(15_000)

    assert here.describe("good").summary.status == "completed"
    assert here.describe("bad").summary.status == "running"
    assert here.host.takeovers == 1 + FAILURES_MAX + 1
    assert here.said("deadline_failed")


HOSTILE_REPLIES = (
    ReplyTo(partition=2**40, correlation_id="x"),
    ReplyTo(partition=2**63 - 1, correlation_id="x"),
    ReplyTo(partition=-1, correlation_id="x"),
    ReplyTo(partition=-(2**63), correlation_id="x"),
    ReplyTo(partition=2, correlation_id="x"),
    ReplyTo(partition=0, correlation_id="x" * 1_000_000),
    ReplyTo(partition=0, correlation_id="x", deadline_ms=-(2**63)),
    ReplyTo(partition=0, correlation_id="x", deadline_ms=2**63 - 1, wait="\0" * 1000),
)


@pytest.mark.parametrize("reply", HOSTILE_REPLIES, ids=range(len(HOSTILE_REPLIES)))
def test_a_reply_address_of_nonsense_harms_nobody(reply: ReplyTo) -> None:
    here = world()
    here.start("Quiet", "good")
    for command in (
        DescribeWorkflow(workflow_id="good", reply=reply),
        ListWorkflows(partition=0, reply=reply, page_token=b"\xff" * 4_000, page_size=-5),
        CancelWorkflow(workflow_id="none", reply=reply),
        StartWorkflow(workflow_id="other", workflow_type="Quiet", reply=reply),
    ):
        here.send(command, partition=0)
    here.run(2_000)

    assert isinstance(here.describe("good"), RunDescription)
    assert isinstance(here.describe("other"), RunDescription)
    assert here.host.takeovers == 1
    assert not [text for text in here.findings if "failed" in text]


HOSTILE_HEADERS: tuple[Any, ...] = (
    (("perdure-reply", None),),
    (("perdure-reply", b""),),
    (("perdure-reply", b"\xff\xfe|x|1"),),
    (("perdure-reply", "²|x|1".encode()),),
    (("perdure-reply", b"9" * 5_000 + b"|x|1"),),
    (("perdure-reply", b"99999999999999999999|x|1"),),
    (("perdure-reply", b"-1|x|1"),),
    (("perdure-reply", b"0|" + b"x" * 5_000 + b"|1"),),
    (("traceparent", None), ("tracestate", None)),
    (("traceparent", b"\xff" * 3_000), ("traceparent", b"00-")),
    (("traceparent", b"00-" + b"1" * 32 + b"-" + b"1" * 16 + b"-01"), ("tracestate", None)),
    tuple((f"h{n}", b"x") for n in range(500)),
)


@pytest.mark.parametrize("headers", HOSTILE_HEADERS, ids=range(len(HOSTILE_HEADERS)))
def test_headers_of_nonsense_harm_nobody(headers: Any) -> None:
    here = world()
    here.write(b"no record", headers=headers)
    here.write(None, headers=headers)
    start = StartWorkflow(workflow_id="w", workflow_type="Quiet", request_id="r")
    here.write(encode(start), key=b"w", headers=headers)
    here.run(2_000)

    assert isinstance(here.describe("w"), RunDescription)
    assert len(here.dead()) == 2
    assert here.host.takeovers == 1
    assert not here.said("input_failed")
