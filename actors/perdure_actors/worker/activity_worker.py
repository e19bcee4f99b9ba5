"""The activity worker: desk, runner and event loop put together. No rule lives here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from perdure_actors.definitions.payload_codecs import PayloadCodecs
from perdure_actors.definitions.registry import ActivityRegistry
from perdure_actors.trouble_log import TroubleLog
from perdure_actors.worker.activity_watchdog import LoopWatchdog
from perdure_actors.worker.eager_intake import EagerIntake
from perdure_actors.worker.executors import AsyncExecutor
from perdure_actors.worker.interceptors import Intercept
from perdure_actors.worker.lease import LeaseBook
from perdure_actors.worker.payload_stage import ActivityGate
from perdure_actors.worker.protocol import ActivityDesk
from perdure_actors.worker.pulse import LockedDesk, OnLoop, Pulse
from perdure_actors.worker.record_sender import Outbox
from perdure_actors.worker.replies import ReplyReader
from perdure_actors.worker.reports import WorkerFacts
from perdure_actors.worker.runner import ActivityRunner
from perdure_actors.worker.slots import FixedSlots, Slots
from perdure_actors.worker.task_rate import TaskRate
from perdure_actors.worker.task_reader import TaskIntake
from perdure_actors.worker.worker_topics import find_topics
from perdure_schemas.converters import PayloadConverter
from perdure_topics.clock import SystemClock
from perdure_topics.names import group_name, topic_name
from perdure_topics.ports import Clock, Log, LogError

CANCEL_GRACE_S = 5.0
FLUSH_S = 10.0
"""How long outcomes may take to reach the log: without them attempts run again."""
SHARE_EVERY_S = 3.0
"""How often a worker asks how many share its queue."""
FAREWELL_S = 1.0
"""How long the farewell may take: without it, hosts wait for a lease to run out."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ActivityWorkerSettings:
    """What may be chosen about an activity worker."""

    namespace: str
    task_queue: str
    identity: str
    max_concurrent_activities: int = 100
    graceful_shutdown_timeout_s: float = 0.0
    max_heartbeat_throttle_s: float = 60.0
    default_heartbeat_throttle_s: float = 30.0
    max_activities_per_second: float | None = None
    max_task_queue_activities_per_second: float | None = None
    """Shared out among the workers that listen on the queue."""


