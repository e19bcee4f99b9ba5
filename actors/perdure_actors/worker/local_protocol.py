"""The slots and times of local activities: what waits, what runs, and what is reported of each.

It runs no user code and owns no thread; its owner calls it on the thread of one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from perdure_actors.task_records import report_header
from perdure_actors.trouble_log import TroubleLog, tell_failed
from perdure_actors.worker.attempt import CANCEL_REQUESTED, TIMED_OUT, Attempt, Phase, too_large
from perdure_actors.worker.slots import Slots
from perdure_actors.worker.task_rate import FOREVER_MS
from perdure_schemas.avro import COMMAND_BYTES_MAX
from perdure_schemas.bounds import fit_failure
from perdure_schemas.commands import CompleteActivity, ConfirmActivityCanceled, FailActivity
from perdure_schemas.payloads import Failure, FailureCause, Payload, Record
from perdure_schemas.tasks import ActivityTask
from perdure_topics.ports import Clock, Headers

Deliver = Callable[[Record], None]


class Runner(Protocol):
    """What runs the code of attempts."""

    def start(self, attempt: Attempt) -> None:
        """Run an attempt's code."""

    def cancel(self, attempt: Attempt, reason: str) -> None:
        """Ask an attempt's code to stop."""


class LocalDesk:
    """Has local attempts run while there are slots, and reports each of them once."""

    def __init__(
        self,
        runner: Runner,
        *,
        slots: Slots,
        identity: str,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        trouble: TroubleLog | None = None,
    ) -> None:
        self._runner = runner
        self._trouble = trouble or TroubleLog()
        self._slots = slots
        self._identity = identity
        self._loop = loop
        self._clock = clock
        self._slots_used = 0
        self._asking: asyncio.TimerHandle | None = None
        self._held: dict[bytes, tuple[Attempt, Deliver]] = {}
        self._waiting: deque[Attempt] = deque()
        self._timers: dict[bytes, asyncio.TimerHandle] = {}

    @property
    def tokens(self) -> frozenset[bytes]:
        """The attempts that have no outcome yet."""
        return frozenset(self._held)

    @property
    def is_idle(self) -> bool:
        """Whether no code runs and none waits to."""
        return not self._slots_used and not self._waiting

    def take(self, task: ActivityTask, headers: Headers, deliver: Deliver) -> None:
        """Run an attempt as soon as there is a slot."""
        attempt = Attempt(task, taken_ms=self._clock.monotonic_ms(), headers=headers)
        self._held[task.token] = attempt, deliver
        self._waiting.append(attempt)
        self.fill()
        if attempt.phase is Phase.WAITING and task.schedule_to_start_ms:
            self._set_timer(attempt, task.schedule_to_start_ms, "schedule_to_start")

    def stop(self, token: bytes, reason: str) -> None:
        """Ask an attempt to stop; one that only waits has stopped."""
        held = self._held.get(token)
        if held is None:
            return
        attempt = held[0]
        if attempt.phase is Phase.RUNNING:
            self._runner.cancel(attempt, reason)
        elif reason == CANCEL_REQUESTED:
            self.canceled(attempt)
        else:
            self._end(attempt)

    def fill(self) -> None:
        """Start what waits, as long as there are slots."""
        while self._waiting:
            attempt = self._waiting[0]
            if attempt.phase is Phase.WAITING:
                now_ms = self._clock.monotonic_ms()
                attempt.permit = self._slots.take(attempt.task.activity_type, now_ms)
                if attempt.permit is None:
                    self._ask_again(self._slots.next_ms(now_ms) - now_ms)
                    return
            self._waiting.popleft()
            if attempt.permit is not None:
                self._start(attempt)

    def _ask_again(self, delay_ms: int) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        if delay_ms < FOREVER_MS // 2:
            self._asking = self._loop.call_later(delay_ms / 1000, self.fill)

    def _start(self, attempt: Attempt) -> None:
        self._slots_used += 1
        attempt.phase = Phase.RUNNING
        attempt.started_wall_ms = self._clock.wall_ms()
        self._drop_timer(attempt)
        if attempt.task.start_to_close_ms:
            self._set_timer(attempt, attempt.task.start_to_close_ms, "start_to_close")
        self._runner.start(attempt)

    def _set_timer(self, attempt: Attempt, delay_ms: int, kind: str) -> None:
        self._timers[attempt.token] = self._loop.call_later(
            delay_ms / 1000, self._time_out, attempt, kind
        )

    def _drop_timer(self, attempt: Attempt) -> None:
        timer = self._timers.pop(attempt.token, None)
        if timer is not None:
            timer.cancel()

    def _time_out(self, attempt: Attempt, kind: str) -> None:
        self._timers.pop(attempt.token, None)
        self._report_failed(attempt, _timeout(attempt.task, kind))
        self._runner.cancel(attempt, TIMED_OUT)

    # What the runner tells.

    def completed(self, attempt: Attempt, result: Payload | None) -> None:
        """The code returned."""
        task = attempt.task
        size = len(result.data) if result is not None else 0
        if size > COMMAND_BYTES_MAX:
            self._report_failed(attempt, too_large(task, "result", size))
        else:
            self._report(
                attempt,
                CompleteActivity(
                    **report_header(attempt.task, identity=self._identity),
                    result=result,
                    started_ms=attempt.started_wall_ms,
                ),
            )
        self.free(attempt)

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """The code failed."""
        self._report_failed(attempt, failure)
        self.free(attempt)

    def _report_failed(self, attempt: Attempt, failure: Failure) -> None:
        tell_failed(self._trouble, attempt, failure)
        self._report(
            attempt,
            FailActivity(
                **report_header(attempt.task, identity=self._identity),
                failure=fit_failure(failure, COMMAND_BYTES_MAX),
                started_ms=attempt.started_wall_ms,
            ),
        )

    def canceled(self, attempt: Attempt, details: Sequence[Payload] = ()) -> None:
        """The code ended because it was asked to cancel; details too large are dropped."""
        size = sum(len(payload.data) for payload in details)
        self._report(
            attempt,
            ConfirmActivityCanceled(
                **report_header(attempt.task, identity=self._identity),
                details=list(details) if size <= COMMAND_BYTES_MAX else [],
                started_ms=attempt.started_wall_ms,
            ),
        )
        self.free(attempt)

    def detached(self, attempt: Attempt) -> None:
        """Nobody can report a local attempt from elsewhere; it has failed before it comes here."""
        raise AssertionError("a local attempt cannot be completed from elsewhere")

    def stopped(self, attempt: Attempt) -> None:
        """Its host lets go of it: the next one counts it as lost."""
        self._end(attempt)
        self.free(attempt)

    def hand_back(self, attempt: Attempt, reason: str) -> None:
        """Its host lets go of it before it has begun: the next one cannot tell."""
        self._end(attempt)

    def heartbeat(self, attempt: Attempt, details: list[Payload]) -> None:
        """A local activity has no heartbeat timeout, and its details go nowhere."""

    def free(self, attempt: Attempt) -> None:
        """The code has ended: its slot is free."""
        permit, attempt.permit = attempt.permit, None
        if permit is None:
            return
        self._slots_used -= 1
        self._slots.release(permit)
        self.fill()

    def _report(self, attempt: Attempt, report: Record) -> None:
        deliver = self._end(attempt)
        if deliver is not None:
            deliver(report)

    def _end(self, attempt: Attempt) -> Deliver | None:
        """How to report an attempt whose one outcome this is."""
        attempt.phase = Phase.ENDED
        self._drop_timer(attempt)
        held = self._held.pop(attempt.token, None)
        return held[1] if held is not None else None


def _timeout(task: ActivityTask, kind: str) -> Failure:
    limit_ms = task.start_to_close_ms if kind == "start_to_close" else task.schedule_to_start_ms
    cause = FailureCause(
        kind="timeout",
        message=(
            f"local activity {task.activity_type} did not {'end' if 'close' in kind else 'begin'}"
            f" within its {kind}_timeout of {limit_ms / 1000:g} s"
        ),
        timeout_type=kind,
        source="perdure",
    )
    return Failure(chain=[cause])
