"""Resets on a real host over a simulated log: what is kept, what happens again, what never does."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from perdure import workflow
from perdure_schemas import events as ev
from perdure_schemas.child_events import ChildWorkflowCompleted
from perdure_schemas.commands import TerminateWorkflow
from perdure_schemas.replies import Accepted, RunDescription
from tests.unit.reset_world import ResetWorld, refused

DONE = "ActivityCompleted"
TIMES: dict[str, Any] = {"start_to_close_timeout": timedelta(seconds=60)}


@workflow.defn
class Steps:
    """Three activities in sequence; signals are noted; ids are drawn between."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @workflow.run
    async def run(self) -> list[Any]:
        drawn = [workflow.uuid4().hex]
        out = [await workflow.execute_activity("one", **TIMES)]
        drawn.append(workflow.uuid4().hex)
        out.append(await workflow.execute_activity("two", **TIMES))
        drawn.append(workflow.uuid4().hex)
        out.append(await workflow.execute_activity("three", **TIMES))
        return [*out, self.notes, drawn]

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(text)


@workflow.defn
class Kid:
    @workflow.run
    async def run(self) -> str:
        return str(await workflow.execute_activity("grow", **TIMES))


@workflow.defn
class Parent:
    """A child that goes on while an activity fails or not; then another activity."""

    @workflow.run
    async def run(self) -> list[Any]:
        kid = await workflow.start_child_workflow("Kid", id="kid")
        one = await workflow.execute_activity("one", **TIMES)
        two = await workflow.execute_activity("two", **TIMES)
        return [one, two, await kid]


@workflow.defn
class Sleeper:
    """A long timer beside an activity."""

    @workflow.run
    async def run(self) -> str:
        nap = asyncio.create_task(asyncio.sleep(60))
        await workflow.execute_activity("one", **TIMES)
        await nap
        return "rested"


@workflow.defn
class Asked:
    """Updates change what it has; it ends when it is told to."""

    def __init__(self) -> None:
        self.had: list[int] = []

    @workflow.run
    async def run(self) -> list[int]:
        await workflow.execute_activity("one", **TIMES)
        await workflow.wait_condition(lambda: len(self.had) == 2)
        return self.had

    @workflow.update
    async def have(self, value: int) -> int:
        self.had.append(value)
        return value


@workflow.defn(name="Steps")
class OtherSteps:
    """Another release of Steps, that begins with another activity."""

    @workflow.run
    async def run(self) -> list[Any]:
        return [await workflow.execute_activity("zero", **TIMES)]


def begin() -> tuple[ResetWorld, str]:
    """A run whose first two activities are done, and that waits for the third.

    Its events: 1 started, 2 one, 3 done, 4 two, 5 done, 6 three, 7 the note.
    """
    world = ResetWorld([Steps])
    run_id = world.begin("Steps")
    world.complete(run_id, "one", 1)
    world.complete(run_id, "two", 2)
    world.signal("note", "hello")
    return world, run_id


def test_a_reset_keeps_what_was_done_before_and_runs_the_rest_again() -> None:
    world, old = begin()

    answer = world.reset(4, reason="two was wrong", identity="ann")

    assert isinstance(answer, Accepted), answer
    new = answer.run_id
    assert world.asked_for(new) == ["two"]
    world.complete(new, "two", 22)
    world.complete(new, "three", 3)
    one, two, three, notes, _ = world.result(new)
    assert (one, two, three) == (1, 22, 3)
    assert notes == ["hello"], "the signal that came after the event happens again"
    assert world.asked_for(old) == ["one", "two", "three"]
    world.check()


def test_the_old_run_ends_with_a_link_and_the_new_one_says_whence_it_came() -> None:
    world, old = begin()

    new = world.reset(4, reason="two was wrong", identity="ann").run_id

    ended = world.history(old)[-1]
    assert isinstance(ended, ev.WorkflowTerminated)
    assert (ended.next_run_id, ended.identity) == (new, "ann")
    assert ended.reason == f"reset to event 3 of run {old}: two was wrong"
    started = world.history(new)[0]
    assert isinstance(started, ev.WorkflowStarted)
    assert started.reset is not None
    assert (started.reset.run_id, started.reset.seq) == (old, 3)
    assert (started.reset.reason, started.reset.identity) == ("two was wrong", "ann")
    assert started.continued_run_id == old


def test_the_new_history_is_the_old_one_up_to_the_event() -> None:
    world, old = begin()

    new = world.reset(5).run_id

    before, after = world.history(old), world.history(new)
    assert after[1:5] == before[1:5]
    assert [type(event).__name__ for event in after[5:]] == [
        "ActivityScheduled",
        "WorkflowSignaled",
    ]
    assert after[5] == before[5], "the code asks for the third activity again"


