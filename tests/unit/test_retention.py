"""Closed runs are forgotten by the log's own word, alike by their owner and by whoever rebuilds."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from perdure import workflow
from perdure_actors import table_layout
from perdure_actors.retention import retention
from perdure_schemas import operator_commands as op
from perdure_schemas.avro import decode, decode_as
from perdure_schemas.commands import AwaitResult, ListWorkflows, ReadRetention, TerminateWorkflow
from perdure_schemas.partition_events import RunsForgotten
from perdure_schemas.payloads import Payload
from perdure_schemas.replies import Accepted, Refused, RetentionInfo, RunClosed, RunPage
from perdure_schemas.transition import Transition, TransitionBody
from tests.simulation.rebuild import content, difference, rebuilt
from tests.unit.host_world import HostWorld

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
pytestmark = pytest.mark.timeout(60)


@workflow.defn
class Quick:
    @workflow.run
    async def run(self) -> str:
        workflow.upsert_search_attributes({"Kind": ["quick"]})
        return "done"


@workflow.defn
class Failing:
    @workflow.run
    async def run(self) -> str:
        raise asyncio.CancelledError


@workflow.defn
class Waiting:
    @workflow.run
    async def run(self) -> None:
        await asyncio.sleep(timedelta(days=400).total_seconds())


@pytest.fixture
def world() -> HostWorld:
    world = HostWorld([Quick, Failing, Waiting])
    world.run(1_000)
    return world


def ask(world: HostWorld, command: Any, name: str) -> Any:
    world.send(command, partition=0)
    world.run(1_000)
    return world.answer(name)


def keep(world: HostWorld, keep_ms: int, **by_status: int) -> Any:
    world.asked += 1
    name = f"keep {world.asked}"
    reply = world.reply_to(name)
    command = op.SetRetention(partition=0, keep_ms=keep_ms, by_status=by_status, reply=reply)
    return ask(world, command, name)


def info(world: HostWorld) -> RetentionInfo:
    world.asked += 1
    name = f"info {world.asked}"
    found = ask(world, ReadRetention(partition=0, reply=world.reply_to(name)), name)
    assert isinstance(found, RetentionInfo)
    return found


def count(world: HostWorld, query: str = "") -> int:
    world.asked += 1
    name = f"count {world.asked}"
    command = ListWorkflows(partition=0, query=query, count_only=True, reply=world.reply_to(name))
    page = ask(world, command, name)
    assert isinstance(page, RunPage)
    return page.count


def look(world: HostWorld, passed_ms: int = 0) -> None:
    """Let time pass in long steps, and then the sweeps of some minutes."""
    world.turn(passed_ms)
    for _ in range(8):
        world.turn(31_000)
    world.run(500)


def forgotten(world: HostWorld) -> list[str]:
    found: list[str] = []
    for record in world.records("events"):
        envelope = decode(record.value)
        if isinstance(envelope, Transition):
            body = decode_as(TransitionBody, envelope.body)
            events = [decode(data) for data in body.events]
            found += [run for one in events if isinstance(one, RunsForgotten) for run in one.runs]
    return found


def check_rebuilt(world: HostWorld) -> dict[bytes, bytes]:
    """The owner's table is what the log makes of it from the start."""
    shard = world.host.slots[0].shard
    assert shard is not None
    theirs = rebuilt(world.records("events"), shard.meta)
    mine = content(shard.table)
    assert difference(mine, theirs, shard.meta.dispatched) == ""
    return mine


def test_runs_are_forgotten_after_their_time_and_open_ones_never(world: HostWorld) -> None:
    for number in range(3):
        world.start("Quick", f"quick-{number}")
    world.start("Waiting", "waiting")
    world.run(1_000)
    assert (count(world), count(world, 'Kind = "quick"')) == (4, 3)
    assert isinstance(keep(world, HOUR), Accepted)

    look(world, 50 * MINUTE)
    assert (count(world), forgotten(world)) == (4, [])

    look(world, 10 * MINUTE)

    assert len(forgotten(world)) == 3
    assert (count(world), count(world, 'ExecutionStatus = "Completed"')) == (1, 0)
    assert count(world, 'Kind = "quick"') == count(world, 'WorkflowId = "quick-1"') == 0
    assert isinstance(world.describe("quick-1"), Refused)
    assert world.describe("waiting").summary.status == "running"
    rows = check_rebuilt(world)
    kinds = {key[:1] for key in rows if b"quick" in key or b"quick" in rows[key]}
    assert kinds == {table_layout.REQUESTS}


def test_thirty_days_are_kept_where_nobody_has_said_otherwise(world: HostWorld) -> None:
    world.start("Quick", "quick")
    world.run(1_000)

    found = info(world)

    assert (found.keep_ms, found.is_default, found.closed_runs) == (30 * DAY, True, 1)
    assert (found.due_runs, found.oldest_ms > 0) == (0, True)
    look(world)
    assert count(world) == 1


