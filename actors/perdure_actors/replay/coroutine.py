"""One run's code on its loop: events go in, what the code asks for comes out."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Sequence
from collections.abc import Coroutine as AnyCoroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, TypeVar

from perdure_actors.replay.activity_calls import Activities
from perdure_actors.replay.blocked import BlockedError, DeadlockError, ReadOnlyContextError
from perdure_actors.replay.call_site import call_site, task_site, user_stack
from perdure_actors.replay.child_calls import Children
from perdure_actors.replay.code import Inbound, RunFacts, WorkflowCode
from perdure_actors.replay.comparison import compare, fits
from perdure_actors.replay.conditions import Conditions
from perdure_actors.replay.contexts import Converters
from perdure_actors.replay.event_table import TAKES
from perdure_actors.replay.external_calls import Calls
from perdure_actors.replay.loop import Report, TimerHandle, make_loop
from perdure_actors.replay.loop_context import Entered
from perdure_actors.replay.marker_calls import Markers
from perdure_actors.replay.message_handlers import Messages
from perdure_actors.replay.recall import Recall
from perdure_actors.replay.run_outcomes import blocked_by, end_of
from perdure_actors.replay.seeded_random import random_of, seed_of
from perdure_actors.replay.teardown import close_coroutines
from perdure_actors.replay.timer_calls import Timers
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.events import (
    TimerFired,
    WorkflowCanceled,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowStarted,
)
from perdure_schemas.message_events import WorkflowUpdateAccepted
from perdure_schemas.payloads import Record, SeedSpan

__all__ = ["START_TIMER_ID", "Coroutine", "RunFacts"]

T = TypeVar("T")
START_TIMER_ID = ""
"""The timer that ends a delayed start."""


class Coroutine:
    """The code of one run, on a loop of its own."""

    def __init__(
        self,
        definition: WorkflowCode,
        facts: RunFacts,
        *,
        converter: PayloadConverter,
        failure_exception_types: tuple[type[BaseException], ...] = (),
        report: Report | None = None,
        chains: Callable[[Coroutine], Inbound | None] | None = None,
    ) -> None:
        self.definition = definition
        self.facts = facts
        self.converters = Converters(converter, facts)
        self.converter = self.converters.own
        self.failure_exception_types = failure_exception_types + definition.failure_exception_types
        self.loop = make_loop(self, report=report)
        self.loop.is_unrestricted = 0 if definition.is_guarded else 1
        self.activities = Activities(self)
        self.children = Children(self)
        self.calls = Calls(self, self.children)
        self._timers = Timers(self)
        self.conditions = Conditions(self.loop)
        self.markers = Markers(self)
        self.messages = Messages(self, definition)
        self.started: WorkflowStarted | None = None
        self.started_ms = 0
        self.seq = 0
        """The seq of the event that is being taken."""
        self.history_bytes = 0
        """The size of the history before the transition that is being taken."""
        self.is_replaying = self.is_brief = False
        """Brief: call sites are left out of what is only compared with the history."""
        self.is_closed = self.is_ended = False
        self.instance: Any = None
        self.cancel_reason: str | None = None
        """Why the run was asked to cancel, once it was."""
        self.kept: dict[str, Any] = {}
        """What the workflow API keeps for the run: its info, its current details."""
        self.watched: Callable[[], AbstractContextManager[object]] = nullcontext
        """What watches the code where nobody else does: as it is dropped."""
        self.inbound: Inbound | None = None
        """What calls of the code go through, where there are interceptors."""
        self._chains = chains
        self._args: Sequence[Any] = ()
        self._main: asyncio.Task[None] | None = None
        self._outputs: list[Record] = []
        self._randoms: dict[str, random.Random] = {}
        self.seed_id = facts.run_id
        """The run id that random numbers are drawn by: another one in what a reset has kept."""
        self.seed_callbacks: list[Callable[[int], None]] = []
        self._seeds: list[SeedSpan] = []
        self._recall = Recall()
        self._blocked: BlockedError | None = None

    @property
    def workflow_type(self) -> str:
        """The name of the workflow's type, which a dynamic definition does not have."""
        return self.definition.name if self.started is None else self.started.workflow_type

    # What a shard asks.

    def advance(
        self, event: Record, *, seq: int, time_ms: int, history_bytes: int = 0
    ) -> list[Record]:
        """Take an input event; what the code asks for until all of it waits again.

        Raises BlockedError when the code cannot go on; then throw this object away, and build
        another from the history when there is reason to try again.
        """
        self._recall.took(seq)
        self.history_bytes = history_bytes
        self.is_replaying = False
        self.markers.recorded = None
        return self._activate(event, seq, time_ms)

    def recall(
        self, events: Sequence[Record], *, seq: int, time_ms: int, history_bytes: int = 0
    ) -> None:
        """Replay a recorded transition whose first event has the given seq.

        Raises BlockedError when the code asks for anything else than was recorded.
        """
        self.history_bytes = history_bytes
        self.is_replaying = True
        where = f"{self.workflow_type} {self.facts.workflow_id!r}"
        for event, at, recorded in self._recall.activations(events, seq, where):
            self._recall_one(event, recorded, at, time_ms)

    def look(self, what: str, fn: Callable[[Messages], T]) -> T:
        """Ask the code for something, as it stands; it may not act meanwhile.

        Raises BlockedError when it cannot be asked, DeadlockError when it does not yield.
        """
        with Entered(self.loop):
            self.loop.looking = what
            try:
                return fn(self.messages)
            except (BlockedError, DeadlockError):
                raise
            except BaseException as error:
                raise blocked_by(error, self.workflow_type) from error
            finally:
                self.loop.looking = ""

    @property
    def has_instance(self) -> bool:
        """Whether the code has begun, so that it can be asked."""
        return self.instance is not None

    def close(self) -> None:
        """Drop the code; its finally blocks run, but nothing they ask for counts or comes."""
        if self.is_closed:
            return
        self.is_closed = True
        self._outputs = []
        if self.loop.tasks:
            with suppress(BlockedError, DeadlockError), self.watched():
                close_coroutines(self.loop)
        self.loop.close()
        self.conditions.clear()

    # What the workflow API asks.

    def ask(self, output: Record) -> None:
        """Add an output event to those of this activation."""
        self.check_asking()
        self._outputs.append(output)

    def check_asking(self) -> None:
        """Raise ReadOnlyContextError while code runs that may ask for nothing."""
        if self.markers.is_calling:
            raise ReadOnlyContextError(
                "a side effect's function only gives a value: it may not start anything"
            )
        self.loop.check_acting()

    def check_continuing(self) -> None:
        """Raise asyncio.CancelledError where the run is cancelled, and its code has not seen it.

        The next run would know nothing of it.
        """
        self.check_asking()
        if self.loop.cancels.take_owed(self._main):
            raise asyncio.CancelledError(self.cancel_reason)

    def take_back(self, output: Record) -> bool:
        """Remove an output that this very activation asked for; whether it did."""
        for index in range(len(self._outputs) - 1, -1, -1):
            if self._outputs[index] is output:
                del self._outputs[index]
                return True
        return False

    def call_site(self) -> str:
        """Where user code stands, or in which task a coroutine of asyncio's does."""
        return "" if self.is_brief and self.is_replaying else call_site(2) or task_site(self.loop)

    def start_timer(self, delay_ms: int, handle: TimerHandle, summary: str | None) -> str:
        """Ask for a durable timer; its id."""
        return self._timers.start(delay_ms, handle, summary)

    def cancel_timer(self, timer_id: str) -> None:
        """Ask for a timer no longer."""
        self._timers.cancel(timer_id)

    async def wait_condition(
        self,
        condition: Callable[[], bool],
        *,
        timeout_s: float | None = None,
        timeout_summary: str | None = None,
    ) -> None:
        """Wait until a condition holds.

        Raises TimeoutError when it does not in time.
        """
        await self.conditions.wait(condition, timeout_s=timeout_s, summary=timeout_summary)

    def random(self, name: str = "") -> random.Random:
        """The run's random generator of a name."""
        self.loop.check_acting()
        found = self._randoms.get(name)
        if found is None:
            found = self._randoms[name] = random_of(self.seed_id, name)
        return found

    def _reseed(self, seq: int) -> None:
        """Draw random numbers by the next run id: what was kept of another run's history ends."""
        while self._seeds and seq >= self._seeds[0].until:
            del self._seeds[0]
        self.seed_id = self._seeds[0].run_id if self._seeds else self.facts.run_id
        for name, generator in self._randoms.items():
            generator.seed(seed_of(self.seed_id, name))
        for callback in self.seed_callbacks:
            callback(seed_of(self.seed_id))

    # How an event is taken.

    def _activate(self, event: Record, seq: int, time_ms: int) -> list[Record]:
        outputs: list[Record] = []
        if self.is_ended:
            return outputs
        assert not self.is_closed, "a closed coroutine takes no event"
        self._outputs = outputs
        self.seq, self.loop.time_ms = seq, time_ms
        take = _TAKES[type(event)]
        is_going_on = False
        self.loop.looking = ""
        entered = Entered(self.loop)
        entered.__enter__()
        try:
            if self._seeds and seq >= self._seeds[0].until:
                self._reseed(seq)
            take(self, event)
            self._settle()
            is_going_on = not self.is_ended
        except BlockedError:
            raise
        except DeadlockError as error:
            raise BlockedError(
                "deadlock",
                f"{self.workflow_type} did not yield: {error}",
                stack_trace=user_stack(error),
            ) from error
        except BaseException as error:
            # Whatever it is: a panic of an extension, or what a callback let out.
            raise blocked_by(error, self.workflow_type) from error
        finally:
            entered.__exit__(None, None, None)
            if not is_going_on:
                # No code runs any more, whether it ended or cannot go on.
                self.close()
        return outputs

    def _settle(self) -> None:
        """Run until everything waits, and has seen that it was cancelled if it was."""
        while True:
            self.loop.run_ready()
            self.conditions.settle()
            blocked = self.markers.lost or self._blocked
            if blocked is not None:
                raise blocked
            if self.is_ended or not self.loop.cancels.cancel_owed():
                return

    def _recall_one(self, event: Record, recorded: list[Record], seq: int, time_ms: int) -> None:
        self.markers.recorded = recorded
        produced = self._activate(event, seq, time_ms)
        if not fits(recorded, produced):
            where = f"{self.workflow_type} {self.facts.workflow_id!r} at event {seq}"
            compare(recorded, produced, where=where, tasks=self.loop.tasks.values())

    def _begin(self) -> None:
        self._main = self.spawn(self._run(), "main")

    def _open(self) -> bool:
        """Make the instance; whether handlers of signals go before its run method."""
        definition, started = self.definition, self.started
        assert started is not None, "a run begins with WorkflowStarted"
        self._args = definition.read_input(started, self.converter)
        if self._chains is not None:
            self.inbound = self._chains(self)
        self.instance = definition.instantiate(self._args)
        self.failure_exception_types += definition.more_failures(self.instance)
        return self.messages.begin()

    async def _open_only(self) -> None:
        self._open()

    async def _run(self) -> None:
        if self.instance is None and self._open():
            # Signals that were there first are handled before the run method's first step.
            await asyncio.sleep(0)
        if self.inbound is None:
            result = await self.definition.call_run(self.instance, self._args)
        else:
            result = await self.inbound.execute_workflow(self._args)
        what = f"the result of {self.workflow_type} ({self.definition.where})"
        payload = self.converter.to_payload(result, what=what)
        self._end(WorkflowCompleted(result=payload))

    def spawn(self, coro: AnyCoroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a part of the code as a task; an exception out of it ends the run, or blocks it."""
        return self.loop.create_task(self._guarded(coro), name=name, context=contextvars.Context())

    async def _guarded(self, coro: AnyCoroutine[Any, Any, None]) -> None:
        try:
            await coro
        except DeadlockError:
            raise
        except BaseException as error:
            if self.is_closed or asyncio._get_running_loop() is not self.loop:
                # The code is being dropped.
                return
            try:
                end = end_of(error, self)
            except BlockedError as blocked:
                self._end(None)
                self._blocked = blocked
                return
            self._end(end)

    def _end(self, output: Record | None) -> None:
        """The first end is the end: no code runs after it, and what is asked for does not count."""
        if self.is_ended:
            return
        if output is not None:
            self._outputs.append(output)
        self._outputs = []
        self.is_ended = True
        self.messages.end()
        self.loop.stop_running()
        self.conditions.clear()

    def _take_started(self, event: WorkflowStarted) -> None:
        self.started = event
        self.started_ms = self.loop.time_ms
        if event.reset is not None and event.reset.seq > 1:
            self._seeds = list(event.reset.seeds)
            self.seed_id = self._seeds[0].run_id
        self.messages.take_start(event.signals)
        self.children.take_over(event.children)
        if event.update is not None:
            # Its acceptance comes next, and its handler goes before the run method.
            self.spawn(self._open_only(), "opening")
        elif event.first_activation_delay_ms <= 0:
            self._begin()

    def _take_update(self, event: WorkflowUpdateAccepted) -> None:
        self.messages.take_update(event)
        if self._main is None:
            self._begin()

    def _take_cancel_requested(self, event: WorkflowCancelRequested) -> None:
        if self.cancel_reason is not None:
            return
        self.cancel_reason = event.reason
        if self._main is None:
            # Its start is delayed: none of its code has run, and none will.
            self._end(WorkflowCanceled())
        else:
            self._main.cancel()

    def _take_timer(self, event: TimerFired) -> None:
        if event.timer_id == START_TIMER_ID:
            if self._main is None:
                self._begin()
            return
        self._timers.fire(event.timer_id)


_TAKES: dict[type[Record], Callable[[Coroutine, Any], None]] = {
    WorkflowStarted: Coroutine._take_started,
    WorkflowCancelRequested: Coroutine._take_cancel_requested,
    WorkflowUpdateAccepted: Coroutine._take_update,
    TimerFired: Coroutine._take_timer,
    **TAKES,
}
