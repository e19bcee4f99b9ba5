"""Trouble of runs and attempts, told in the log of the process where it happens.

Each line says of what it is, and what follows. Lines of one type are told a few times a minute;
what is held back is counted, and the count is told. No rule of the protocol rests on this.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Protocol

from perdure_actors.core.retry import ATTEMPTS_REACHED, DEFAULT_POLICY, plan_retry
from perdure_schemas.events import (
    ActivityFailed,
    ActivityRetryScheduled,
    ActivityTimedOut,
    WorkflowBlocked,
    WorkflowResumed,
)
from perdure_schemas.operator_events import ActivityPaused
from perdure_schemas.payloads import Failure, FailureCause

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perdure_actors.core.state import Run
    from perdure_schemas.payloads import Record
    from perdure_schemas.tasks import ActivityTask

LINES_MAX: Final = 5
"""So many lines of one type are told in a window; what follows is counted."""
WINDOW_S: Final = 60.0
TYPES_MAX: Final = 1_000
RUNS_MAX: Final = 10_000
HISTORY_EVENTS_WARNED: Final = 10_000
HISTORY_BYTES_WARNED: Final = 10 * 1024 * 1024
MESSAGE_CHARS_MAX: Final = 500
TRACE_CHARS_MAX: Final = 20_000
_FRAME: Final = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>.+)$')
_NOT_OWN: Final = re.compile(
    r"site-packages|[/\\]lib[/\\]python3|[/\\]perdure_(actors|schemas|topics|views)[/\\]"
    r"|[/\\]sdk[/\\]perdure[/\\]|^<"
)

logger = logging.getLogger("perdure.trouble")


class _Type:
    """What was told of one type in its window."""

    __slots__ = ("began_s", "held_back", "told")

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.told = 0
        self.held_back = 0


class TroubleLog:
    """Tells of trouble, from any thread."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._types: OrderedDict[str, _Type] = OrderedDict()
        self._large: OrderedDict[str, None] = OrderedDict()
        """Runs whose history was said to be large."""
        self._blocked: OrderedDict[str, None] = OrderedDict()
        """Runs whose block was told of, and whose going on is to be."""
        self._flush_at_s = 0.0

    def attempt_failed(self, task: ActivityTask, failure: Failure, *, now_ms: int) -> None:
        """An attempt that this process made has failed."""
        policy = task.retry_policy or DEFAULT_POLICY
        limit_ms = task.schedule_to_close_ms
        _, delay_ms = plan_retry(
            policy,
            failure,
            attempt=task.attempt,
            now_ms=now_ms,
            expires_ms=task.scheduled_ms + limit_ms if limit_ms else 0,
        )
        self._attempt(
            task.activity_type,
            failure,
            f"attempt {_of(task.attempt, policy.maximum_attempts)} of activity"
            f" {task.activity_type} {task.activity_id!r}",
            _where(task.workflow_id, task.workflow_type, task.run_id),
            _next(delay_ms),
            _extra(task.workflow_id, task.workflow_type, task.run_id),
        )

    def accepted(self, run: Run, events: Sequence[Record], *, now_ms: int) -> None:
        """A transition of a run was accepted, here, where its partition is owned."""
        self._weigh(run, len(events))
        if not any(type(event) in _TROUBLE for event in events):
            return
        resumed = False
        for event in events:
            if isinstance(event, WorkflowBlocked):
                self._tell_blocked(run, event)
                return
            if isinstance(event, WorkflowResumed):
                resumed = True
            elif isinstance(event, ActivityPaused):
                if event.failure is not None:
                    self._tell_parked(run, event)
            elif isinstance(event, ActivityRetryScheduled | ActivityFailed | ActivityTimedOut):
                self._tell_lost(run, event, now_ms)
        if resumed:
            self._tell_resumed(run)

    def _weigh(self, run: Run, new: int) -> None:
        """A history is long enough to be warned of: each so many events, and once of its size."""
        state = run.state
        if not state.is_open:
            return
        is_long = state.seq // HISTORY_EVENTS_WARNED > (state.seq - new) // HISTORY_EVENTS_WARNED
        with self._lock:
            is_large = (
                state.history_bytes >= HISTORY_BYTES_WARNED and state.run_id not in self._large
            )
            if is_large:
                self._large[state.run_id] = None
                if len(self._large) > RUNS_MAX:
                    self._large.popitem(last=False)
        if is_long or is_large:
            kind = run.started.workflow_type
            self.tell(
                f"history {kind}",
                f"the history of {_where(state.workflow_id, kind, state.run_id)} has {state.seq}"
                f" events and {state.history_bytes / 2**20:.1f} MiB: let it continue as new when"
                " info().is_continue_as_new_suggested(), else it is ended at its limit",
                extra=_extra(state.workflow_id, kind, state.run_id),
            )

    def _tell_blocked(self, run: Run, event: WorkflowBlocked) -> None:
        state, kind = run.state, run.started.workflow_type
        with self._lock:
            self._blocked[state.run_id] = None
            if len(self._blocked) > RUNS_MAX:
                self._blocked.popitem(last=False)
        place = own_line(event.stack_trace)
        at = f", at {place}" if place and place not in event.message else ""
        self.tell(
            f"blocked {kind} {event.cause}",
            f"{_where(state.workflow_id, kind, state.run_id)} is blocked ({event.cause}):"
            f" {_short(event.message)}{at}",
            trace=event.stack_trace,
            extra=_extra(state.workflow_id, kind, state.run_id),
        )

    def _tell_resumed(self, run: Run) -> None:
        state, kind = run.state, run.started.workflow_type
        with self._lock:
            known = state.run_id in self._blocked
            self._blocked.pop(state.run_id, None)
        if known or not state.waiting:
            self.tell(
                f"resumed {kind}",
                f"{_where(state.workflow_id, kind, state.run_id)} was blocked, and goes on",
                extra=_extra(state.workflow_id, kind, state.run_id),
            )

    def _tell_parked(self, run: Run, event: ActivityPaused) -> None:
        state, kind = run.state, run.started.workflow_type
        name = _type_of(run, event.activity_id)
        error = _error(event.failure)
        self.tell(
            f"parked {name}",
            f"{_where(state.workflow_id, kind, state.run_id)} waits for a person: activity {name}"
            f" {event.activity_id!r} is out of attempts after {event.attempt}{error}. See `perdure"
            " activity retry` and `perdure activity fail`",
            extra=_extra(state.workflow_id, kind, state.run_id),
        )

    def _tell_lost(
        self,
        run: Run,
        event: ActivityRetryScheduled | ActivityFailed | ActivityTimedOut,
        now_ms: int,
    ) -> None:
        """What no worker can tell of: a worker or host that is lost, or a time that is over."""
        cause = event.failure.chain[0] if event.failure and event.failure.chain else None
        if cause is None or cause.kind != "timeout" or cause.source == "perdure":
            return
        state, kind = run.state, run.started.workflow_type
        activity = run.activities.get(event.activity_id)
        policy = activity.terms.retry_policy if activity is not None else None
        most = policy.maximum_attempts if policy is not None else 0
        if not isinstance(event, ActivityRetryScheduled) and event.retry_state == ATTEMPTS_REACHED:
            most = event.attempt
        # With its outcome it has gone from the run; the failure says of what type it was.
        name = _type_of(run, event.activity_id)
        self._attempt(
            name or kind,
            event.failure or Failure(),
            f"attempt {_of(event.attempt, most)} of activity"
            f" {f'{name} ' if name else ''}{event.activity_id!r}",
            _where(state.workflow_id, kind, state.run_id),
            _next(event.due_ms - now_ms if isinstance(event, ActivityRetryScheduled) else -1),
            _extra(state.workflow_id, kind, state.run_id),
        )

    def _attempt(
        self, name: str, failure: Failure, what: str, of: str, follows: str, extra: dict[str, Any]
    ) -> None:
        cause = failure.chain[0] if failure.chain else FailureCause()
        place = own_line(cause.stack_trace)
        self.tell(
            f"attempt {name} {cause.type or cause.timeout_type or cause.kind}",
            f"{what} of {of} failed{_error(failure)}{f', at {place}' if place else ''}; {follows}",
            trace="\n".join(link.stack_trace for link in failure.chain if link.stack_trace),
            extra=extra,
        )

    def tell(
        self, kind: str, text: str, *, trace: str = "", extra: dict[str, Any] | None = None
    ) -> None:
        """Write a line, unless its type has had its share; the first of a window has its trace."""
        self.flush()
        with self._lock:
            found = self._types.get(kind)
            if found is None:
                if len(self._types) >= TYPES_MAX:
                    self._types.popitem(last=False)
                found = self._types[kind] = _Type(self._clock())
            if found.told >= LINES_MAX:
                found.held_back += 1
                return
            found.told += 1
            is_first = found.told == 1
        if is_first and trace:
            text = f"{text}\n{trace[:TRACE_CHARS_MAX].rstrip()}"
        logger.warning("%s", text, extra=extra or {})

    def flush(self) -> None:
        """Tell what was held back in windows that are over."""
        now_s = self._clock()
        if now_s < self._flush_at_s:
            return
        with self._lock:
            self._flush_at_s = now_s + 1.0
            over = [kind for kind, one in self._types.items() if now_s - one.began_s >= WINDOW_S]
            ended = [(kind, self._types.pop(kind)) for kind in over]
        self._tell_counts(ended)

    def close(self) -> None:
        """Tell what was held back, now."""
        with self._lock:
            ended = list(self._types.items())
            self._types.clear()
        self._tell_counts(ended)

    def _tell_counts(self, ended: list[tuple[str, _Type]]) -> None:
        for kind, one in ended:
            if one.held_back:
                logger.warning(
                    "%d more of this kind were held back within %.0f s: %s",
                    one.held_back,
                    max(self._clock() - one.began_s, 1.0),
                    kind,
                )


