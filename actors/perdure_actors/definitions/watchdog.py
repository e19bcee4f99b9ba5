"""The watchdog of a host's thread: code that does not yield in time is interrupted, and named."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections.abc import Callable
from importlib import _bootstrap
from types import TracebackType
from typing import Any, Literal

from perdure_actors.definitions.last_resort import WALL_S, LastResort, is_available
from perdure_actors.definitions.loop_budget import LoopBudget
from perdure_actors.replay.blocked import BlockedError, DeadlockError
from perdure_actors.replay.call_site import user_stack
from perdure_actors.replay.loop import Loop

LIMIT_S = 2.0
STUCK_LIMIT_S = 10.0
"""How long after the limit code that cannot be interrupted is given up."""
HELD_LIMIT_S = 4.0
"""How much processor time beyond the limit code may use that lets no other thread run."""
IMPORT_LIMIT_S = 20.0
"""How long the first import of modules may take beyond the limit."""
_AGAIN_S = 0.25
"""How soon code that swallowed the interruption is interrupted again."""
LATE_S = 0.5
"""The watchdog comes so much too late where the process was stopped, or the machine is busy."""
CHECKS_MAX = 10_000
"""The interpreter raises what is set at its next check, which every turn of a loop is."""
STOPPED_LIMIT_S = 60.0
"""How much of such time one block is not charged with; code that waits in C looks the same."""

# A handle of our own, so that the types set here are nobody else's.
_set_async_exception = ctypes.PyDLL(None).PyThreadState_SetAsyncExc
_set_async_exception.argtypes = (ctypes.c_ulong, ctypes.py_object)


class Watchdog:
    """Watches one thread at a time: the one that runs user code.

    An interruption that arrives in the very last instruction of a block may leave it as a
    DeadlockError; who runs blocks takes that for a BlockedError of a deadlock.
    """

    def __init__(
        self,
        *,
        limit_s: float = LIMIT_S,
        stuck_limit_s: float = STUCK_LIMIT_S,
        on_stuck: Callable[[str], None] | None = None,
    ) -> None:
        """Make a watchdog; with a limit of 0 it only carries labels and never starts a thread."""
        if limit_s < 0 or stuck_limit_s <= 0:
            raise ValueError("the watchdog's limit_s is 0 or more, its stuck_limit_s more than 0")
        self.limit_s = limit_s
        self.budget = LoopBudget()
        self._limit_s = limit_s
        self.stuck_limit_s = stuck_limit_s
        self._on_stuck = on_stuck
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        # Of what is being watched; written by its thread, read by the watchdog's under the lock.
        self._label = ""
        self._since: float | None = None
        self._thread_id = 0
        self._raised = 0
        self._imported_s = 0.0
        self._stopped_s = 0.0
        self._looked_s = self._looked_cpu_s = 0.0
        """When the watchdog looked last, and how much processor time the process had by then."""
        self._resort: LastResort | None = None
        self._resort_of = 0

    @property
    def is_watching(self) -> bool:
        """Whether a block is being watched."""
        return self._since is not None

    def watching(self, label: str, workflow_type: str = "") -> Watching:
        """Watch a block of user code. Raises BlockedError out of it when it does not yield.

        A block of a workflow type that has taken too much of its host's time by that is given
        less, or raises at once.
        """
        return Watching(self, label, workflow_type)

    def close(self) -> None:
        """Stop the watchdog's thread."""
        self._is_closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._resort is not None:
            self._resort.close()
            self._resort = None

    def _begin(self, label: str, limit_s: float) -> None:
        if self._thread is None and self.limit_s and not self._is_closed:
            self._thread = threading.Thread(
                target=self._watch, name="perdure-watchdog", daemon=True
            )
            self._thread.start()
        self._label = label
        self._limit_s = limit_s
        self._raised = 0
        self._imported_s = self._stopped_s = 0.0
        self._thread_id = threading.get_ident()
        if self._resort_of != self._thread_id:
            self._watch_from_outside()
        if self._resort is not None:
            self._resort.begin(label)
        self._since = time.monotonic()

    def _watch_from_outside(self) -> None:
        """Have the system watch this thread: code that holds the interpreter stops ours."""
        with self._lock:
            self._resort_of = self._thread_id
            if self._resort is not None:
                self._resort.close()
                self._resort = None
            if self.limit_s and not self._is_closed and is_available():
                cpu_s = max(self.limit_s, LIMIT_S) + HELD_LIMIT_S
                wall_s = max(WALL_S, self.limit_s + self.stuck_limit_s)
                self._resort = LastResort(self._thread_id, cpu_s=cpu_s, wall_s=wall_s)
                # The very first block may be the one that lets the watchdog never run.
                self._resort.renew()

    def _end(self) -> int:
        """How often the block was interrupted; none of it is pending any more."""
        with self._lock:
            self._since = None
            if self._resort is not None:
                self._resort.end()
            if self._raised:
                self._take_back()
            return self._raised

    def _take_back(self) -> None:
        """Let no interruption be pending: one that is set and not yet raised is raised here.

        A null exception would take it back as well, and leave the interpreter looking for one at
        each of its checks from then on; with a profiler set, CPython 3.11 never leaves such a
        check.
        """
        try:
            _set_async_exception(self._thread_id, DeadlockError)
            for _ in range(CHECKS_MAX):
                pass
        except DeadlockError:
            return

    def _watch(self) -> None:
        is_reported = False
        self._looked_s, self._looked_cpu_s = time.monotonic(), time.process_time()
        while not self._wake.wait(self._every_s):
            over_s, label = self._interrupt()
            if over_s < self.stuck_limit_s:
                is_reported = False
            elif not is_reported:
                is_reported = True
                if self._on_stuck is not None:
                    self._on_stuck(label)

    def _interrupt(self) -> tuple[float, str]:
        """Interrupt a block that is over the limit; by how much it is, and its label."""
        with self._lock:
            if self._resort is not None:
                self._resort.renew()
            now = time.monotonic()
            stopped_s = self._stood_still(now)
            if self._since is None:
                return -1.0, ""
            stopped_s = min(stopped_s, now - self._since, STOPPED_LIMIT_S - self._stopped_s)
            self._stopped_s += stopped_s
            self._since += stopped_s
            if self._imported_s < IMPORT_LIMIT_S and is_importing(self._thread_id):
                # The first import of a module may take its time, and it happens once.
                self._imported_s += now - self._since
                self._since = now
            over_s = now - self._since - self._limit_s
            if over_s >= 0:
                self._raised += 1
                _set_async_exception(self._thread_id, DeadlockError)
            return over_s, self._label

    @property
    def _every_s(self) -> float:
        return min(self.limit_s / 4, _AGAIN_S)

    def _stood_still(self, now: float) -> float:
        """How long the whole process stood still since the last look.

        A process that was stopped, or that a busy machine did not let run, is not code that does
        not yield: the watchdog itself comes late then, and the process has used no processor time.
        """
        gap_s, cpu_s = now - self._looked_s, time.process_time()
        ran_s = cpu_s - self._looked_cpu_s
        self._looked_s, self._looked_cpu_s = now, cpu_s
        if gap_s < self._every_s + LATE_S or ran_s > gap_s / 2:
            return 0.0
        return gap_s - self._every_s - ran_s


