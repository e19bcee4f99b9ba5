"""Timers and what no input brings (rule 9): deadlines, lost workers, runs that may go on.

The due times of a partition are a window in memory over the rows of its table, nearest first. The
window only moves on: what was taken from it is looked at once, whether it fired, waits for
something, or is over. So any number of rows that are due and stay in the table are gone through in
one walk. An alarm is a hint: whoever takes it asks the state whether it still holds.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from perdure_actors import table_layout
from perdure_actors.core.deadlines import decide_worker_lost
from perdure_actors.core.decision import Due, Later, Step
from perdure_actors.core.next_run import decide_next_run
from perdure_actors.core.rules import ALARMS
from perdure_actors.core.signal_buffer import decide_expired
from perdure_actors.partition.doubt import Trial
from perdure_actors.partition.fence import BLOCKED_RUN, DEADLINE, LOST_WORKER, reason_of
from perdure_actors.partition.signal_buffer_store import KIND
from perdure_actors.partition.transition import blocked_event
from perdure_actors.replay.blocked import BlockedError

if TYPE_CHECKING:
    from collections import Counter

    from perdure_actors.core.state import Run
    from perdure_actors.partition.context import PartitionContext
    from perdure_actors.partition.doubt import Doubt
    from perdure_actors.partition.executor import Executor
    from perdure_actors.partition.fence import Fence
    from perdure_actors.partition.run_cache import CachedRun, RunCache
    from perdure_actors.partition.services import Services
    from perdure_actors.partition.transition import Transitions
    from perdure_actors.partition.watermark import Watermark
    from perdure_topics.ports import Table

HELD_MAX = 50_000
PAGE = 2_000
"""So many rows are read at once: a turn must not take long."""


class TimerQueue:
    """The nearest alarms of one shard."""

    def __init__(self, table: Table, *, held_max: int = HELD_MAX) -> None:
        self._table = table
        self._max = held_max
        self._window: list[bytes] = []
        """The keys of rows below `_next` that were not taken yet; a heap, in the table's order."""
        self._others: list[table_layout.Alarm] = []
        """Alarms that are due at other times than their rows say; a heap."""
        self._next = b""
        """The rows from here on are not in the window; empty: there are none."""

    def load(self) -> None:
        """Begin at the nearest row of the table, forgetting what was held."""
        self._window.clear()
        self._others.clear()
        self._next = table_layout.alarms_range()[0]
        self._fill()

    def _fill(self) -> None:
        """Move the window on by a page."""
        found = list(self._table.scan(self._next, table_layout.alarms_range()[1], limit=PAGE))
        self._next = found[-1][0] + b"\0" if len(found) == PAGE else b""
        self._window += [key for key, _ in found]
        heapq.heapify(self._window)

    def add(self, alarm: table_layout.Alarm) -> None:
        """An alarm whose row was written; one beyond the window is found in the table later."""
        key = table_layout.alarm_key(*alarm)
        if self._next and key >= self._next:
            return
        heapq.heappush(self._window, key)
        if len(self._window) > 2 * self._max:
            self._window.sort()
            self._next = self._window[self._max]
            del self._window[self._max :]

    def again(self, alarm: table_layout.Alarm) -> None:
        """An alarm that was taken is due at another time, which its row does not say."""
        heapq.heappush(self._others, alarm)

    def next_ms(self) -> int | None:
        """When the nearest is due."""
        if not self._window and self._next:
            self._fill()
        due = [table_layout.alarm_of(self._window[0]).due_ms] if self._window else []
        due += [self._others[0].due_ms] if self._others else []
        return min(due, default=None)

    def take(self, now_ms: int) -> table_layout.Alarm | None:
        """The nearest alarm if it is due."""
        due_ms = self.next_ms()
        if due_ms is None or due_ms > now_ms:
            return None
        if self._others and self._others[0].due_ms == due_ms:
            return heapq.heappop(self._others)
        return table_layout.alarm_of(heapq.heappop(self._window))


