"""A turn stops where it must wait, gives its thread back, and goes on from there, or ends."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextvars import ContextVar
from functools import partial

import pytest

from perdure_actors.definitions.turn import Turn, wait_for

mark: ContextVar[str] = ContextVar("mark", default="outer")


def test_a_turn_that_waits_for_nothing_is_over_at_once() -> None:
    turn = Turn(lambda: 5)

    assert turn.advance() == 5
    assert turn.waits_for is None


def test_turns_take_turns_on_one_thread() -> None:
    said: list[tuple[str, str]] = []
    futures = {name: Future[str]() for name in "ab"}

    def act(name: str) -> str:
        mark.set(name)
        said.append((name, "begins"))
        answer = wait_for(futures[name], 1)
        said.append((name, mark.get()))
        return f"{answer} on {threading.current_thread().name}"

    turns = {name: Turn(partial(act, name)) for name in "ab"}
    for name, turn in turns.items():
        turn.advance()
        assert turn.waits_for is futures[name]
    futures["b"].set_result("second")
    found_b = turns["b"].advance()
    futures["a"].set_result("first")
    found_a = turns["a"].advance()

    here = threading.current_thread().name
    assert (found_a, found_b) == (f"first on {here}", f"second on {here}")
    assert said == [("a", "begins"), ("b", "begins"), ("b", "b"), ("a", "a")]
    assert mark.get() == "outer"


def test_what_a_turn_waits_for_may_fail_or_not_come() -> None:
    failing, late = Future[None](), Future[None]()
    turn = Turn(lambda: wait_for(failing, 1))
    turn.advance()
    failing.set_exception(LookupError("no key"))
    with pytest.raises(LookupError, match="no key"):
        turn.advance()

    turn = Turn(lambda: wait_for(late, 1))
    turn.advance()
    with pytest.raises(TimeoutError):
        turn.advance()


def test_a_turn_that_is_let_go_of_goes_no_further() -> None:
    done: list[str] = []

    def act() -> None:
        try:
            wait_for(Future[None](), 1)
        except BaseException as error:
            # As a fence round user code may do.
            done.append(type(error).__name__)
        try:
            wait_for(Future[None](), 1)
        finally:
            done.append("cleaned up")
        done.append("went on")

    turn = Turn(act)
    turn.advance()
    turn.end()

    assert done == ["GreenletExit", "cleaned up"]
    assert turn.waits_for is None


def test_outside_a_turn_the_thread_waits() -> None:
    future = Future[int]()
    threading.Timer(0.01, future.set_result, [3]).start()

    assert wait_for(future, 20) == 3
    with pytest.raises(TimeoutError):
        wait_for(Future[int](), 0)
