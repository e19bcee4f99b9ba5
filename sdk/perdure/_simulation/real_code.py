"""The code of users in a simulated process: the real runner, with a run's faults around it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from perdure._simulation.virtual_loop import HereExecutor, VirtualLoop
from perdure_actors.worker.attempt import application_failure
from perdure_actors.worker.executors import arguments_of
from perdure_actors.worker.runner import ActivityRunner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure._simulation.fault_plan import Fault
    from perdure._simulation.journal import ActivityCall
    from perdure_actors.definitions.registry import ActivityRegistry
    from perdure_actors.worker.attempt import Attempt
    from perdure_actors.worker.payload_stage import Desk
    from perdure_schemas.converters import PayloadConverter
    from perdure_schemas.payloads import Failure, Payload

SIMULATED = "SimulatedFault"
OVER_MS = 1_000
"""How much longer than its timeout a call takes that times out."""


class CallWorld(Protocol):
    """What the world is asked and told about the calls of its processes."""

    def began(self, attempt: Attempt, worker: str) -> tuple[ActivityCall, Fault | None]:
        """An attempt begins; what goes wrong with it."""

    def tell(self, kind: str, *about: Any) -> None:
        """Something happened that belongs to the story."""

    def draw_ms(self) -> int:
        """How long something takes that takes no time worth speaking of."""

    def slept_ms(self) -> int:
        """For how long code has called time.sleep since this was asked last."""

    def has_acted(self, call: ActivityCall) -> bool:
        """Whether an earlier attempt of the same call did its work, or part of it."""

    def double(self, token: bytes) -> None:
        """Have the report of an attempt come twice."""


class _Running:
    """An attempt in this process, and what goes wrong with it."""

    __slots__ = ("call", "fault", "has_begun", "is_cancelled")

    def __init__(self, call: ActivityCall, fault: Fault | None) -> None:
        self.call = call
        self.fault = fault
        self.has_begun = False
        self.is_cancelled = ""

    @property
    def kind(self) -> str:
        """What goes wrong."""
        return "" if self.fault is None else self.fault.kind

    @property
    def ms(self) -> int:
        """How long it lasts."""
        return 0 if self.fault is None else self.fault.ms


class RealCode:
    """Runs attempts of a desk by the real runner; between both stand the faults."""

    def __init__(
        self,
        world: CallWorld,
        loop: VirtualLoop,
        *,
        activities: ActivityRegistry,
        converter: PayloadConverter,
        worker: str,
        task_queue: str,
        crash: Callable[[str, ActivityCall], None],
    ) -> None:
        self._world = world
        self._loop = loop
        self._worker = worker
        self._crash = crash
        self.running: dict[bytes, _Running] = {}
        self.desk: Desk
        with _on(loop):
            self._runner = ActivityRunner(
                activities,
                task_queue=task_queue,
                converter=converter,
                pool=HereExecutor(loop),
                on_change=_nothing,
                on_fatal=_raise,
                ring=self._ring,
                is_only_one=True,
            )
        self._runner.desk = self

    def _ring(self) -> None:
        self._loop.call_soon(self._runner.work_off)

    # -- what the desk asks --

    def start(self, attempt: Attempt) -> None:
        """Run an attempt, in a moment."""
        call, fault = self._world.began(attempt, self._worker)
        self.running[attempt.token] = _Running(call, fault)
        self._later(self._world.draw_ms(), partial(self._begin, attempt))

    def cancel(self, attempt: Attempt, reason: str) -> None:
        """Ask an attempt's code to stop."""
        found = self.running.get(attempt.token)
        if found is not None and not found.has_begun:
            found.is_cancelled = reason
        else:
            self._runner.cancel(attempt, reason)

    def _later(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._loop.call_later(delay_ms / 1000, action)

    def _begin(self, attempt: Attempt) -> None:
        found = self.running.get(attempt.token)
        if found is None:
            return
        found.has_begun = True
        call, kind = found.call, found.kind
        if kind == "dies_before":
            call.status = "not run"
            self._crash(kind, call)
        elif kind in ("refuses", "fails_before"):
            if self._world.has_acted(call):
                # Who has done it once does not refuse it the second time.
                kind = "fails_before"
            call.status, call.error = "not run", "simulated"
            self._world.tell(kind, call)
            self._forget(attempt)
            self.desk.failed(attempt, _failure(call.activity, kind))
        else:
            if kind == "dies_during":
                self._later(1 + found.ms % 500, partial(self._die_within, attempt))
            self._run(attempt, found)

    def _run(self, attempt: Attempt, found: _Running) -> None:
        self._world.slept_ms()
        self._runner.start(attempt)
        context = self._runner.running.get(attempt)
        if context is not None:
            # Read again, so that code which changes its arguments does not change the journal.
            found.call.args = _arguments(context)
        if found.is_cancelled:
            self._runner.cancel(attempt, found.is_cancelled)

    def _die_within(self, attempt: Attempt) -> None:
        found = self.running.get(attempt.token)
        if found is not None and found.call.status == "running":
            found.call.status = "lost"
            self._crash("dies_during", found.call)

    # -- what the runner tells, as to a desk --

    def completed(self, attempt: Attempt, result: Payload | None) -> None:
        """The code returned."""
        found = self.running.get(attempt.token)
        if found is None:
            return
        call, kind = found.call, found.kind
        call.status = "returned"
        call.result = None if result is None else self._value(attempt, result)
        report = partial(self._report_completed, attempt, result)
        if kind == "dies_after":
            self._crash(kind, call)
        elif kind == "fails_after":
            self._world.tell(kind, call)
            self._soon(
                attempt, partial(self._report_failed, attempt, _failure(call.activity, kind))
            )
        elif kind == "times_out" and attempt.task.start_to_close_ms:
            self._world.tell(kind, call)
            self._later(attempt.task.start_to_close_ms + OVER_MS, report)
        elif kind == "late":
            self._world.tell(kind, call, found.ms)
            self._later(found.ms, report)
        else:
            if kind == "doubled":
                self._world.double(attempt.token)
            self._world.tell("returned", call)
            self._soon(attempt, report)

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """The code raised."""
        found = self.running.get(attempt.token)
        if found is None:
            return
        found.call.status = "raised"
        found.call.error = failure.chain[0].message if failure.chain else ""
        self._world.tell("raised", found.call)
        self._soon(attempt, partial(self._report_failed, attempt, failure))

    def canceled(self, attempt: Attempt, details: Sequence[Payload] = ()) -> None:
        """The code ended because it was asked to cancel."""
        found = self.running.get(attempt.token)
        if found is not None:
            found.call.status = "lost"
        self._forget(attempt)
        self.desk.canceled(attempt, details)

    def detached(self, attempt: Attempt) -> None:
        """Somebody else is to report it."""
        self._forget(attempt)
        self.desk.detached(attempt)

    def stopped(self, attempt: Attempt) -> None:
        """The code ended because its worker stops."""
        self._forget(attempt)
        self.desk.stopped(attempt)

    def hand_back(self, attempt: Attempt, reason: str) -> None:
        """It has not begun here."""
        self.desk.hand_back(attempt, reason)

    def free(self, attempt: Attempt) -> None:
        """The code has ended."""
        self._forget(attempt)
        self.desk.free(attempt)

    def heartbeat(self, attempt: Attempt, details: list[Payload]) -> None:
        """The code gave a sign of life."""
        self.desk.heartbeat(attempt, details)

    def _soon(self, attempt: Attempt, report: Callable[[], None]) -> None:
        self._later(self._world.draw_ms() + self._world.slept_ms(), report)

    def _report_completed(self, attempt: Attempt, result: Payload | None) -> None:
        self._forget(attempt)
        self.desk.completed(attempt, result)

    def _report_failed(self, attempt: Attempt, failure: Failure) -> None:
        self._forget(attempt)
        self.desk.failed(attempt, failure)

    def _forget(self, attempt: Attempt) -> None:
        self.running.pop(attempt.token, None)

    def _value(self, attempt: Attempt, result: Payload) -> Any:
        found = self._runner._activities.get(attempt.task.activity_type)
        hint = None if found is None else found[0].signature.result_type
        try:
            return self._runner._converter.from_payloads([result], [hint])[0]
        except (TypeError, ValueError):
            return result

    def give_up(self) -> None:
        """Its process is no more: what it ran has no end."""
        for found in self.running.values():
            if found.call.status == "running":
                found.call.status = "lost"
        self.running.clear()


def _failure(activity: str, kind: str) -> Failure:
    says = {
        "refuses": f"simulated: {activity} was refused for good",
        "fails_before": f"simulated: {activity} failed before it did anything",
        "fails_after": f"simulated: the answer to {activity} was lost",
    }
    return application_failure(says[kind], SIMULATED, non_retryable=kind == "refuses")


def _arguments(context: Any) -> list[Any]:
    try:
        return arguments_of(context)
    except Exception:  # the activity fails of it, and says so
        return []


def _raise(error: BaseException) -> None:
    raise error


def _nothing() -> None:
    """Nobody waits for a change."""


@contextmanager
def _on(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(before)
