"""Handlers in workflow code: when they run, what they see, and what cannot be one."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import pytest

from perdure import workflow
from perdure.common import RawValue
from perdure.exceptions import ApplicationError
from perdure_actors.replay.blocked import BlockedError
from perdure_actors.replay.message_handlers import Unfinished
from perdure_schemas.events import TimerStarted, WorkflowCompleted, WorkflowFailed
from perdure_schemas.message_events import WorkflowSignaled, WorkflowUpdateCompleted
from perdure_schemas.payloads import Failure, SignalInput
from tests.unit.player import CONVERTER, Player, accepted, kinds, result_of

HERE = "tests/unit/test_handlers.py"


@workflow.defn
class Talking:
    @workflow.init
    def __init__(self, ends: str) -> None:
        self.heard = [f"init {ends}"]
        self.ends = ends
        self.is_over = False

    @workflow.run
    async def run(self, ends: str) -> list[str]:
        self.heard.append("run")
        await workflow.wait_condition(lambda: self.is_over)
        self.heard.append("over")
        if ends == "patient":
            await workflow.wait_condition(workflow.all_handlers_finished)
        return self.heard

    @workflow.signal
    async def slow(self, what: str) -> None:
        self.heard.append(f"began {what}")
        await asyncio.sleep(1)
        self.heard.append(f"ended {what}")

    @workflow.signal
    def over(self) -> None:
        self.is_over = True

    @workflow.signal
    def fail(self) -> None:
        raise ApplicationError("a handler ends the run")

    @workflow.signal
    def break_(self) -> None:
        raise KeyError("a bug")

    @workflow.signal
    def listen(self, name: str) -> None:
        workflow.set_signal_handler(name, self.heard.append)

    @workflow.signal
    def listen_to_all(self) -> None:
        def hear(name: str, args: Sequence[RawValue]) -> None:
            self.heard.append(f"{name}/{len(args)}")

        workflow.set_dynamic_signal_handler(hear)

    @workflow.update
    async def asked(self, what: str) -> str:
        await asyncio.sleep(1)
        if what == "break":
            raise KeyError("a bug")
        info = workflow.current_update_info()
        assert info is not None
        return f"{info.name}/{info.id}: {what}"

    @asked.validator
    def check_asked(self, what: str) -> None:
        if what == "act":
            workflow.random()
        if not what:
            raise ApplicationError("nothing asked")

    @workflow.query
    def hears(self) -> list[str]:
        return self.heard

    @workflow.query
    def sets(self, kind: str) -> None:
        setters = {
            "signal": workflow.set_signal_handler,
            "query": workflow.set_query_handler,
            "update": workflow.set_update_handler,
        }
        setters[kind]("added", lambda: None)

    @workflow.query
    def draws(self) -> float:
        return workflow.random().random()


def test_signals_of_a_start_come_before_the_run_method() -> None:
    signals = [
        SignalInput(signal_name="slow", input=CONVERTER.to_payloads([n])) for n in ("a", "b")
    ]
    player = Player(Talking, "patient", signals=signals)

    assert player.query("hears") == ["init patient", "began a", "began b", "run"]
    player.signal("over")
    player.fire("1", after_s=1)
    done = player.fire("2")
    assert kinds(done) == ["WorkflowCompleted"]
    assert result_of(done[0])[-3:] == ["over", "ended a", "ended b"]
    player.check()


def test_signals_to_a_run_held_back_wait_for_its_beginning() -> None:
    player = Player(Talking, "", first_activation_delay_ms=1000)
    assert player.signal("slow", "a") == []
    assert not player.run.has_instance

    begun = player.fire("", after_s=1)

    assert kinds(begun) == ["TimerStarted"]
    assert player.query("hears") == ["init ", "began a", "run"]
    player.check()


def test_handlers_at_work_are_abandoned_and_told_when_the_run_ends() -> None:
    player = Player(Talking, "hasty")
    player.signal("slow", "a")
    player.update("asked", "b", update_id="u7")

    done = player.signal("over")

    assert kinds(done) == ["WorkflowCompleted"]
    assert player.run.messages.unfinished == [
        Unfinished("signal", "slow", ""),
        Unfinished("update", "asked", "u7"),
    ]
    player.check()


def test_a_failure_in_a_signal_handler_fails_the_run_and_a_bug_blocks_it() -> None:
    player = Player(Talking, "")
    done = player.signal("fail")
    assert isinstance(done[0], WorkflowFailed)
    player.check()

    player = Player(Talking, "")
    with pytest.raises(BlockedError, match=r"raised KeyError: 'a bug' at .*test_handlers.py"):
        player.signal("break_")


def test_an_update_returns_what_its_handler_does() -> None:
    player = Player(Talking, "")
    assert kinds(player.update("asked", "x", update_id="u1")) == ["TimerStarted"]

    done = player.fire("1", after_s=1)

    assert done == [
        WorkflowUpdateCompleted(
            update_id="u1", update_name="asked", result=CONVERTER.to_payload("asked/u1: x")
        )
    ]
    player.check()


def test_a_bug_in_an_update_handler_blocks_the_run() -> None:
    player = Player(Talking, "")
    player.update("asked", "break")

    with pytest.raises(BlockedError, match="raised KeyError"):
        player.fire("1", after_s=1)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("asked", [""], "nothing asked"),
        ("asked", [], f"update 'asked' ({HERE}:"),
        ("asked", [1], "argument 1 (what) cannot be read as str"),
        ("asked", ["act"], "an update validator must only look"),
        ("other", [], "update 'other' has no handler in Talking; known updates: asked"),
    ],
)
def test_an_update_is_refused_before_anything_happens(
    name: str, args: list[Any], message: str
) -> None:
    player = Player(Talking, "")

    failure = player.run.look(
        "an update validator", lambda of: of.problem_of(accepted(name, *args))
    )

    assert isinstance(failure, Failure)
    assert message in failure.chain[0].message
    assert player.query("hears") == ["init ", "run"]


def test_a_query_draws_no_chance_and_counts_nothing() -> None:
    player = Player(Talking, "")

    failure = player.run.look("a query handler", lambda of: of.answer("draws", []))

    assert isinstance(failure, Failure)
    assert "a query handler must only look" in failure.chain[0].message
    assert player.run.random().random() == player.replayed().random().random()


@pytest.mark.parametrize("kind", ["signal", "query", "update"])
def test_a_query_sets_no_handlers(kind: str) -> None:
    player = Player(Talking, "")
    asked = [CONVERTER.to_payload(kind)]

    failure = player.run.look("a query handler", lambda of: of.answer("sets", asked))

    assert isinstance(failure, Failure)
    assert "a query handler must only look" in failure.chain[0].message
    assert "added" not in {**player.run.messages.signals, **player.run.messages.queries}


def test_signals_wait_for_a_handler_that_the_run_sets_later() -> None:
    player = Player(Talking, "")
    player.signal("late", "one")
    player.signal("other", "x")
    player.signal("late", "two")
    assert player.query("hears") == ["init ", "run"]

    player.signal("listen", "late")
    assert player.query("hears") == ["init ", "run", "one", "two"]
    player.signal("listen_to_all")
    player.signal("unheard_of", 1, 2)

    assert player.query("hears")[-2:] == ["other/1", "unheard_of/2"]
    player.check()


def test_an_update_whose_handler_is_gone_blocks_the_run() -> None:
    @workflow.defn(name="Talking")
    class Silent:
        @workflow.run
        async def run(self, _ends: str) -> None:
            await workflow.wait_condition(lambda: False)

    player = Player(Talking, "")
    player.update("asked", "x")

    with pytest.raises(BlockedError, match="has no handler for it now; known updates: none"):
        player.replayed(Silent)


def test_handlers_are_asked_for_by_name() -> None:
    found: list[Any] = []

    @workflow.defn
    class Asking:
        @workflow.run
        async def run(self) -> None:
            found.append(workflow.get_signal_handler("go"))
            found.append(workflow.get_update_handler("go"))
            workflow.set_update_handler("go", lambda: 5)
            workflow.set_query_handler("told", lambda: "yes")
            await workflow.wait_condition(lambda: False)

        @workflow.signal
        def go(self) -> None:
            found.append("called")

    player = Player(Asking)

    found[0]()
    assert found[1:] == [None, "called"]
    assert player.query("told") == "yes"
    done = player.update("go", update_id="u")
    assert done == [
        WorkflowUpdateCompleted(update_id="u", update_name="go", result=CONVERTER.to_payload(5))
    ]
    player.check()


def test_a_handler_of_a_base_is_one_of_the_class_below() -> None:
    class Above:
        def __init__(self) -> None:
            self.told: list[str] = []

        @workflow.signal
        def tell(self, what: str) -> None:
            self.told.append(what)

    @workflow.defn
    class Below(Above):
        @workflow.run
        async def run(self) -> list[str]:
            await workflow.wait_condition(lambda: len(self.told) == 2)
            return self.told

    player = Player(Below)
    player.signal("tell", "a")
    done = player.signal("tell", "b")

    assert isinstance(done[0], WorkflowCompleted)
    assert result_of(done[0]) == ["a", "b"]


def test_a_signal_with_bad_arguments_is_known_before_it_is_taken() -> None:
    player = Player(Talking, "")
    event = WorkflowSignaled(signal_name="slow", input=CONVERTER.to_payloads([1, 2]))

    failure = player.refusal(event)

    assert failure is not None
    assert "takes 1 argument (what), but was given 2" in failure.chain[0].message
    assert player.refusal(WorkflowSignaled(signal_name="unknown")) is None
    # In a history all the same, it blocks the run that cannot read it.
    with pytest.raises(BlockedError, match="takes 1 argument"):
        player.give(event)


def test_handlers_beside_the_run_method_share_locks_and_queues() -> None:
    @workflow.defn
    class Sharing:
        def __init__(self) -> None:
            self.queue: asyncio.Queue[int] = asyncio.Queue()
            self.turns = asyncio.Semaphore(1)
            self.seen: list[str] = []

        @workflow.run
        async def run(self) -> list[str]:
            async with asyncio.TaskGroup() as group:
                for name in ("a", "b"):
                    group.create_task(self.eat(name))
            return self.seen

        async def eat(self, name: str) -> None:
            number = await self.queue.get()
            async with self.turns:
                await asyncio.shield(asyncio.sleep(1))
                self.seen.append(f"{name}{number}")

        @workflow.signal
        async def feed(self, number: int) -> None:
            async with asyncio.timeout(10):
                await self.queue.put(number)

    player = Player(Sharing)
    player.signal("feed", 1)
    player.signal("feed", 2)
    timers = [one for one in player.all_outputs if isinstance(one, TimerStarted)]
    for _ in range(2):
        player.fire(timers[-1].timer_id, after_s=1)
        timers = [one for one in player.all_outputs if isinstance(one, TimerStarted)]

    assert isinstance(player.outputs[0], WorkflowCompleted)
    assert result_of(player.outputs[0]) == ["a1", "b2"]
    player.check()


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)

    @workflow.defn
    class AsksAsync:
        """Has queries as old code for Temporal may have them."""

        @workflow.run
        async def run(self) -> None:
            await asyncio.sleep(1)

        @workflow.query
        async def told(self, what: str) -> str:
            return f"told {what}"

        @workflow.query
        async def waits(self) -> None:
            await asyncio.sleep(0)


def test_an_async_query_is_answered_as_long_as_it_waits_for_nothing() -> None:
    player = Player(AsksAsync)

    assert player.query("told", "so") == "told so"
    failure = player.run.look("a query handler", lambda of: of.answer("waits", []))
    assert isinstance(failure, Failure)
    assert "waited for something; a query only looks" in failure.chain[0].message


@workflow.defn
class Logging:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update
    def tell(self, what: str) -> None:
        workflow.logger.info("told %s", what)


def test_what_an_update_logs_says_which_update_it_was(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "perdure.workflow")
    monkeypatch.setattr(workflow.logger, "full_workflow_info_on_extra", True)
    player = Player(Logging)

    player.update("tell", "more", update_id="u-7")

    (line,) = caplog.records
    assert line.getMessage().startswith("told more ({'attempt': 1")
    assert "'update_id': 'u-7', 'update_name': 'tell'" in line.getMessage()
    assert line.__dict__["perdure_workflow"]["update_name"] == "tell"
    assert line.__dict__["workflow_info"].workflow_type == "Logging"