RESUMED_A_TURN = 16
SLOW_RETRY_MS = 60_000
LOOPED_RETRY_MS_MAX = 3_600_000
LOOPED_MAX = 10_000
"""Runs whose tries are counted; those of all are forgotten beyond it."""
SLOW_CAUSES = ("deadlock", "codec")
"""What time may mend: a machine that was slow, a key or a store that was away."""
HOUSE_MS = 200
TURN_MS = 20
FIRED_A_TURN = 500
LOST_A_TURN = 100
DEADLINES = {"actor": "the next run", "run": "the time", "activity": "activity", "timer": "timer"}
"""Alarms as people read of them, by kind."""
RESUMED = "the resumed input"
LOST_ATTEMPT = "the lost attempt"


class TimerService:
    """The deadlines and blocked runs of one shard."""

    def __init__(
        self,
        services: Services,
        partition: int,
        table: Table,
        *,
        world: PartitionContext,
        run_cache: RunCache,
        executor: Executor,
        transitions: Transitions,
        queue: TimerQueue,
        watermark: Watermark,
        doubt: Doubt,
        fence: Fence,
        counters: Counter[str],
    ) -> None:
        self._services = services
        self._partition = partition
        self._table = table
        self._world = world
        self._run_cache = run_cache
        self._executor = executor
        self._transitions = transitions
        self._queue = queue
        self._watermark = watermark
        self._doubt = doubt
        self._fence = fence
        self._counters = counters
        self._resumes: deque[str] = deque()
        self._slow_at_ms = world.time_ms + SLOW_RETRY_MS
        self._slow_from = b""
        """Where the walk over the blocked runs is; empty when none is under way."""
        self._house_at_ms = 0
        self._may_lose = LOST_A_TURN
        """How many attempts of lost workers may still be failed this turn."""
        self._is_held = False
        """Whether a blocked run waits for the same."""
        self._held: table_layout.Alarm | None = None
        """A deadline that waits until the log says that it is tried."""
        self._looped: dict[str, tuple[int, int]] = {}
        """Of runs whose code did not yield: how often it was tried again, and when it is next."""

    @property
    def is_busy(self) -> bool:
        """Whether blocked runs are still to be tried, or attempts of lost workers failed."""
        return bool(self._resumes or self._slow_from) or not self._may_lose

    def keep_house(self, now_ms: int) -> None:
        """Every now and then: lost workers, and runs that time or another machine may mend."""
        if now_ms - self._house_at_ms >= HOUSE_MS:
            self._house_at_ms = now_ms
            self._may_lose = LOST_A_TURN
            self._world.liveness.turned(now_ms)
            for worker_id in self._world.liveness.lost_workers(now_ms):
                self._attempt_to_lose(worker_id, now_ms)
            if not self._may_lose:
                self._house_at_ms = 0
            self._world.liveness.drop_expired(now_ms)
        if now_ms >= self._slow_at_ms:
            self._slow_at_ms = now_ms + SLOW_RETRY_MS
            self._slow_from = self._slow_from or table_layout.BLOCKED
        if self._slow_from and len(self._resumes) < RESUMED_A_TURN:
            self._find_slow()

    def _find_slow(self) -> None:
        """Let those of the next blocked runs try again that time may mend: so many a turn."""
        end = table_layout.prefix_range(table_layout.BLOCKED)[1]
        found = list(self._table.scan(self._slow_from, end, limit=RESUMED_A_TURN))
        self._slow_from = found[-1][0] + b"\0" if len(found) == RESUMED_A_TURN else b""
        for key, _ in found:
            run = self._world.run(key[1:].decode())
            if run is None or not run.state.block or run.state.block.cause not in SLOW_CAUSES:
                continue
            if self._looped.get(run.state.run_id, (0, 0))[1] <= self._world.mono_ms:
                self._resumes.append(run.state.run_id)

    def try_again(self, run_id: str) -> None:
        """Let a blocked run's code try again at the next turn."""
        self._resumes.append(run_id)

    def fire(self, now_ms: int) -> bool:
        """Fire what is due, as far as there is room, for a turn; whether more may be due."""
        clock = self._services.clock
        over_ms = clock.monotonic_ms() + TURN_MS
        for _ in range(FIRED_A_TURN):
            alarm = self._queue.take(now_ms) if self._transitions.has_room else None
            if alarm is None:
                return False
            self._fire_one(alarm, now_ms)
            if self._held is not None:
                # Hosts have died here: nothing behind it is fired before it.
                self._queue.again(self._held)
                return True
            if clock.monotonic_ms() >= over_ms:
                break
        return True

    def _fire_one(self, alarm: table_layout.Alarm, now_ms: int) -> None:
        """Fire a deadline; one that fails is put off, so that those behind it are fired."""
        self._held = None
        fence = self._fence
        # Not by its due time: what is put off is the same deadline later.
        key = (alarm.kind, alarm.owner, alarm.id)
        reason = fence.is_set_aside(DEADLINE, key)
        if reason:
            self._put_off(alarm, now_ms, reason, None)
            return
        fire = {"actor": self._fire_actor, KIND: self._fire_buffered}.get(alarm.kind)
        refusal = fence.refusal(DEADLINE, key)
        if refusal:
            self._executor.refusal = refusal
        with fence.attempt(DEADLINE, key) as attempt:
            (fire or self._fire_run)(alarm, now_ms)
        if refusal:
            self._executor.refusal = ""
        if attempt.error is not None:
            self._put_off(alarm, now_ms, reason_of(attempt.error), attempt.error)

    def _put_off(
        self, alarm: table_layout.Alarm, now_ms: int, reason: str, error: Exception | None
    ) -> None:
        self._queue.again(alarm._replace(due_ms=now_ms + SLOW_RETRY_MS))
        text = (
            f"a deadline ({alarm.kind} {alarm.id}) of {alarm.owner} in partition {self._partition}"
            f" of {self._services.task_queue!r} cannot be decided and is put off by a minute:"
            f" {reason}"
        )
        self._fence.tell(self._services, "deadline_failed", text, error)

    def _fire_actor(self, alarm: table_layout.Alarm, now_ms: int) -> None:
        actor = self._world.actor(alarm.owner)
        verdict = decide_next_run(actor, now_ms) if actor else Later()
        if isinstance(verdict, Step):
            if self._clears(alarm):
                self._transitions.propose(verdict, alarm.owner, covers=False)
                self._doubt.over()
        elif verdict.at_ms:
            self._queue.again(alarm._replace(due_ms=verdict.at_ms))

    def _fire_buffered(self, alarm: table_layout.Alarm, _now_ms: int) -> None:
        """A signal waited long enough, unless a start that is not read yet takes it."""
        if self._watermark.has_read_to(alarm.due_ms):
            self._expire(alarm)
        else:
            self._watermark.hold_back(alarm)

    def _expire(self, alarm: table_layout.Alarm) -> None:
        """Say in the log, and to people, that a signal waited long enough."""
        event = decide_expired(self._world, alarm.owner, int(alarm.id))
        if event is None:
            return
        self._transitions.propose_event(event, covers=False)
        self._counters["signal expired"] += 1
        self._services.finding(
            "signal_expired",
            f"signal {event.signal_name!r} (request {event.request_id!r}) waited for workflow"
            f" {event.workflow_id!r} on task queue {self._services.task_queue!r} to be started, in"
            " vain: it is dropped. Start the workflow earlier, or give the signal a longer buffer",
        )

    def _fire_run(self, alarm: table_layout.Alarm, now_ms: int) -> None:
        run = self._world.run(alarm.owner)
        if run is None or not run.state.is_open:
            return
        verdict = ALARMS[alarm.kind](self._world, run, alarm.id, now_ms)
        if isinstance(verdict, Later):
            if verdict.at_ms:
                self._queue.again(alarm._replace(due_ms=verdict.at_ms))
            return
        self._fire_due(verdict, run, alarm)

    def _fire_due(self, due: Due, run: Run, alarm: table_layout.Alarm) -> None:
        """Propose what a deadline brings, once no unread input could refute it."""
        if due.at_ms > alarm.due_ms:
            # Looked at late: what it is about has become due since its alarm's own time.
            alarm = alarm._replace(due_ms=due.at_ms)
        if due.refutable and not self._watermark.has_read_to(alarm.due_ms):
            self._watermark.hold_back(alarm)
        elif self._clears(alarm):
            self._transitions.propose_events(run, due.events)
            self._doubt.over()

    def _clears(self, alarm: table_layout.Alarm) -> bool:
        """Whether the code may be told of a deadline now; if not, it is held."""
        cleared = self._doubt.clears(Trial(DEADLINES[alarm.kind], alarm.owner, alarm.id))
        if not cleared:
            self._held = alarm
        return cleared

    def resume(self) -> None:
        """Let the code of blocked runs try again; one input a transition."""
        for _ in range(min(len(self._resumes), RESUMED_A_TURN)):
            if self._is_held:
                # Hosts have died here: nothing is tried again before the log says that this one is.
                self._is_held = False
                return
            run_id = self._resumes.popleft()
            resident = self._run_cache.find(run_id)
            if resident is None or resident.run.state.block is None:
                continue
            if resident.pinned:
                self._resumes.append(run_id)
                continue
            if not self._may_try(run_id, resident.run):
                continue
            self._attempt_to_resume(run_id, resident)

    def _may_try(self, run_id: str, run: Run) -> bool:
        """Whether a blocked run is tried now; one that looped is less and less often.

        One that may not is found again by the next walk over the blocked runs.
        """
        block = run.state.block
        if block is None or block.cause != "deadlock":
            self._looped.pop(run_id, None)
            return True
        if not self._services.code.may_run(run.started.workflow_type):
            return False
        if len(self._looped) >= LOOPED_MAX:
            self._looped.clear()
        tried = self._looped.get(run_id, (0, 0))[0]
        wait_ms = min(SLOW_RETRY_MS << min(tried, 10), LOOPED_RETRY_MS_MAX)
        self._looped[run_id] = (tried + 1, self._world.mono_ms + wait_ms)
        return True

    def _attempt_to_resume(self, run_id: str, resident: CachedRun) -> None:
        """Resume a run. One that cost its partition three times waits for another process."""
        fence = self._fence
        if fence.refusal(BLOCKED_RUN, run_id):
            return
        with fence.attempt(BLOCKED_RUN, run_id) as attempt:
            self._resume_one(run_id, resident)
        error = attempt.error
        if error is not None:
            state = resident.run.state
            text = f"blocked workflow {state.workflow_id!r} run {run_id} cannot be tried again"
            fence.tell(self._services, "resume_failed", f"{text}: {reason_of(error)}", error)

    def _resume_one(self, run_id: str, resident: CachedRun) -> None:
        state = resident.run.state
        block, version = state.block, self._services.code.version
        if block is None or (block.cause == "killer" and block.code_version == version):
            # What killed its hosts would kill this one; only other code is let near it.
            return
        seq = state.waiting[0] if state.waiting else 0
        event = self._executor.event_at(run_id, seq) if seq else None
        if event is None:
            return
        # Other code is another trial.
        if not self._doubt.clears(Trial(RESUMED, run_id, f"{seq} on {version}")):
            self._resumes.appendleft(run_id)
            self._is_held = True
            return
        refusal = self._executor.refusal
        if refusal:
            killer = BlockedError("killer", refusal)
            blocked = blocked_event(killer, seq, version)
            self._transitions.propose_events(resident.run, [blocked])
            self._doubt.over()
            return
        draft = self._transitions.draft()
        if draft.resume(resident, event, seq):
            self._transitions.append(resident, draft, covers=False)
            if resident.run.state.block is not None:
                self._resumes.append(run_id)
        self._doubt.over()

    def _attempt_to_lose(self, worker_id: str, now_ms: int) -> None:
        fence = self._fence
        if fence.is_set_aside(LOST_WORKER, worker_id):
            return
        with fence.attempt(LOST_WORKER, worker_id) as attempt:
            self._lose(worker_id, now_ms)
        error = attempt.error
        if error is not None:
            text = f"the attempts of lost worker {worker_id} cannot be failed: {reason_of(error)}"
            fence.tell(self._services, "deadline_failed", text, error)

    def _lose(self, worker_id: str, now_ms: int) -> None:
        """Fail the attempts of a worker whose lease ran out, once no unread word can refute it."""
        if not self._watermark.has_read_to(self._world.liveness.lease_ends_ms(worker_id)):
            return
        for run_id, activity_id in sorted(self._world.liveness.attempts_of(worker_id)):
            if not self._may_lose or not self._transitions.has_room:
                return
            run = self._world.run(run_id)
            if run is None:
                self._world.liveness.forget(worker_id, run_id, activity_id)
                continue
            due = decide_worker_lost(run, activity_id, worker_id, now_ms)
            if isinstance(due, Due):
                if not self._doubt.clears(Trial(LOST_ATTEMPT, run_id, activity_id)):
                    return
                self._may_lose -= 1
                self._transitions.propose_events(run, due.events)
                self._doubt.over()
            self._world.liveness.forget(worker_id, run_id, activity_id)