_TROUBLE: Final = frozenset(
    {
        ActivityFailed,
        ActivityPaused,
        ActivityRetryScheduled,
        ActivityTimedOut,
        WorkflowBlocked,
        WorkflowResumed,
    }
)


class Told(Protocol):
    """An attempt of this process, and whether its failure has been told."""

    told: bool

    @property
    def task(self) -> ActivityTask:
        """What was to be done."""


def tell_failed(trouble: TroubleLog, attempt: Told, failure: Failure) -> None:
    """An attempt of this process has failed: told once, whoever learns of it first."""
    if not attempt.told:
        attempt.told = True
        trouble.attempt_failed(attempt.task, failure, now_ms=int(time.time() * 1000))


def own_line(stack_trace: str) -> str:
    """The innermost line of a stack that is of the user's own code; empty without a stack."""
    frames = [found for line in stack_trace.splitlines() if (found := _FRAME.match(line))]
    own = [one for one in frames if not _NOT_OWN.search(one["file"])]
    if not frames:
        return ""
    one = (own or frames)[-1]
    return f"{one['file']}:{one['line']} in {one['name']}"


def _of(attempt: int, most: int) -> str:
    return f"{attempt} of {most}" if most else f"{attempt} (of any number)"


def _next(delay_ms: int) -> str:
    return "no other follows" if delay_ms < 0 else f"the next in {max(delay_ms, 0) / 1000:.3g} s"


def _where(workflow_id: str, workflow_type: str, run_id: str) -> str:
    return f"workflow {workflow_id!r} ({workflow_type}, run {run_id})"


def _extra(workflow_id: str, workflow_type: str, run_id: str) -> dict[str, Any]:
    return {"workflow_id": workflow_id, "workflow_type": workflow_type, "run_id": run_id}


def _short(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARS_MAX else text[:MESSAGE_CHARS_MAX] + " ..."


def _error(failure: Failure | None) -> str:
    if failure is None or not failure.chain:
        return ""
    cause = failure.chain[0]
    name = cause.type or cause.timeout_type or cause.kind
    return f": {name}: {_short(cause.message)}" if cause.message else f": {name}"


def _type_of(run: Run, activity_id: str) -> str:
    activity = run.activities.get(activity_id)
    return activity.scheduled.activity_type if activity is not None else ""
