"""A client's requests by the clock: looking at them always comes to an end."""

from __future__ import annotations

import pytest

from perdure.client import _rpc as rpc
from perdure_schemas.message_commands import SignalWorkflow
from perdure_topics.ports import TopicSpec
from perdure_topics.simulated.faults import FaultPlan
from perdure_topics.simulated.simulated_log import SimulatedBroker, SimulatedLog


@pytest.mark.parametrize("left", [-0.1, 0.0, 0.1, 0.5, 0.9, 1.0, 1.1])
async def test_a_request_that_the_log_does_not_take_lets_the_loop_go_on(
    monkeypatch: pytest.MonkeyPatch, left: float
) -> None:
    monkeypatch.setattr(rpc, "TICK_S", 5.0)
    # Its time stands still, so nothing is ever taken.
    log = SimulatedLog(SimulatedBroker(1, FaultPlan()), "client")
    log.create_topics([TopicSpec("commands", 1, 1, {})])
    client = rpc.RpcClient(log, "replies", 1)
    client._appender = log.appender(on_ready=lambda: None)
    pending = client.send(
        rpc.Request(
            what="a signal",
            task_queue="q",
            topic="commands",
            partition=0,
            key=None,
            make=lambda reply: SignalWorkflow(
                workflow_id="w", request_id="r", signal_name="s", reply=reply
            ),
            timeout_s=100.0,
            kept_s=3.0,
        )
    )
    now = client.loop.time()
    pending.sent_s = now - 3.0 + left * rpc.TICK_S
    client._plan(pending, now)

    client._tick()

    assert not pending.answer.done()
    assert pending.planned_s > now
    client.close()