def is_importing(thread_id: int) -> bool:
    """Whether a thread is at the import of a module, by the locks it holds for that.

    Its frames are not looked at: walking those of a thread that runs can crash the interpreter.
    """
    locks: dict[str, Any] = getattr(_bootstrap, "_module_locks", {})
    for reference in list(locks.values()):
        if getattr(reference(), "owner", None) == thread_id:
            return True
    return False


class Watching:
    """A block of user code under watch."""

    __slots__ = ("_began_s", "_is_inner", "_label", "_limit_s", "_type", "_watchdog")

    def __init__(self, watchdog: Watchdog, label: str, workflow_type: str) -> None:
        self._watchdog = watchdog
        self._label = label
        self._type = workflow_type
        self._limit_s = watchdog.limit_s
        self._began_s = 0.0
        self._is_inner = False

    def __enter__(self) -> None:
        self._is_inner = self._watchdog.is_watching
        if not self._is_inner:
            self._begin()

    def _begin(self) -> None:
        watchdog = self._watchdog
        limit_s = watchdog.budget.limit_s(self._type, watchdog.limit_s)
        if limit_s is None:
            raise BlockedError(
                "deadlock",
                f"{self._label} did not run: workflows of type {self._type!r} did not yield lately,"
                " and have used up what this host gives to such code for now. It is tried again by"
                " itself, and at once by a process with other code",
            )
        self._limit_s = limit_s
        self._began_s = watchdog.budget.now_s()
        watchdog._begin(self._label, limit_s)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        watchdog = self._watchdog
        if self._is_inner:
            # The block around it is watched, and this is a part of that.
            return False
        while True:
            try:
                interruptions = watchdog._end()
            except DeadlockError:
                continue  # It came while it was being taken back.
            break
        budget = watchdog.budget
        if not interruptions:
            budget.yielded(self._type)
            return False
        budget.looped(self._type, budget.now_s() - self._began_s)
        if type(asyncio._get_running_loop()) is Loop:
            asyncio._set_running_loop(None)
        if isinstance(error, BlockedError) and error.cause != "deadlock":
            return False
        stack = error.stack_trace if isinstance(error, BlockedError) else ""
        if not stack and error is not None:
            stack = user_stack(error)
        raise BlockedError(
            "deadlock",
            f"{self._label} did not yield within {self._limit_s:g} s. Workflow code must wait "
            "by await; move long computations into activities, or raise the limit",
            stack_trace=stack,
        ) from error
