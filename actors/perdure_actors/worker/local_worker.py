"""Local activities on threads of their own: async ones on a loop, plain ones in a pool."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from perdure_actors.trouble_log import TroubleLog
from perdure_actors.worker.local_protocol import LocalDesk
from perdure_actors.worker.payload_stage import ActivityGate
from perdure_actors.worker.runner import ActivityRunner
from perdure_actors.worker.slots import Slots
from perdure_topics.clock import SystemClock

if TYPE_CHECKING:
    from perdure_actors.definitions.payload_codecs import PayloadCodecs
    from perdure_actors.definitions.registry import ActivityRegistry
    from perdure_actors.worker.interceptors import Intercept
    from perdure_schemas.converters import PayloadConverter
    from perdure_schemas.payloads import Record
    from perdure_schemas.tasks import ActivityTask
    from perdure_topics.ports import Headers

logger = logging.getLogger("perdure.host")
CLOSE_S = 5.0


class LocalWorker:
    """Runs the local activities of one host, while that runs workflows on its own thread."""

    def __init__(
        self,
        activities: ActivityRegistry,
        *,
        task_queue: str,
        identity: str,
        converter: PayloadConverter,
        slots: Slots,
        executor: Executor | None = None,
        codecs: PayloadCodecs | None = None,
        intercept: Intercept | None = None,
    ) -> None:
        self._activities = activities
        self._task_queue = task_queue
        self._identity = identity
        self._converter = converter
        self._slots = slots
        self._inherited = contextvars.copy_context()
        # A process cannot be asked for a result within milliseconds: local ones stay in threads.
        self._user_executor = None if isinstance(executor, ProcessPoolExecutor) else executor
        self._codecs = codecs
        self._intercept = intercept
        self._trouble = TroubleLog()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pool: Executor | None = None

    def start(
        self, task: ActivityTask, headers: Headers, *, deliver: Callable[[Record], None]
    ) -> None:
        """Run an attempt; its one report is delivered on another thread."""
        self._call(lambda: self._desk.take(task, headers, deliver))

    def stop(self, token: bytes, reason: str) -> None:
        """Ask an attempt to stop."""
        if self._loop is not None:
            self._call(lambda: self._desk.stop(token, reason))

    def _call(self, errand: Callable[[], None]) -> None:
        """Have something done on the loop's thread, which begins with the first errand."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            # Activities take over the context that their worker was made in.
            self._loop.call_soon(self._open, context=self._inherited)
            self._thread = threading.Thread(
                target=self._run, name="perdure-local", args=(self._loop,), daemon=True
            )
            self._thread.start()
        self._loop.call_soon_threadsafe(errand)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()

    def _open(self) -> None:
        loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._pool = self._user_executor or ThreadPoolExecutor(
            self._slots.most, thread_name_prefix="perdure-local"
        )
        self._runner = ActivityRunner(
            self._activities,
            task_queue=self._task_queue,
            converter=self._converter,
            pool=self._pool,
            on_change=self._changed.set,
            on_fatal=_log_fatal,
            ring=self._ring,
            intercept=self._intercept,
            is_only_one=True,
            trouble=self._trouble,
        )
        gate = None
        if self._codecs is not None:
            gate = ActivityGate(self._codecs, on_change=self._changed.set, on_fatal=_log_fatal)
        self._desk = LocalDesk(
            gate or self._runner,
            slots=self._slots,
            identity=self._identity,
            loop=loop,
            clock=SystemClock(),
            trouble=self._trouble,
        )
        desk = self._desk
        self._slots.open(partial(self._from_elsewhere, loop, desk.fill))
        self._runner.desk = gate or self._desk
        if gate is not None:
            gate.desk, gate.runner = self._desk, self._runner

    def _from_elsewhere(self, loop: asyncio.AbstractEventLoop, errand: Callable[[], None]) -> None:
        # A closed loop starts nothing any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(errand)

    def _ring(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._work_off)

    def _work_off(self) -> None:
        self._runner.work_off()

    def finish(self, timeout_s: float) -> None:
        """Wait until what is under way now has its outcomes, but no longer than that."""
        if self._loop is None:
            return
        # A loop that is closed meanwhile has let go of everything.
        with contextlib.suppress(TimeoutError, CancelledError, RuntimeError):
            asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result(timeout_s)

    async def _finish(self) -> None:
        self._runner.begin_shutdown()
        begun = self._desk.tokens
        while begun & self._desk.tokens:
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """Let go of what runs: it has been told, and counts no more."""
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        self._thread.join(CLOSE_S + 1)
        if self._thread.is_alive():
            logger.error("a local activity holds the event loop of its host's local activities")

    async def _close(self) -> None:
        loop = asyncio.get_running_loop()
        self._runner.begin_shutdown()
        self._runner.cancel_all()
        ends_s = loop.time() + CLOSE_S
        while self._runner.running and (left_s := ends_s - loop.time()) > 0:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._changed.wait()
        for attempt in self._runner.running:
            logger.error("%r did not stop within %g s of being cancelled", attempt, CLOSE_S)
        self._trouble.close()
        self._runner.close()
        self._slots.close()
        if self._pool is not None and self._user_executor is None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        loop.stop()


def _log_fatal(error: BaseException) -> None:
    logger.error("local activities do not run: %s", error)
