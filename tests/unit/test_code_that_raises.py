"""Whatever user code raises, wherever it does: the run is blocked, or its asker told. No more."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from perdure import workflow
from perdure.exceptions import ApplicationError
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.message_events import WorkflowSignaled
from perdure_schemas.payloads import Failure
from tests.unit.player import CONVERTER, Player, accepted, kinds


class PanicError(BaseException):
    """As the panics of extensions are: no Exception."""


class MuteError(Exception):
    """An error that fails when it is asked what it says."""

    def __str__(self) -> str:
        raise PanicError("in __str__")

    __repr__ = __str__


class _Meta(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise PanicError("in __name__")


class NamelessError(MuteError, metaclass=_Meta):
    """One whose class has no name either."""


def _recurse() -> None:
    _recurse()


def _nest() -> BaseException:
    inner: BaseException = PanicError("at the bottom")
    for _ in range(sys.getrecursionlimit() * 2):
        inner = BaseExceptionGroup("one more", [inner])
    return inner


def _circle() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


RAISED: dict[str, Callable[[], BaseException]] = {
    "panic": lambda: PanicError("index out of bounds"),
    "cancelled": asyncio.CancelledError,
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "generator exit": GeneratorExit,
    "memory": MemoryError,
    "mute": MuteError,
    "nameless": NamelessError,
    "nested": _nest,
    "circle": _circle,
    "stop": StopIteration,
    "stop async": StopAsyncIteration,
    "details": lambda: ApplicationError("no", object()),
    "group": lambda: BaseExceptionGroup("all", [PanicError("one"), SystemExit(1)]),
}
NAMES = [*RAISED, "recursion", "continue"]


def burst(how: str) -> Any:
    """Raise what a name stands for."""
    if how == "recursion":
        _recurse()
    if how == "continue":
        workflow.continue_as_new()
    error = RAISED[how]()
    raise error


class _Unclear:
    """A condition that cannot say whether it holds."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __bool__(self) -> bool:
        burst(self.how)
        return True


@workflow.defn
class Bursting:
    def __init__(self) -> None:
        self.how = ""

    @workflow.run
    async def run(self, how: str, where: str) -> str:
        if where == "run":
            burst(how)
        elif where == "task":
            await asyncio.create_task(self._later(how))
        elif where == "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(self._later(how))
        elif where == "callback":
            asyncio.get_running_loop().call_soon(burst, how)
        elif where == "truth":
            unclear: Any = _Unclear(how)
            await workflow.wait_condition(lambda: self.how != "" and unclear)
        elif where == "condition":
            await workflow.wait_condition(lambda: self.how != "" and burst(how))
        elif where == "end":
            try:
                await workflow.wait_condition(lambda: self.how == "go on")
            finally:
                burst(how)
        await workflow.wait_condition(lambda: self.how == "end")
        return "ended"

    async def _later(self, how: str) -> None:
        await asyncio.sleep(0)
        burst(how)

    @workflow.signal
    def set(self, how: str) -> None:
        self.how = how

    @workflow.signal
    def signal(self, how: str) -> None:
        burst(how)

    @workflow.query
    def query(self, how: str) -> str:
        burst(how)
        return ""

    @workflow.query
    def fine(self) -> str:
        return "fine"

    @workflow.update
    def update(self, how: str) -> str:
        return burst(how) or ""

    @workflow.update
    def checked(self, how: str) -> str:
        return how

    @checked.validator
    def check(self, how: str) -> None:
        burst(how)


def _ended(act: Callable[[], list[Any]]) -> str:
    """How a run's code ended, or that it was blocked."""
    try:
        outputs = act()
    except BlockedError as blocked:
        return "blocked" if blocked.cause == "error" and blocked.message else repr(blocked)
    return kinds(outputs)[-1] if outputs else "waits"


@pytest.mark.parametrize("how", NAMES)
@pytest.mark.parametrize("where", ["run", "task", "group"])
def test_out_of_a_run_method_it_ends_the_run_or_blocks_it(how: str, where: str) -> None:
    ended = _ended(lambda: Player(Bursting, how, where).outputs)

    failing = {"cancelled": "WorkflowFailed", "details": "WorkflowFailed"}
    continued = {"continue": "WorkflowContinuedAsNew"} if where != "group" else {}
    if (how, where) == ("cancelled", "group"):
        assert ended == "waits", "asyncio takes a task that ended cancelled for no trouble"
    else:
        assert ended in ("blocked", (failing | continued).get(how)), ended
    assert asyncio._get_running_loop() is None


