"""A run ends once: what its code does after that in the same step does not count, nor is it run."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from perdure import workflow
from perdure.exceptions import ApplicationError
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.avro import decode, decode_as
from perdure_schemas.child_commands import ReportChildClosed
from perdure_schemas.events import WorkflowCanceled, WorkflowFailed
from perdure_schemas.payloads import RunRef
from perdure_schemas.transition import Transition, TransitionBody
from tests.unit.host_world import HostWorld
from tests.unit.player import Player, kinds, result_of

MINUTE = timedelta(minutes=1)


@workflow.defn
class Racing:
    """Its run method and its handlers wait for the same thing."""

    def __init__(self) -> None:
        self.is_over = False
        self.main: asyncio.Task[None] | None = None
        self.after: list[str] = []

    @workflow.run
    async def run(self, how: str) -> str:
        self.main = asyncio.current_task()
        await workflow.wait_condition(lambda: self.is_over)
        if how == "task":
            asyncio.create_task(self._late())  # noqa: RUF006 - it is never to run
        if how == "continue":
            workflow.continue_as_new("")
        if how == "fail":
            raise ApplicationError("the run")
        return "the run"

    async def _late(self) -> None:
        await workflow.execute_activity("late", start_to_close_timeout=MINUTE)

    @workflow.signal
    async def fail(self) -> None:
        await workflow.wait_condition(lambda: self.is_over)
        raise ApplicationError("a handler")

    @workflow.signal
    async def act(self) -> None:
        await workflow.wait_condition(lambda: self.is_over)
        await self._late()

    @workflow.signal
    async def follow(self) -> None:
        assert self.main is not None
        await asyncio.wait([self.main])
        await self._late()

    @workflow.signal
    async def tidy(self) -> None:
        try:
            await workflow.wait_condition(lambda: False)
        finally:
            workflow.upsert_memo({"tidied": True})
            workflow.start_activity("late", start_to_close_timeout=MINUTE)

    @workflow.update
    async def change(self) -> str:
        await workflow.wait_condition(lambda: self.is_over)
        return "changed"

    @workflow.signal
    def over(self) -> None:
        self.is_over = True


ENDS = {
    "return": "WorkflowCompleted",
    "task": "WorkflowCompleted",
    "fail": "WorkflowFailed",
    "continue": "WorkflowContinuedAsNew",
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("handler", ["fail", "act", "follow", "tidy"])
def test_the_first_end_is_the_only_one_and_the_last_event(how: str, handler: str) -> None:
    player = Player(Racing, how)
    for _ in range(2):
        player.signal(handler)

    outputs = player.signal("over")

    assert kinds(outputs) == [ENDS[how]]
    player.check()


def test_an_update_that_would_end_after_its_run_does_not() -> None:
    player = Player(Racing, "return")
    player.update("change")

    (end,) = player.signal("over")

    assert result_of(end) == "the run"
    player.check()


def test_a_handler_that_ends_the_run_first_wins() -> None:
    """The order is that of waiting: who waited first goes on first."""
    player = Player(Later, "return")
    player.signal("fail")
    player.signal("begin")

    (end,) = player.signal("over")

    assert isinstance(end, WorkflowFailed)
    assert end.failure.chain[0].message == "a handler"
    player.check()


@workflow.defn
class Later(Racing):
    @workflow.run
    async def run(self, how: str) -> str:
        await workflow.wait_condition(lambda: self.after != [])
        return await super().run(how)

    @workflow.signal
    def begin(self) -> None:
        self.after.append("begun")


def test_replay_says_of_a_history_with_two_ends_that_it_has_two() -> None:
    player = Player(Racing, "return")
    player.signal("over")
    seq, time_ms, events = player.history[-1]
    player.history[-1] = (seq, time_ms, [*events, WorkflowCanceled()])
    with pytest.raises(BlockedError, match=r"two closing events, WorkflowCompleted .event 3.*Canc"):
        player.replayed()


def test_replay_says_so_of_an_end_that_follows_in_another_transition() -> None:
    player = Player(Racing, "return")
    player.signal("over")
    player.history.append((player.seq, player.time_ms, [WorkflowCanceled()]))
    with pytest.raises(BlockedError, match="a run ends once") as blocked:
        player.replayed()

    assert blocked.value.cause == "corrupt"


@workflow.defn(sandboxed=False)
class Letting:
    """It waits for its child to start, and for no more."""

    @workflow.run
    async def run(self) -> str:
        await workflow.start_child_workflow("Kid", id="kid", task_queue="elsewhere")
        return "let go"


def test_the_second_step_of_an_input_does_not_follow_the_end_that_its_first_brought() -> None:
    """A child's start and its end arrive as one report."""
    here = HostWorld([Letting])
    here.run(1_000)
    here.start("Letting", "w")
    here.run(1_000)
    run_id = here.describe("w").summary.run_id

    child = RunRef(workflow_id="kid", run_id="k", task_queue="elsewhere")
    here.send(
        ReportChildClosed(
            workflow_id="w", run_id=run_id, child_id="1", child=child, status="completed"
        )
    )
    here.run(1_000)

    summary = here.describe("w").summary
    assert summary.status == "completed"
    recorded = [
        type(decode(data)).__name__
        for record in here.records("events")
        if isinstance(envelope := decode(record.value), Transition)
        for data in decode_as(TransitionBody, envelope.body).events
    ]
    assert recorded[-2:] == ["ChildWorkflowStarted", "WorkflowCompleted"]
