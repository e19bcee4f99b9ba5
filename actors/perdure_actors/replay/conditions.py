"""Conditions that a run's code waits for, looked at when nothing else is ready."""

from __future__ import annotations

from collections.abc import Callable

from perdure_actors.replay.blocked import DeadlockError
from perdure_actors.replay.loop import Future, Loop


class Conditions:
    """The conditions of one run, in the order in which they were waited for."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: dict[Future[None], Callable[[], bool]] = {}

    async def wait(
        self, condition: Callable[[], bool], *, timeout_s: float | None, summary: str | None
    ) -> None:
        """Wait until a condition holds. Raises TimeoutError when it does not in time."""
        if condition():
            return
        future: Future[None] = Future(loop=self._loop)
        timer = None
        if timeout_s is not None:
            if timeout_s <= 0:
                raise TimeoutError
            timer = self._loop.start_timer(timeout_s, _expire, future, summary=summary)
        self._waiting[future] = condition
        try:
            await future
        finally:
            self._waiting.pop(future, None)
            if timer is not None:
                timer.cancel()

    def settle(self) -> None:
        """Run the loop until no condition holds, waking waiters one after another.

        Each is looked at only after the ones before it have run, so what it sees is still so when
        its waiter goes on.
        """
        while self._waiting:
            has_woken = False
            for future, condition in list(self._waiting.items()):
                if future not in self._waiting:
                    # Its waiter has gone on, or the run has ended: what it waits for is not asked.
                    continue
                if not future.done() and self._look(future, condition):
                    has_woken = True
                    self._loop.run_ready()
            if not has_woken:
                return

    def clear(self) -> None:
        """Wait for nothing."""
        self._waiting.clear()

    def _look(self, future: Future[None], condition: Callable[[], bool]) -> bool:
        self._loop.looking = "a wait_condition's function"
        error: BaseException | None = None
        holds = False
        try:
            holds = bool(condition())
        except DeadlockError:
            raise
        except StopIteration as raised:
            # No future takes that one.
            error = RuntimeError("a wait_condition's function raised StopIteration")
            error.__cause__ = raised
        except BaseException as raised:
            error = raised
        finally:
            self._loop.looking = ""
        if error is not None:
            future.set_exception(error)
            return True
        if holds:
            future.set_result(None)
        return holds


def _expire(future: Future[None]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())
