"""Resets in a world that dies in the middle of them: what is done, and what must hold after it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, NamedTuple
from unittest.mock import patch

from perdure import workflow
from perdure_actors.partition.journal import Journal
from perdure_schemas.commands import ResetWorkflow
from perdure_schemas.events import WorkflowTerminated
from perdure_schemas.replies import Accepted, RunClosed
from tests.unit.reset_world import CONVERTER, ResetWorld, differences

TIMES: dict[str, Any] = {"start_to_close_timeout": timedelta(seconds=600)}
BEFORE = 2
"""The records of what came before the reset: a signal, and the end of an activity."""
RECORDS = 3
"""A reset is two records, and what follows at once is another."""


@workflow.defn
class Kid:
    @workflow.run
    async def run(self) -> str:
        return str(await workflow.execute_activity("grow", **TIMES))


@workflow.defn
class Family:
    """A child, a timer and ids around three activities; signals are noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @workflow.run
    async def run(self) -> dict[str, Any]:
        kid = await workflow.start_child_workflow("Kid", id="kid")
        drawn = [workflow.uuid4().hex]
        nap = asyncio.create_task(asyncio.sleep(600))
        one = await workflow.execute_activity("one", **TIMES)
        drawn.append(workflow.uuid4().hex)
        two = await workflow.execute_activity("two", **TIMES)
        three = await workflow.execute_activity("three", **TIMES)
        grown = await kid
        await nap
        return {"done": [one, two, three], "kid": grown, "notes": self.notes, "drawn": drawn}

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(text)


class Killed(BaseException):
    """The process ends here."""


class Death(NamedTuple):
    """When the host dies: after so many records of the reset, and whether the log has the last."""

    records: int
    is_written: bool


DEATHS = (None, *(Death(n, written) for n in range(RECORDS + 1) for written in (False, True)))


def reset_with(death: Death | None) -> list[str]:
    """Reset a run to where an activity is pending, with a death in the middle; what is wrong."""
    world = ResetWorld([Family, Kid])
    old = world.begin("Family")
    kid = world.describe("kid").summary.run_id
    world.complete(old, "one", 1)
    # All in one turn: what is reset is not in the table yet.
    noted = 1 + len(world.history(old))
    world.signal("note", "before", for_ms=0)
    world.complete(old, "two", "wrong", for_ms=0)
    command = ResetWorkflow(
        workflow_id="wf", run_id=old, seq=noted, request_id="r", reply=world.reply_to("r")
    )
    world.send(command)
    if death is not None:
        _die(world, death)
    world.run(30_000)
    # Whoever asked has no answer, and asks again.
    world.send(command)
    world.run(2_000)
    return _problems(world, old, kid)


def _die(world: ResetWorld, death: Death) -> None:
    """Run until the process has appended so many records of the reset, and end it there."""
    append, left, is_dead = Journal.append, [BEFORE + death.records], [False]

    def counted(self: Any, body: bytes, key: bytes | None, **more: Any) -> Any:
        if not left[0]:
            is_dead[0] = True
            if death.is_written:
                # What was appended before has time to reach the log.
                world.broker.run_until(world.broker.now_ms + 500)
            raise Killed
        left[0] -= 1
        return append(self, body, key, **more)

    with patch.object(Journal, "append", counted):
        for _ in range(100):
            world.turn()
            if is_dead[0]:
                break
    world.die()


def _problems(world: ResetWorld, old: str, kid: str) -> list[str]:
    answer = world.answer("r")
    if not isinstance(answer, Accepted):
        return [f"the answer is {answer}"]
    new, found = answer.run_id, []
    if world.runs("wf") != 2:
        found.append(f"{world.runs('wf')} runs")
    ended = world.history(old)[-1]
    if not isinstance(ended, WorkflowTerminated) or ended.next_run_id != new:
        found.append(f"the old run ended by {ended}")
    if world.describe("wf").summary.run_id != new:
        return [*found, "another run goes on"]
    # From here on by another process: all of it is replayed.
    world.die()
    world.run(30_000)
    for name in ("two", "three"):
        if name not in world.asked_for(new):
            return [*found, f"{name} was not given out"]
        world.complete(new, name, name)
    world.complete(kid, "grow", "grown", workflow_id="kid")
    world.run(610_000)
    closed = world.answer(world.await_result(new))
    if not isinstance(closed, RunClosed) or closed.result is None:
        return [*found, f"it ended as {closed}"]
    result = CONVERTER.from_payload(closed.result)
    if result["done"] != [1, "two", "three"] or result["kid"] != "grown":
        found.append(f"the result is {result}")
    if result["notes"] != ["before"]:
        found.append(f"the signals are {result['notes']}")
    given = [*world.asked_for(old), *world.asked_for(new)]
    if sorted(set(world.asked_for(new))) != ["three", "two"]:
        found.append(f"given out: {given}")
    if set(world.asked_for(kid)) != {"grow"}:
        found.append(f"the child was given {world.asked_for(kid)}")
    found += differences(world)
    return found