class ActivityWorker:
    """Runs the activities of one task queue on the event loop that calls `run`."""

    def __init__(
        self,
        log: Log,
        settings: ActivityWorkerSettings,
        *,
        activities: ActivityRegistry,
        converter: PayloadConverter,
        executor: Executor | None = None,
        clock: Clock | None = None,
        codecs: PayloadCodecs | None = None,
        intercept: Intercept | None = None,
        slots: Slots | None = None,
        eager: EagerIntake | None = None,
    ) -> None:
        """Make one; `eager` is what a host of this process hands its tasks to."""
        if settings.max_concurrent_activities < 1:
            raise ValueError("max_concurrent_activities must be at least 1")
        self._log = log
        self._settings = settings
        self._activities = activities
        self._converter = converter
        self._user_executor = executor
        self._codecs = codecs
        self._eager = eager
        self._slots = slots or FixedSlots(settings.max_concurrent_activities)
        self._intercept = intercept
        self._trouble = TroubleLog()
        self._clock: Clock = clock or SystemClock()
        self._rate = TaskRate(_least(settings, sharers=1))
        self.worker_id = uuid.uuid4().hex
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()
        self._ready = asyncio.Event()
        self._is_rung = False
        self._is_open = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_ms = 0
        self._watchdog: LoopWatchdog | None = None
        self._pulse: Pulse | None = None
        self._lock = threading.RLock()
        """Who has it may use the desk: its loop, or the pulse while that stands still."""
        self._failed = asyncio.Event()
        self.error: BaseException | None = None
        """Why it stops by itself, from when that is known."""
        self._counts: Mapping[str, int] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """What happened so far, by name: started, completed, failed and so on."""
        return self._counts

    @property
    def slots(self) -> tuple[int, int]:
        """How many activities run now, and how many may."""
        used = len(self._runner.running) if self._is_open else 0
        return used, self._slots.most

    async def wait_ready(self) -> None:
        """Wait until it takes tasks."""
        await self._ready.wait()

    def stop(self) -> None:
        """Begin to stop; `run` returns when that is done. Call it on the worker's loop."""
        self._stop.set()
        self._changed.set()

    async def run(self) -> None:
        """Run activities until stopped or cancelled.

        Raises LogError when the log cannot be used, and whatever made the worker stop by itself.
        """
        self._loop = asyncio.get_running_loop()
        self._loop_thread_id = threading.get_ident()
        if not await self._open():
            return
        try:
            await self._stop.wait()
        finally:
            await self._drain()
        if self.error is not None:
            raise self.error

    async def wait_failed(self) -> None:
        """Wait until it is known that it stops by itself: before what runs has ended."""
        await self._failed.wait()

    def ring(self) -> None:
        """There is news. May be called from any thread."""
        if not self._is_rung:
            self._is_rung = True
            try:
                self._loop.call_soon_threadsafe(self._turn)
            except RuntimeError:
                logger.debug("news for a worker whose event loop is closed")

    def _turn(self) -> None:
        self._is_rung = False
        if self._is_open:
            if self._pulse is not None:
                self._pulse.turned()
            try:
                with self._lock:
                    self._runner.work_off()
                    self._desk.turn()
            except Exception as error:
                logger.exception("the activity worker stops: this is a defect of its own")
                self._die(error)
            self._set_timer()
        self._changed.set()

    def _set_timer(self) -> None:
        due_ms = self._desk.next_turn_ms
        if self._timer is not None:
            if due_ms >= self._timer_due_ms:
                return
            self._timer.cancel()
        self._timer_due_ms = due_ms
        delay_ms = max(due_ms - self._clock.monotonic_ms(), 1)
        self._timer = self._loop.call_later(delay_ms / 1000, self._timer_turn)

    def _timer_turn(self) -> None:
        self._timer = None
        self._trouble.flush()
        if self._watchdog is not None:
            self._watchdog.turned()
        self._turn()

    def _die(self, error: BaseException) -> None:
        self.error = self.error or error
        self._failed.set()
        self.stop()

    async def _open(self) -> bool:
        """Join the group once answers can be read; False when told to stop before that."""
        settings = self._settings
        topics = await find_topics(
            self._log, settings.namespace, task_queue=settings.task_queue, pause=self._pause
        )
        if topics is None:
            return False
        commands, replies = topics
        tail = self._log.tail(on_ready=self.ring, committed=False)
        # Any partition will do; it only spreads the load.
        partition = random.randrange(replies.partitions)  # noqa: S311
        self._replies = ReplyReader(tail, replies.name, partition, clock=self._clock)
        while not self._replies.is_ready:
            if not await self._pause(1.0):
                self._replies.close()
                return False
        self._pool = self._user_executor or ThreadPoolExecutor(
            self._slots.most, thread_name_prefix="perdure-activity"
        )
        self._runner = ActivityRunner(
            self._activities,
            task_queue=settings.task_queue,
            converter=self._converter,
            pool=self._pool,
            on_change=self._note_change,
            on_fatal=self._die,
            ring=self.ring,
            intercept=self._intercept,
            trouble=self._trouble,
        )
        self._gate = self._make_gate()
        group = group_name("workers", settings.namespace, settings.task_queue)
        tasks = topic_name("tasks", settings.namespace, settings.task_queue)
        self._outbox = Outbox(self._log, clock=self._clock, on_ready=self.ring)
        self._intake = TaskIntake(self._log.group_reader(group, tasks, on_ready=self.ring))
        self._wire(partition, LeaseBook(commands.name, commands.partitions))
        self._sharing = asyncio.create_task(self._share(group))
        self._watch()
        self._is_open = True
        self._slots.open(self.ring)
        if self._eager is not None:
            self._eager.open(wake=self.ring, later=self._do_later)
        self._turn()
        self._ready.set()
        return True

    def _wire(self, partition: int, leases: LeaseBook) -> None:
        """Make the desk, and let it and the runner know each other."""
        on_loop = OnLoop(self._gate or self._runner, self._slots, loop=self._loop)
        self._desk = ActivityDesk(
            self._facts(partition),
            on_loop,
            clock=self._clock,
            outbox=self._outbox,
            intake=self._intake,
            replies=self._replies,
            leases=leases,
            wake=self.ring,
            rate=self._rate,
            slots=on_loop,
            trouble=self._trouble,
            eager=self._eager,
        )
        locked = on_loop.desk = LockedDesk(self._desk, self._lock)
        self._counts = self._desk.counts
        self._runner.desk = self._gate or locked
        if self._gate is not None:
            self._gate.desk, self._gate.runner = locked, self._runner

    def _make_gate(self) -> ActivityGate | None:
        if self._codecs is None:
            return None
        return ActivityGate(self._codecs, on_change=self._changed.set, on_fatal=self._die)

    def _facts(self, reply_partition: int) -> WorkerFacts:
        settings = self._settings
        return WorkerFacts(
            task_queue=settings.task_queue,
            worker_id=self.worker_id,
            identity=settings.identity,
            slots=self._slots.most,
            activity_types=tuple(sorted(self._activities.by_name)),
            reply_partition=reply_partition,
            heartbeat_throttle_ms_max=int(settings.max_heartbeat_throttle_s * 1000),
            heartbeat_throttle_ms_default=int(settings.default_heartbeat_throttle_s * 1000),
        )

    async def _share(self, group: str) -> None:
        """Keep to this worker's share of the queue's rate, as workers come and go."""
        settings = self._settings
        while settings.max_task_queue_activities_per_second is not None:
            try:
                sharers = await asyncio.to_thread(self._log.group_members, group)
                rate = _least(settings, sharers=max(sharers, 1))
                if rate is not None:
                    self._rate.set(rate)
            except LogError as error:
                logger.debug("how many workers share the queue is not known: %s", error)
            await asyncio.sleep(SHARE_EVERY_S)

    def _do_later(self, call: Callable[[], None]) -> None:
        """Do something once all that the loop has at hand is done."""
        if threading.get_ident() == self._loop_thread_id:
            self._loop.call_soon(call)
        else:
            call()

    def _note_change(self) -> None:
        """Somebody who waits for a change looks again; the pulse's thread may say so, too."""
        if threading.get_ident() == self._loop_thread_id:
            self._changed.set()
        else:
            self._loop.call_soon_threadsafe(self._changed.set)

    def _die_soon(self, error: BaseException) -> None:
        self._loop.call_soon_threadsafe(self._die, error)

    def _watch(self) -> None:
        # Codecs are the loop's: behind a gate, outcomes wait for it.
        work_off = self._runner.work_off if self._gate is None else _wait_for_the_loop
        self._pulse = Pulse(
            self._desk,
            self._lock,
            work_off=work_off,
            waits_for_loop=self._runner.waits_for_loop,
            on_fatal=self._die_soon,
        )
        self._pulse.start()
        if any(definition.is_async for definition, _ in self._activities.by_name.values()):
            self._watchdog = LoopWatchdog(
                AsyncExecutor.running_code(), loop_thread_id=threading.get_ident()
            )
            self._watchdog.start()

    async def _drain(self) -> None:
        """Finish or stop what runs, say farewell, and let go of the log."""
        running = self._runner.running
        self._runner.begin_shutdown()
        with self._lock:
            self._desk.stop_taking()
        self._sharing.cancel()
        is_quiet = self._is_quiet
        await self._until(is_quiet, self._settings.graceful_shutdown_timeout_s)
        self._runner.cancel_all()
        await self._until(is_quiet, CANCEL_GRACE_S)
        for attempt in list(running):
            logger.error(
                "%r did not stop within %g s of being cancelled: it is reported as failed though"
                " its code still runs here",
                attempt,
                CANCEL_GRACE_S,
            )
            with self._lock:
                self._desk.give_up(attempt)
        await self._until(lambda: not self._outbox.outcomes_unacked and self._is_settled, FLUSH_S)
        with self._lock:
            self._desk.say_farewell()
        await self._until(lambda: not self._outbox.unacked, FAREWELL_S)
        self._is_open = False
        if self._pulse is not None:
            self._pulse.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._watchdog is not None:
            self._watchdog.close()
        self._trouble.close()
        self._runner.close()
        self._slots.close()
        if self._user_executor is None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._intake.close)
        await asyncio.to_thread(self._outbox.close)
        self._replies.close()

    @property
    def _is_settled(self) -> bool:
        """Whether what was left with the host of this process is accepted."""
        return self._eager is None or self._eager.is_settled

    def _is_quiet(self) -> bool:
        """Whether nothing runs, and no outcome is still being encoded."""
        return not self._runner.running and (self._gate is None or not self._gate.is_busy)

    async def _until(self, is_true: Callable[[], bool], timeout_s: float) -> None:
        """Wait, turning, until something is true or the time is over."""
        deadline_s = self._loop.time() + timeout_s
        while not is_true() and (left_s := deadline_s - self._loop.time()) > 0:
            await self._next_change(left_s)

    async def _pause(self, timeout_s: float) -> bool:
        """Wait for news, or so long; whether the worker goes on."""
        await self._next_change(timeout_s)
        return not self._stop.is_set()

    async def _next_change(self, timeout_s: float) -> None:
        if not self._stop.is_set() or self._is_open:
            self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()


def _wait_for_the_loop() -> None:
    """What threads have posted is worked off when the loop turns again."""


def _least(settings: ActivityWorkerSettings, *, sharers: int) -> float | None:
    """The lower of a worker's own rate and its share of the queue's; None without either."""
    queue = settings.max_task_queue_activities_per_second
    rates = [settings.max_activities_per_second, None if queue is None else queue / sharers]
    return min((rate for rate in rates if rate is not None), default=None)