def test_random_numbers_are_the_same_before_the_event_and_others_after_it() -> None:
    world, old = begin()
    world.complete(old, "three", 3)
    drawn = world.result(old)[-1]

    new = world.reset(5).run_id
    world.complete(new, "three", 3)

    again = world.result(new)[-1]
    assert again[:2] == drawn[:2]
    assert again[2] != drawn[2]
    newest = world.reset(5, run_id=new).run_id
    world.complete(newest, "three", 3)
    last = world.result(newest)[-1]
    assert last[:2] == drawn[:2]
    assert last[2] not in (drawn[2], again[2])
    third = world.reset(7, run_id=newest).run_id
    world.complete(third, "three", 3)
    assert world.result(third)[-1] == last, "all was drawn before that event"
    world.check()


def test_messages_can_be_left_out() -> None:
    world, _ = begin()

    new = world.reset(4, exclude=["signal"]).run_id
    world.complete(new, "two", 22)
    world.complete(new, "three", 3)

    assert world.result(new)[3] == []


def test_updates_after_the_event_happen_again_unless_they_are_left_out() -> None:
    world = ResetWorld([Asked])
    old = world.begin("Asked")
    world.update("have", 1, update_id="a")
    world.complete(old, "one", 1)
    world.update("have", 2, update_id="b")

    # 1 started, 2 one, 3 the update, 4 its end, 5 one is done.
    new = world.reset(3).run_id
    assert world.asked_for(new) == ["one"]
    world.complete(new, "one", 1)
    assert world.result(new) == [1, 2]

    without = world.reset(3, run_id=old, exclude=["update"]).run_id
    world.complete(without, "one", 1)
    assert isinstance(world.describe("wf"), RunDescription)
    assert world.describe("wf").summary.status == "running", "it has one of two"
    world.update("have", 7, update_id="b")
    assert world.result(without) == [1, 7], "an id that was left out is free again"
    world.check()


def test_a_reset_to_the_first_event_begins_anew() -> None:
    world, old = begin()

    new = world.reset(1).run_id

    assert world.asked_for(new) == ["one"]
    for place, name in enumerate(("one", "two", "three")):
        world.complete(new, name, place)
    assert world.result(new)[:4] == [0, 1, 2, ["hello"]]
    assert world.history(new)[0].reset.run_id == old
    world.check()


def test_a_closed_run_can_be_reset() -> None:
    world, old = begin()
    world.complete(old, "three", 3)
    assert world.result(old)[2] == 3

    new = world.reset(6).run_id

    world.complete(new, "three", 33)
    assert world.result(new)[2] == 33
    assert world.history(old)[-1].result is not None, "what has ended stays as it ended"
    world.check()


def test_an_attempt_of_before_is_not_taken_and_the_new_one_has_another_token() -> None:
    world, old = begin()
    stale = world.task(old, "three")

    new = world.reset(7).run_id

    fresh = world.task(new, "three")
    assert fresh.token != stale.token
    assert fresh.attempt == 1
    world.complete(old, "three", "stale")
    assert world.describe("wf").summary.status == "running"
    world.complete(new, "three", "fresh")
    assert world.result(new)[2] == "fresh"
    world.check()


def test_a_child_of_before_goes_on_for_the_new_run_and_is_not_run_again() -> None:
    world = ResetWorld([Parent, Kid])
    old = world.begin("Parent")
    kid = world.describe("kid").summary.run_id
    world.complete(old, "one", 1)

    # 1 started, 2 the child, 3 it runs, 4 one, 5 done, 6 two.
    new = world.reset(4).run_id

    assert world.describe("kid").summary.status == "running"
    world.complete(kid, "grow", "grown", workflow_id="kid")
    world.complete(new, "one", 11)
    world.complete(new, "two", 2)
    assert world.result(new) == [11, 2, "grown"]
    assert world.asked_for(kid) == ["grow"], "the child has run once"
    world.check()


def test_a_child_that_ended_after_the_event_is_not_run_again_either() -> None:
    world = ResetWorld([Parent, Kid])
    old = world.begin("Parent")
    kid = world.describe("kid").summary.run_id
    world.complete(old, "one", 1)
    world.complete(kid, "grow", "grown", workflow_id="kid")
    assert isinstance(world.history(old)[-1], ChildWorkflowCompleted)

    new = world.reset(4).run_id
    world.complete(new, "one", 11)
    world.complete(new, "two", 2)

    assert world.result(new) == [11, 2, "grown"]
    assert world.asked_for(kid) == ["grow"]
    world.check()


def test_a_child_that_was_asked_for_after_the_event_ends_with_the_old_run() -> None:
    world = ResetWorld([Parent, Kid])
    world.begin("Parent")
    first = world.describe("kid").summary.run_id

    new = world.reset(1).run_id

    second = world.describe("kid").summary.run_id
    assert second != first
    assert world.describe("kid", first).summary.status == "terminated"
    world.complete(second, "grow", "grown", workflow_id="kid")
    world.complete(new, "one", 1)
    world.complete(new, "two", 2)
    assert world.result(new) == [1, 2, "grown"]
    world.check()