def test_for_ever_is_for_ever_and_statuses_have_their_own_time(world: HostWorld) -> None:
    world.start("Quick", "quick")
    world.start("Waiting", "waiting")
    world.run(1_000)
    world.send(TerminateWorkflow(workflow_id="waiting", request_id="t"))
    world.run(1_000)
    keep(world, -1)
    look(world, 3 * HOUR)
    assert count(world) == 2

    keep(world, 0, terminated=4 * HOUR)
    look(world)
    assert count(world) == count(world, 'WorkflowId = "waiting"') == 1
    look(world, HOUR)

    assert count(world) == 0
    rows = check_rebuilt(world)
    assert {key[:1] for key in rows} == {table_layout.REQUESTS, b"\0"}


def test_a_forgotten_id_begins_anew_and_a_repeated_start_is_still_known(world: HostWorld) -> None:
    name = world.start("Quick", "quick")
    world.run(1_000)
    first = world.answer(name)
    keep(world, 0)
    look(world)
    assert len(forgotten(world)) == 1

    # The same request again, within the 24 hours that are promised: it is told as before.
    again = next(record for record in world.records("commands") if record.key == b"quick")
    world.write(again.value, key=again.key)
    world.run(1_000)
    assert world.answer(name).run_id == first.run_id
    assert count(world) == 0

    newer = world.start("Quick", "quick")
    world.run(1_000)
    assert world.answer(newer).run_id != first.run_id
    assert world.describe("quick").summary.status == "completed"
    check_rebuilt(world)


def test_what_follows_the_forgetting_sees_none_of_it_before_the_table_hears(
    world: HostWorld,
) -> None:
    world.start("Quick", "quick")
    world.run(1_000)
    shard = world.host.slots[0].shard
    assert shard is not None
    before = shard.world.current("quick")
    assert before is not None
    run_id = before.state.run_id
    ops: dict[bytes, bytes | None] = {}

    shard.run_cache.happened(RunsForgotten(runs=[run_id]), 9, ops)

    assert shard.table.get(table_layout.run_key(run_id)) is not None
    assert set(ops.values()) == {None}
    assert shard.world.run(run_id) is shard.world.current("quick") is None
    newer = shard.run_cache.open("quick", "newer", before.started, 1)
    assert newer.run.actor is not before.actor
    shard.run_cache.clear()
    assert shard.world.run(run_id) is not None, "what was not accepted never happened"


def test_waiting_for_a_forgotten_run_is_answered(world: HostWorld) -> None:
    name = world.start("Quick", "quick")
    world.run(1_000)
    run_id = world.answer(name).run_id
    waits = AwaitResult(workflow_id="quick", run_id=run_id, reply=world.reply_to("wait"))
    assert isinstance(ask(world, waits, "wait"), RunClosed)
    keep(world, 0)
    look(world)
    waits = AwaitResult(workflow_id="quick", run_id=run_id, reply=world.reply_to("wait 2"))

    found = ask(world, waits, "wait 2")

    assert isinstance(found, Refused)
    assert found.code == "not_found"


def test_a_new_owner_goes_on_with_what_the_log_says(world: HostWorld) -> None:
    for number in range(120):
        world.start("Quick", f"quick-{number}")
    world.run(3_000)
    keep(world, 0)
    for _ in range(3):
        world.turn(31_000)
    world.die()
    for _ in range(3):
        world.run(1_000)
        look(world)

    assert len(set(forgotten(world))) == len(forgotten(world)) == 120
    assert count(world) == 0
    check_rebuilt(world)


def test_a_wrong_rule_is_refused_and_changes_nothing(world: HostWorld) -> None:
    for wrong in (keep(world, -2), keep(world, 1, running=1), keep(world, 10**15)):
        assert isinstance(wrong, Refused)
        assert wrong.code == "invalid"
    assert info(world).is_default
    reply = world.reply_to("elsewhere")
    command = op.SetRetention(partition=7, keep_ms=0, reply=reply)
    assert isinstance(ask(world, command, "elsewhere"), Refused)


def test_a_cron_run_that_another_is_to_follow_stays_until_it_has(world: HostWorld) -> None:
    world.start("Quick", "cron", cron_schedule="0 * * * *")
    keep(world, 0)
    look(world, 61 * MINUTE)
    assert world.describe("cron").summary.workflow_id == "cron"
    for _ in range(3):
        look(world, 61 * MINUTE)

    assert forgotten(world)
    assert count(world, 'WorkflowId = "cron"') >= 1
    check_rebuilt(world)


def test_ask_now_does_not_wait_for_the_minute(
    world: HostWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "EVERY_MS", HOUR)
    world.start("Quick", "quick")
    world.run(1_000)
    keep(world, 0)
    world.turn(2 * MINUTE)
    command = op.RunRetention(partition=0, reply=world.reply_to("run"))

    assert isinstance(ask(world, command, "run"), Accepted)

    assert len(forgotten(world)) == 1


def test_payloads_of_a_forgotten_run_are_out_of_the_table(world: HostWorld) -> None:
    memo = {"who": Payload(data=b'"somebody"')}
    world.start("Quick", "quick", memo=memo)
    world.run(1_000)
    shard = world.host.slots[0].shard
    assert shard is not None
    assert any(b"somebody" in value for value in content(shard.table).values())
    keep(world, 0)
    look(world)

    assert not any(b"somebody" in value for value in content(shard.table).values())
