"""A history that grows without end is warned of, and ended at its limit, for everybody to see."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any

import pytest

from perdure import workflow
from perdure.client import Client
from perdure.worker import Worker
from perdure_actors import trouble_log
from perdure_actors.core.decision import Limits
from perdure_actors.trouble_log import TroubleLog
from perdure_schemas.commands import AwaitResult
from perdure_schemas.message_commands import SignalWorkflow
from perdure_schemas.payloads import Payload
from perdure_schemas.replies import Refused, RunClosed
from tests.simulation.rebuild import content, difference, rebuilt
from tests.unit.host_world import HostWorld

pytestmark = pytest.mark.timeout(60)


@workflow.defn
class Endless:
    """Never continues as new."""

    @workflow.run
    async def run(self) -> None:
        for _ in itertools.count():
            await asyncio.sleep(1)

    @workflow.signal
    def tell(self, what: str) -> None:
        """It is in the history."""


def closed(world: HostWorld) -> Any:
    ask = AwaitResult(workflow_id="w", run_id="", reply=world.reply_to("result"))
    world.send(ask)
    world.run(1_000)
    return world.answer("result")


def test_a_run_is_ended_at_its_limit_of_events() -> None:
    world = HostWorld([Endless], limits=Limits(history_events_max=20))
    world.run(1_000)
    world.start("Endless", "w")

    world.run(30_000)

    found = closed(world)
    assert isinstance(found, RunClosed)
    assert found.status == "terminated"
    shard = world.host.slots[0].shard
    assert shard is not None
    run = shard.world.current("w")
    assert run is not None
    assert 20 <= run.state.seq <= 23
    assert (run.timers, run.state.alarm_ms) == ({}, 0)
    theirs = rebuilt(world.records("events"), shard.meta)
    assert difference(content(shard.table), theirs, shard.meta.dispatched) == ""


def test_a_run_is_ended_at_its_limit_of_bytes_and_takes_nothing_more() -> None:
    world = HostWorld([Endless], limits=Limits(history_bytes_max=20_000))
    world.run(1_000)
    world.start("Endless", "w")
    world.run(1_000)
    for number in range(5):
        reply = world.reply_to(f"signal {number}")
        world.send(
            SignalWorkflow(
                workflow_id="w",
                signal_name="tell",
                input=[Payload(data=b'"%s"' % (b"x" * 8_000))],
                request_id=f"s{number}",
                reply=reply,
            )
        )
        world.run(500)

    answers = [world.answer(f"signal {number}") for number in range(5)]
    assert [isinstance(one, Refused) for one in answers] == [False, False, False, True, True]
    assert answers[-1].code == "closed"
    assert closed(world).status == "terminated"


def test_histories_are_warned_of_before(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trouble_log, "HISTORY_EVENTS_WARNED", 10)
    caplog.set_level(logging.WARNING)
    world = HostWorld([Endless])
    world.run(1_000)
    world.start("Endless", "w")
    world.run(8_000)
    shard = world.host.slots[0].shard
    assert shard is not None
    run = shard.world.current("w")
    assert run is not None
    assert run.state.seq > 10
    log = TroubleLog()
    for seq in (9, 10, 11, 12):
        run.state.seq = seq
        log.accepted(run, [object()], now_ms=0)  # type: ignore[list-item]  # only counted

    assert [record.message for record in caplog.records].count(
        next(record.message for record in caplog.records if "has 10 events" in record.message)
    ) == 1


@pytest.mark.parametrize(
    "wrong", [{"max_history_events": 10}, {"max_history_bytes": 10}], ids=["events", "bytes"]
)
async def test_a_worker_refuses_limits_that_end_ordinary_runs(
    tmp_path: Any, wrong: dict[str, Any]
) -> None:
    client = await Client.connect(f"file:{tmp_path}")
    try:
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is 10: give at least"):
            Worker(client, task_queue="q", workflows=[Endless], **wrong)
    finally:
        await client.close()