def test_what_a_run_had_left_behind_when_it_ended_is_a_failure_in_the_new_one() -> None:
    world = ResetWorld([Parent, Kid])
    old = world.begin("Parent")
    world.complete(old, "one", 1)
    world.send(TerminateWorkflow(workflow_id="wf"))
    world.run(500)
    assert world.describe("kid").summary.status == "terminated"

    new = world.reset(4).run_id
    world.complete(new, "one", 11)
    world.complete(new, "two", 2)

    closed = world.closed("wf")
    assert closed.status == "failed"
    text = str(closed.failure)
    assert f"run {old} had ended before it was reset" in text
    world.check()


def test_a_reset_child_answers_the_parent_that_waits_for_it() -> None:
    world = ResetWorld([Parent, Kid])
    parent = world.begin("Parent")
    world.complete(parent, "one", 1)
    world.complete(parent, "two", 2)
    kid = world.describe("kid").summary.run_id

    again = world.reset(2, workflow_id="kid", run_id=kid).run_id
    assert world.describe("wf").summary.status == "running"
    world.complete(again, "grow", "grown anew", workflow_id="kid")

    assert world.result(parent) == [1, 2, "grown anew"]
    world.check()


def test_a_timer_of_before_keeps_its_due_time() -> None:
    world = ResetWorld([Sleeper])
    old = world.begin("Sleeper")
    world.run(40_000)
    world.complete(old, "one", 1)

    last = next(n for n, one in enumerate(world.history(old), 1) if type(one).__name__ == DONE)
    new = world.reset(last).run_id
    world.run(10_000)
    assert world.describe("wf").summary.status == "running"
    world.run(15_000)

    assert world.asked_for(new) == []
    assert world.result(new) == "rested"
    world.check()


def test_who_waits_for_the_old_run_is_told_where_it_goes_on() -> None:
    world, old = begin()
    waiting = world.await_result(old)

    new = world.reset(4).run_id

    closed = world.answer(waiting)
    assert (closed.status, closed.next_run_id) == ("terminated", new)


def test_the_same_command_again_is_one_reset() -> None:
    world, _ = begin()

    first = world.reset(4, request_id="r")
    second = world.reset(4, request_id="r")

    assert first.run_id == second.run_id
    assert world.runs("wf") == 2


def test_a_second_operator_is_told_of_the_first_and_nothing_changes() -> None:
    world, old = begin()
    new = world.reset(4, run_id=old, identity="ann").run_id

    answer = refused(world.reset(6, run_id=old, identity="bob"), "already_reset")

    assert answer.message == (
        f"workflow 'wf' run {old} was reset already by ann, to event 3; run {new} goes on in its"
        " place. Reset that one, or say that this one is to be reset again"
    )
    assert world.runs("wf") == 2
    assert world.describe("wf").summary.run_id == new
    assert isinstance(world.reset(6, run_id=old, again=True), Accepted)
    world.check()


def test_code_that_does_not_fit_what_is_kept_is_refused_and_nothing_changes() -> None:
    world, old = begin()
    world.deploy([OtherSteps])

    answer = refused(world.reset(4), "blocked")

    assert "the history recorded activity 'one'" in answer.message
    assert "Reset to an earlier event" in answer.message
    assert world.describe("wf").summary.run_id == old
    assert isinstance(world.reset(1), Accepted), "nothing of the first step is kept"
    assert world.asked_for(world.describe("wf").summary.run_id) == ["zero"]


def test_a_run_that_a_bad_release_blocked_goes_on_from_before() -> None:
    world, old = begin()
    world.deploy([OtherSteps])
    world.complete(old, "three", 3)
    assert world.describe("wf").summary.status == "blocked"

    new = world.reset(2).run_id

    assert world.asked_for(new) == ["zero"]
    world.complete(new, "zero", 0)
    assert world.result(new) == [0]


def test_what_no_code_has_taken_cannot_be_gone_back_to() -> None:
    world, old = begin()
    world.deploy([OtherSteps])
    world.signal("note", "blocks it")
    world.signal("note", "waits")
    last = len(world.history(old))
    world.deploy([Steps])

    answer = refused(world.reset(last), "invalid")

    assert "waited while that was blocked" in answer.message
    assert world.runs("wf") == 1


def test_what_is_not_there_is_refused() -> None:
    world, old = begin()

    for fields in ({"seq": 0}, {"seq": 99}, {"seq": 4, "exclude": ["cancel"]}):
        refused(world.reset(**fields), "invalid")
    refused(world.reset(4, workflow_id="nobody"), "not_found")
    refused(world.reset(4, run_id="nothing"), "not_found")
    assert world.describe("wf").summary.run_id == old
    assert world.runs("wf") == 1
