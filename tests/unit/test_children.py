"""Child workflows as a parent's code sees them: started, awaited, refused, failed, cancelled."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from perdure import workflow
from perdure.exceptions import ChildWorkflowError, WorkflowAlreadyStartedError
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas import child_events as ce
from perdure_schemas.events import WorkflowCanceled, WorkflowCompleted, WorkflowFailed
from perdure_schemas.payloads import Failure, FailureCause, Record
from tests.unit.player import CONVERTER, Play, Player, kinds, result_of

Kind = workflow.ChildWorkflowCancellationType
KINDS_OF_CANCEL = list(Kind)


@workflow.defn
class Kid:
    @workflow.run
    async def run(self, number: int) -> int:
        return number


@workflow.defn
class Parent:
    @workflow.run
    async def run(self, kind: int) -> int:
        return await workflow.execute_child_workflow(
            Kid.run, 7, id="kid", cancellation_type=Kind(kind)
        )


def begin(player: Player, child_id: str = "1") -> list[Record]:
    return player.give(ce.ChildWorkflowStarted(child_id=child_id, run_id=f"kid-run-{child_id}"))


def end(player: Player, value: Any, child_id: str = "1") -> list[Record]:
    result = CONVERTER.to_payload(value)
    return player.give(ce.ChildWorkflowCompleted(child_id=child_id, run_id="r", result=result))


def test_a_child_runs_and_gives_its_result(play: Play) -> None:
    player = play(Parent, Kind.WAIT_CANCELLATION_COMPLETED)

    (asked,) = player.outputs
    assert isinstance(asked, ce.ChildWorkflowInitiated)
    assert asked.call_site.endswith("in Parent.run")
    assert (asked.child_id, asked.workflow_id, asked.workflow_type) == ("1", "kid", "Kid")
    assert CONVERTER.from_payloads(asked.input) == [7]
    assert (asked.parent_close_policy, asked.id_reuse_policy) == ("terminate", "allow_duplicate")
    assert begin(player) == []
    (done,) = end(player, 8)
    assert result_of(done) == 8


@workflow.defn
class Many:
    @workflow.run
    async def run(self) -> list[Any]:
        first = await workflow.start_child_workflow(Kid.run, 1)
        second = await workflow.start_child_workflow(
            "Kid", 2, parent_close_policy=workflow.ParentClosePolicy.ABANDON, result_type=int
        )
        known = [first.id != second.id, first.first_execution_run_id]
        return [*known, *await asyncio.gather(first, second)]


def test_handles_are_had_once_children_run_and_ids_are_made_the_same_in_replay(play: Play) -> None:
    player = play(Many)
    (first,) = player.outputs
    (second,) = begin(player)
    assert isinstance(first, ce.ChildWorkflowInitiated)
    assert isinstance(second, ce.ChildWorkflowInitiated)
    assert len(first.workflow_id) == len(second.workflow_id) == 36
    assert second.parent_close_policy == "abandon"

    begin(player, "2")
    end(player, 20, "2")
    (done,) = end(player, 10)

    assert result_of(done) == [True, "kid-run-1", 10, 20]


@workflow.defn
class Telling:
    """Says how its child ended."""

    @workflow.run
    async def run(self) -> str:
        try:
            value = await workflow.execute_child_workflow("Kid", id="kid", result_type=int)
        except WorkflowAlreadyStartedError as error:
            return f"already {error.workflow_id} {error.workflow_type}"
        except ChildWorkflowError as error:
            cause = error.cause
            assert error.workflow_id == "kid"  # noqa: PT017 - user code
            told = f"{error.run_id} {type(cause).__name__} {cause}"
            return f"{told} {error.retry_state.name if error.retry_state else None}"
        return str(value)


CAUSE = FailureCause(message="boom", type="Bad")


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (
            ce.ChildWorkflowStartFailed(child_id="1", code="already_started", message="there"),
            "already kid Kid",
        ),
        (
            ce.ChildWorkflowStartFailed(child_id="1", code="invalid", message="no id"),
            " ApplicationError invalid: no id None",
        ),
        (
            ce.ChildWorkflowFailed(
                child_id="1",
                run_id="r",
                failure=Failure(chain=[CAUSE]),
                retry_state="maximum_attempts_reached",
            ),
            "r ApplicationError Bad: boom MAXIMUM_ATTEMPTS_REACHED",
        ),
        (
            ce.ChildWorkflowTimedOut(child_id="1", run_id="r", retry_state="timeout"),
            "r TimeoutError Child workflow timed out TIMEOUT",
        ),
        (
            ce.ChildWorkflowTerminated(child_id="1", run_id="r", reason="enough"),
            "r TerminatedError enough None",
        ),
        (
            ce.ChildWorkflowCanceled(child_id="1", run_id="r"),
            "r CancelledError Cancelled CANCEL_REQUESTED",
        ),
    ],
)
def test_each_end_is_an_error_of_its_own(play: Play, event: Record, told: str) -> None:
    player = play(Telling)
    if not isinstance(event, ce.ChildWorkflowStartFailed):
        begin(player)

    (done,) = player.give(event)

    assert result_of(done) == told


@pytest.mark.parametrize("is_running", [False, True])
@pytest.mark.parametrize("kind", KINDS_OF_CANCEL)
def test_cancelling_a_run_cancels_its_child_by_its_type(
    play: Play, kind: Kind, is_running: bool
) -> None:
    player = play(Parent, kind)
    if is_running:
        begin(player)

    outputs = kinds(player.cancel("because"))

    asked = [] if kind is Kind.ABANDON else ["ChildCancelRequested"]
    if kind in (Kind.ABANDON, Kind.TRY_CANCEL):
        assert outputs == [*asked, "WorkflowCanceled"]
        return
    assert outputs == asked
    if not is_running:
        assert begin(player) == []
    if kind is Kind.WAIT_CANCELLATION_REQUESTED:
        call = ce.ExternalCancelRequested(call_id="cancel-child-1", run_id="r")
        assert kinds(player.give(call)) == ["WorkflowCanceled"]
        return
    (ended,) = player.give(ce.ChildWorkflowCanceled(child_id="1", run_id="r"))
    assert isinstance(ended, WorkflowCanceled)


def test_a_child_that_ends_its_own_way_after_it_was_asked_to_cancel_is_believed(
    play: Play,
) -> None:
    player = play(Parent, Kind.WAIT_CANCELLATION_COMPLETED)
    begin(player)
    player.cancel()

    (done,) = end(player, 5)

    assert isinstance(done, WorkflowCompleted)
    assert result_of(done) == 5


@workflow.defn
class Impatient:
    @workflow.run
    async def run(self) -> str:
        task = asyncio.create_task(
            workflow.execute_child_workflow(Kid.run, 1, id="kid", cancellation_type=Kind.TRY_CANCEL)
        )
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except ChildWorkflowError:
            pass
        except asyncio.CancelledError:
            return "cancelled"
        try:
            async with asyncio.timeout(5):
                await workflow.execute_child_workflow("Kid", 2, id="kid")
        except builtins.TimeoutError:
            return "late"
        return "in time"


def test_a_child_cancelled_before_it_was_sent_is_not_asked_for(play: Play) -> None:
    player = play(Impatient)

    assert kinds(player.outputs) == ["TimerStarted", "ChildWorkflowInitiated"]
    begin(player, "2")
    assert kinds(player.fire("1", after_s=5)) == ["ChildCancelRequested"]
    (done,) = player.give(ce.ChildWorkflowCanceled(child_id="2", run_id="r"))
    assert result_of(done) == "late"


@workflow.defn
class Held:
    @workflow.run
    async def run(self) -> str:
        child = await workflow.start_child_workflow(Kid.run, 1, id="kid")
        child.cancel()
        try:
            await child
        except ChildWorkflowError as error:
            return type(error.cause).__name__
        return "done"


def test_cancelling_a_handle_cancels_the_child_and_not_its_parent(play: Play) -> None:
    player = play(Held)

    assert kinds(begin(player)) == ["ChildCancelRequested"]
    (done,) = player.give(ce.ChildWorkflowCanceled(child_id="1", run_id="r"))
    assert result_of(done) == "CancelledError"


@workflow.defn
class Failing:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_child_workflow("Kid", id="kid")


def test_a_childs_failure_that_nobody_catches_fails_the_parent_with_all_its_causes(
    play: Play,
) -> None:
    player = play(Failing)
    begin(player)

    event = ce.ChildWorkflowFailed(child_id="1", run_id="r", failure=Failure(chain=[CAUSE]))
    (ended,) = player.give(event)

    assert isinstance(ended, WorkflowFailed)
    assert [cause.kind for cause in ended.failure.chain] == ["child_workflow", "application"]
    assert ended.failure.chain[0].workflow_id == "kid"


def test_another_child_than_the_recorded_one_is_a_mismatch(play: Play) -> None:
    player = play(Parent, Kind.TRY_CANCEL)
    begin(player)

    @workflow.defn(name="Parent")
    class Renamed:
        @workflow.run
        async def run(self, kind: int) -> None:
            await workflow.execute_child_workflow("Other", id="kid")

    with pytest.raises(BlockedError) as renamed:
        player.replayed(Renamed)
    assert renamed.value.recorded.startswith("child workflow 'Kid' (id 'kid') at ")
    assert renamed.value.produced.startswith("child workflow 'Other' (id 'kid') at ")


def test_wrong_calls_say_what_is_wrong(play: Play) -> None:
    @workflow.defn
    class Wrong:
        @workflow.run
        async def run(self) -> list[str]:
            told = []
            not_one: Any = print
            calls: list[Callable[[], Awaitable[Any]]] = [
                lambda: workflow.execute_child_workflow("Kid", object()),
                lambda: workflow.execute_child_workflow(""),
                lambda: workflow.execute_child_workflow(not_one),
            ]
            for call in calls:
                try:
                    await call()
                except (TypeError, ValueError) as error:
                    told.append(f"{type(error).__name__}: {error}")
            return told

    (done,) = play(Wrong).outputs
    texts = result_of(done)

    assert texts[0].startswith("TypeError: child workflow 'Kid': ")
    assert texts[1].startswith("ValueError: the workflow's name is empty")
    assert "print is no workflow" in texts[2]