@pytest.mark.parametrize("how", NAMES)
@pytest.mark.parametrize("where", ["callback", "condition", "truth"])
def test_out_of_a_callback_or_a_condition_it_blocks_the_run(how: str, where: str) -> None:
    def play() -> list[Any]:
        player = Player(Bursting, how, where)
        return player.signal("set", "now")

    failing = {"cancelled": "WorkflowFailed", "details": "WorkflowFailed"}
    wanted = failing.get(how) if where != "callback" else None
    assert _ended(play) in ("blocked", wanted)


@pytest.mark.parametrize("how", NAMES)
@pytest.mark.parametrize("kind", ["signal", "update"])
def test_out_of_a_handler_it_ends_the_run_or_blocks_it(how: str, kind: str) -> None:
    player = Player(Bursting, "", "")

    ended = _ended(lambda: getattr(player, kind)(kind, how))

    if kind == "update" and ended == "WorkflowUpdateCompleted":
        assert how in ("cancelled", "details")
    else:
        # A cancellation that nobody asked for is no cancellation of the run.
        wanted = {"continue": "WorkflowContinuedAsNew"}
        wanted |= dict.fromkeys(("cancelled", "details"), "WorkflowFailed")
        assert ended in ("blocked", wanted.get(how))


@pytest.mark.parametrize("how", NAMES)
def test_out_of_a_query_it_fails_the_query_and_nothing_else(how: str) -> None:
    player = Player(Bursting, "", "")

    found = player.run.look(
        "a query handler", lambda of: of.answer("query", CONVERTER.to_payloads([how]))
    )

    assert isinstance(found, Failure)
    assert found.chain[0].message
    assert player.query("fine") == "fine"
    assert kinds(player.signal("set", "end")) == ["WorkflowCompleted"]
    player.check()


@pytest.mark.parametrize("how", NAMES)
def test_out_of_a_validator_it_refuses_the_update_and_nothing_else(how: str) -> None:
    player = Player(Bursting, "", "")

    refused = player.refusal(accepted("checked", how))

    assert refused is not None
    assert refused.chain[0].message
    assert kinds(player.signal("set", "end")) == ["WorkflowCompleted"]
    player.check()


@pytest.mark.parametrize("how", NAMES)
def test_as_code_is_dropped_nobody_hears_of_it(how: str) -> None:
    player = Player(Bursting, how, "end")

    player.run.close()

    assert asyncio._get_running_loop() is None


def test_a_query_that_continues_as_new_is_told_what_it_may_do() -> None:
    player = Player(Bursting, "", "")

    refused = player.refusal(accepted("checked", "continue"))

    assert refused is not None
    assert "must only look" in refused.chain[0].message


@workflow.defn
class Meddling:
    """It looks, and would change who is asked next."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.query
    def meddle(self, kind: str) -> str:
        setter: Any = getattr(workflow, f"set_{kind}_handler")
        setter("added", lambda: "here")
        return "added"


@pytest.mark.parametrize("kind", ["signal", "query", "update"])
def test_a_query_sets_no_handlers(kind: str) -> None:
    player = Player(Meddling)

    found = player.run.look(
        "a query handler", lambda of: of.answer("meddle", CONVERTER.to_payloads([kind]))
    )

    assert isinstance(found, Failure)
    assert "must only look" in found.chain[0].message


@workflow.defn
class Proxied:
    @workflow.run
    async def run(self) -> None:
        kept = _Proxy()
        await workflow.wait_condition(lambda: False)
        del kept

    @workflow.signal
    def end(self) -> None:
        raise ApplicationError("over")


class _Proxy:
    """As proxies of frameworks are, outside of their context."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("outside of its context")


def test_a_proxy_that_cannot_be_looked_at_keeps_no_run_from_ending() -> None:
    player = Player(Proxied)

    outputs = player.give(WorkflowSignaled(signal_name="end"))

    assert kinds(outputs) == ["WorkflowFailed"]
