"""Which executor runs an attempt, and how its outcome gets back to the desk. No rule lives here."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial

from perdure_actors.definitions.registry import ActivityRegistry
from perdure_actors.replay.raised import kind_of, said_by
from perdure_actors.trouble_log import TroubleLog, tell_failed
from perdure_actors.worker.activity_context import ActivityContext, Flag, cancellation_details
from perdure_actors.worker.attempt import WORKER_SHUTDOWN, Attempt, application_failure
from perdure_actors.worker.executors import AsyncExecutor, Outcome, ThreadExecutor
from perdure_actors.worker.interceptors import Intercept, InterceptedCalls
from perdure_actors.worker.payload_stage import Desk
from perdure_actors.worker.processes import ProcessExecutor
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.payloads import Failure, Payload

logger = logging.getLogger(__name__)


class ActivityRunner:
    """Runs attempts for the desk; everything but heartbeats is on the event loop's thread."""

    def __init__(
        self,
        activities: ActivityRegistry,
        *,
        task_queue: str,
        converter: PayloadConverter,
        pool: Executor,
        on_change: Callable[[], None],
        on_fatal: Callable[[BaseException], None],
        ring: Callable[[], None],
        intercept: Intercept | None = None,
        is_only_one: bool = False,
        trouble: TroubleLog | None = None,
    ) -> None:
        """Begin; the only one fails for good what is not registered, as no other will run it."""
        self._activities = activities
        self._is_only_one = is_only_one
        self._task_queue = task_queue
        self._converter = converter
        self._on_change = on_change
        self._trouble = trouble or TroubleLog()
        self._on_fatal = on_fatal
        self._ring = ring
        self._inbox: deque[Callable[[], None]] = deque()
        self._loop_thread_id = threading.get_ident()
        self.shutdown = Flag()
        self.running: dict[Attempt, ActivityContext] = {}
        self.desk: Desk | None = None
        inherited = contextvars.copy_context()
        self._threads: ThreadExecutor | None = None
        self._processes: ProcessExecutor | None = None
        if isinstance(pool, ProcessPoolExecutor):
            self._processes = ProcessExecutor(
                pool, deliver=self._deliver, beat=self._beat_from_process
            )
        else:
            self._threads = ThreadExecutor(pool, deliver=self._deliver, inherited=inherited)
        self._intercepted = (
            None
            if intercept is None
            else InterceptedCalls(intercept, pool=pool, processes=self._processes)
        )
        self._async = AsyncExecutor(
            self,
            loop=asyncio.get_running_loop(),
            inherited=inherited,
            through=None if self._intercepted is None else self._intercepted.call,
        )

    def waits_for_loop(self, attempt: Attempt) -> bool:
        """Whether an attempt's code only waits for the event loop, which another one's blocks.

        May be asked from any thread. Of what blocks the loop it is not known whether it lives.
        """
        context = self.running.get(attempt)
        if context is None:
            return False
        return context.definition.is_async and not self._async.has_the_loop(attempt)

    def work_off(self) -> None:
        """Do what other threads have posted."""
        while self._inbox:
            self._inbox.popleft()()

    def begin_shutdown(self) -> None:
        """Let the code of all attempts know that the worker stops."""
        self.shutdown.set()
        if self._processes is not None:
            self._processes.tell_shutdown()

    def cancel_all(self) -> None:
        """Cancel what runs, because the worker stops; what has not begun is not to begin.

        Attempts wait for their beginning where a pool has fewer threads than there are slots.
        """
        for attempt, context in list(self.running.items()):
            if context.give_up():
                self.unbegun(attempt)
            else:
                self.cancel(attempt, WORKER_SHUTDOWN)

    def close(self) -> None:
        """Let go of processes; their pool stays its owner's."""
        if self._processes is not None:
            self._processes.close()

    # What the desk asks.

    def start(self, attempt: Attempt) -> None:
        """Run an attempt's code where its kind runs."""
        task = attempt.task
        found = self._activities.get(task.activity_type)
        if found is None:
            self.failed(attempt, self._not_found(task.activity_type))
            return
        definition, fn = found
        try:
            context = ActivityContext(
                task,
                definition=definition,
                fn=fn,
                started_ms=attempt.started_wall_ms,
                converter=self._converter,
                shutdown=self.shutdown,
                beat=partial(self._beat, attempt),
                trace_headers=attempt.headers,
            )
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # The user's converter raised it, as it was put into its context.
            text = f"the converter for activity {task.activity_type} cannot be had"
            self.failed(attempt, application_failure(f"{text}: {said_by(error)}", kind_of(error)))
            return
        self.running[attempt] = context
        if definition.is_async or self._intercepted is not None:
            self._async.start(attempt, context)
            return
        try:
            if self._processes is not None:
                self._processes.start(attempt, context)
            elif self._threads is not None:
                self._threads.start(attempt, context)
        except RuntimeError as error:
            # The executor was shut down by its owner, or broke: this worker is of no use.
            self.unbegun(attempt)
            self._on_fatal(
                RuntimeError(f"the activity executor takes no work: {error}; restart the worker")
            )

    def cancel(self, attempt: Attempt, reason: str) -> None:
        """Ask an attempt's code to stop, once."""
        context = self.running.get(attempt)
        if context is None or not context.cancel(cancellation_details(reason)):
            return
        if context.definition.is_async:
            self._async.cancel(attempt)
        elif self._processes is not None:
            self._processes.cancel(attempt, reason)
        elif self._threads is not None:
            self._threads.cancel(context)

    # What the executors tell.

    def completed(self, attempt: Attempt, result: Payload | None) -> None:
        """The code returned."""
        self._ended(attempt).completed(attempt, result)

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """The code failed; that is told before any codec hides what it says."""
        tell_failed(self._trouble, attempt, failure)
        self._ended(attempt).failed(attempt, failure)

    def canceled(self, attempt: Attempt, details: Sequence[Payload] = ()) -> None:
        """The code ended because it was asked to cancel."""
        self._ended(attempt).canceled(attempt, details)

    def detached(self, attempt: Attempt) -> None:
        """The code ended without an outcome: somebody else will report one."""
        self._ended(attempt).detached(attempt)

    def stopped(self, attempt: Attempt) -> None:
        """The code ended because this worker stops."""
        self._ended(attempt).stopped(attempt)

    def unbegun(self, attempt: Attempt) -> None:
        """The code has not begun, and this worker stops: another one should run it."""
        desk = self._ended(attempt)
        desk.hand_back(attempt, WORKER_SHUTDOWN)
        desk.free(attempt)

    def _ended(self, attempt: Attempt) -> Desk:
        assert self.desk is not None
        self.running.pop(attempt, None)
        self._on_change()
        return self.desk

    def _beat(self, attempt: Attempt, details: list[Payload]) -> None:
        assert self.desk is not None
        if threading.get_ident() == self._loop_thread_id:
            self.desk.heartbeat(attempt, details)
        else:
            self._post(partial(self.desk.heartbeat, attempt, details))

    def _beat_from_process(self, token: bytes, details: list[Payload]) -> None:
        def find_and_beat() -> None:
            for attempt in self.running:
                if attempt.token == token and self.desk is not None:
                    self.desk.heartbeat(attempt, details)

        self._post(find_and_beat)

    def _deliver(self, attempt: Attempt, outcome: Outcome) -> None:
        self._post(partial(outcome.tell, self, attempt))

    def _post(self, errand: Callable[[], None]) -> None:
        """Have something done on the loop's thread; many errands are one wake-up."""
        self._inbox.append(errand)
        self._ring()

    def _not_found(self, activity_type: str) -> Failure:
        known = ", ".join(sorted(self._activities.by_name)) or "none"
        return application_failure(
            f"activity {activity_type} is not registered on this worker of task queue"
            f" {self._task_queue!r}; it has: {known}. Add it to the worker's activities",
            "NotFoundError",
            non_retryable=self._is_only_one,
        )
