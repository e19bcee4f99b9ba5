"""Invariants of single activities (C, D, F, L, O, T): attempts, outcomes, and operators' acts.

L is for local ones, which run in their host; O is for what people did to any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from perdure_schemas import events as ev
from perdure_schemas import operator_events as op
from perdure_schemas.payloads import Record
from tests.simulation.evidence import Evidence, Walk
from tests.simulation.ledger import Fact, token_of

OPERATOR = "operator"


@dataclass
class _Activity:
    scheduled: ev.ActivityScheduled
    """With the options that it has now."""
    times: ev.ActivityScheduled
    """With those that the attempt was issued with."""
    fact: Fact
    """What issued the attempt."""
    attempt: int = 1
    state: str = "scheduled"
    """scheduled, started, backing_off, paused, or parked: out of attempts."""
    started: Fact | None = None
    worker_id: str = ""
    due_ms: int = 0
    beat: Fact | None = None
    paused: bool = False
    starts_over: bool = False

    @property
    def rests(self) -> bool:
        """Whether no attempt is under way."""
        return self.state in ("backing_off", "paused", "parked")


class ActivityCheck:
    """Takes the facts of one run that are about its activities."""

    def __init__(self, walk: Walk, evidence: Evidence) -> None:
        self._walk = walk
        self._evidence = evidence
        self._activities: dict[str, _Activity] = {}
        self._over: set[str] = set()

    def take(self, event: Record) -> None:
        """Check an event, if it is about an activity."""
        take = _TAKES.get(type(event))
        if take is not None:
            take(self, event)

    def _fail(self, letter: str, text: str) -> None:
        self._walk.fail(letter, text)

    @property
    def _now_ms(self) -> int:
        return self._walk.fact.entry.time_ms

    def _token(self, found: _Activity) -> bytes:
        return token_of(found.fact.entry, found.fact.place, self._evidence.engine_key)

    def _scheduled(self, event: ev.ActivityScheduled) -> None:
        if event.activity_id in self._activities or event.activity_id in self._over:
            self._fail("D", f"schedules activity {event.activity_id} twice")
        self._activities[event.activity_id] = _Activity(event, event, self._walk.fact)

    def _activity(self, event: Any) -> _Activity | None:
        activity_id: str = event.activity_id
        found = self._activities.get(activity_id)
        if found is None:
            again = " again" if activity_id in self._over else ""
            self._fail("D", f"has {type(event).__name__} of activity {activity_id}{again}")
            return None
        attempt = getattr(event, "attempt", found.attempt)
        is_free = isinstance(event, ev.ActivityAttemptScheduled) or (
            isinstance(event, op.ActivityPaused) and not attempt
        )
        if not is_free and attempt != found.attempt:
            text = f"has {type(event).__name__} of attempt {attempt} of activity {activity_id}"
            self._fail("D", f"{text}; {found.attempt} is current")
        return found

    # -- attempts --

    def _attempt_scheduled(self, event: ev.ActivityAttemptScheduled) -> None:
        found = self._activity(event)
        if found is None:
            return
        name = f"attempt {event.attempt} of activity {event.activity_id}"
        if found.paused:
            self._fail("O", f"issues {name}, which somebody has paused")
        if event.reason == "handed_back":
            same = 1 if found.starts_over else found.attempt
            found.starts_over = False
            if event.attempt != same or found.rests or found.scheduled.local:
                self._fail("F", f"hands back {name} while {found.attempt} is {found.state}")
        else:
            if event.attempt != found.attempt + 1 or not found.rests:
                self._fail("F", f"issues {name} after {found.attempt}, which is {found.state}")
            if event.reason != OPERATOR:
                self._by_itself(found, name)
        found.attempt, found.fact, found.times = event.attempt, self._walk.fact, found.scheduled
        found.state, found.started, found.worker_id = "scheduled", None, ""

    def _by_itself(self, found: _Activity, name: str) -> None:
        """The timer of a retry brought the next attempt."""
        if found.state != "backing_off":
            self._fail("O", f"issues {name} by itself, after one that is {found.state}")
        if self._now_ms < found.due_ms:
            self._fail("T", f"issues {name} {found.due_ms - self._now_ms} ms early")

    def _started(self, event: ev.ActivityStarted) -> None:
        found = self._activity(event)
        if found is None:
            return
        if found.scheduled.local:
            self._fail("L", f"has local activity {event.activity_id} started by a worker")
        if found.state != "scheduled":
            text = f"starts attempt {event.attempt} of activity {event.activity_id} by"
            self._fail("D", f"{text} {event.worker_id}; it is {found.state} by {found.worker_id}")
        if found.paused and self._evidence.asked_first(self._token(found), event.worker_id):
            text = f"grants attempt {event.attempt} of activity {event.activity_id}"
            self._fail("O", f"{text}, which somebody has paused")
        found.state, found.started = "started", self._walk.fact
        found.worker_id, found.beat = event.worker_id, self._walk.fact

    def _heartbeat(self, event: ev.ActivityHeartbeat) -> None:
        found = self._activity(event)
        if found is not None:
            found.beat = self._walk.fact

    def _retry_scheduled(self, event: ev.ActivityRetryScheduled) -> None:
        found = self._activity(event)
        if found is None:
            return
        if found.rests:
            self._fail("D", f"fails attempt {event.attempt} of {event.activity_id} twice")
        policy = found.scheduled.retry_policy
        most = policy.maximum_attempts if policy is not None else 0
        if most and found.attempt >= most and not found.starts_over:
            text = f"plans another attempt of {event.activity_id} after {found.attempt}"
            self._fail("F", f"{text}; {most} are allowed")
        self._failed_attempt(found, event.failure.chain[0].timeout_type, event.failure)
        found.state, found.due_ms = "paused" if found.paused else "backing_off", event.due_ms
        if found.starts_over:
            found.starts_over, found.attempt = False, 0

    # -- outcomes --

    def _completed(self, event: ev.ActivityCompleted) -> None:
        found = self._activity(event)
        if found is None:
            return
        if found.rests:
            text = f"completes activity {event.activity_id} by attempt {event.attempt},"
            self._fail("D", f"{text} which has failed")
        self._check_incarnation(found)
        self._evidence.check_completed(self._walk, event, self._token(found))
        self._end(event.activity_id)

    def _outcome(
        self, event: ev.ActivityFailed | ev.ActivityTimedOut | ev.ActivityCanceled
    ) -> None:
        found = self._activity(event)
        if found is None:
            return
        if isinstance(event, ev.ActivityTimedOut):
            self._failed_attempt(found, event.timeout_type, event.failure)
        elif isinstance(event, ev.ActivityFailed) and event.retry_state != OPERATOR:
            self._failed_attempt(found, "", event.failure)
            if found.rests:
                self._fail("D", f"fails activity {event.activity_id} whose attempt is over")
        self._end(event.activity_id)

    def _end(self, activity_id: str) -> None:
        self._activities.pop(activity_id, None)
        self._over.add(activity_id)

    def _check_incarnation(self, found: _Activity) -> None:
        """L: only the owner that began a local attempt can report of it."""
        issued, now = found.fact.entry, self._walk.fact.entry
        if found.scheduled.local and (issued.epoch, issued.nonce) != (now.epoch, now.nonce):
            text = f"takes a report of attempt {found.attempt} of local activity"
            name = f"{text} {found.scheduled.activity_id}, which epoch {issued.epoch} began"
            self._fail("L", f"{name}, in epoch {now.epoch}")

    def _failed_attempt(self, found: _Activity, timeout_type: str, failure: object) -> None:
        """A timeout is never early by recorded time, and no unread word refutes it."""
        kind = _first_type(failure)
        if kind == "CancelledError":
            # Workers of a world cancel nothing unasked.
            text = f"counts attempt {found.attempt} of activity {found.scheduled.activity_id}"
            self._fail("O", f"{text} as failed, which stopped because it was told to")
        if kind == "HostLost":
            self._check_host_lost(found)
            return
        if kind == "WorkerLost":
            self._evidence.check_lost(self._walk, found.worker_id, found.started)
            return
        if timeout_type == "schedule_to_close":
            return
        self._check_incarnation(found)
        self._check_early(found, timeout_type)

    def _check_host_lost(self, found: _Activity) -> None:
        """L: a host is lost when another owner has followed it, and not before."""
        issued, now = found.fact.entry, self._walk.fact.entry
        name = f"attempt {found.attempt} of activity {found.scheduled.activity_id}"
        if not found.scheduled.local:
            self._fail("L", f"counts the host of {name} as lost, which is not local")
        elif (issued.epoch, issued.nonce) == (now.epoch, now.nonce):
            self._fail("L", f"counts the host of {name} as lost, which owns the partition")

    def _check_early(self, found: _Activity, timeout_type: str) -> None:
        times = found.times
        since: Fact | None = None
        length_ms = 0
        if timeout_type == "start_to_close":
            # A local attempt starts when it is accepted, or later.
            since = found.fact if times.local else found.started
            length_ms = times.start_to_close_ms
        elif timeout_type == "heartbeat":
            since, length_ms = found.beat, times.heartbeat_ms
        elif timeout_type == "schedule_to_start":
            since, length_ms = found.fact, times.schedule_to_start_ms
            if found.paused:
                self._fail("O", f"fails activity {times.activity_id} for want of a worker, paused")
        if since is None:
            return
        name = f"times activity {times.activity_id} out ({timeout_type})"
        if not length_ms:
            self._fail("T", f"{name}, whose attempt has no such limit")
        early_ms = since.entry.time_ms + length_ms - self._now_ms
        if early_ms > 0:
            self._fail("T", f"{name} {early_ms} ms early")
        # By the log's clock, which is one, whatever the hosts' clocks say.
        due_ms = since.entry.appended_ms + length_ms
        self._evidence.check_refuted(self._walk, self._token(found), due_ms)

    # -- what people did --

    def _paused(self, event: op.ActivityPaused) -> None:
        found = self._activity(event)
        if found is None:
            return
        if event.failure is not None:
            self._parked(found, event)
        elif event.attempt:
            if not found.paused:
                text = f"lets attempt {event.attempt} of {event.activity_id} go unused"
                self._fail("O", f"{text}, which nobody has paused")
            found.attempt = 0 if found.starts_over else event.attempt - 1
            found.state, found.starts_over = "paused", False
        else:
            found.paused = True
            if found.state == "backing_off":
                found.state = "paused"

    def _parked(self, found: _Activity, event: op.ActivityPaused) -> None:
        if found.scheduled.on_exhausted != "pause":
            self._fail("O", f"parks activity {event.activity_id}, which nobody asked for")
        if found.state not in ("scheduled", "started"):
            self._fail("O", f"parks activity {event.activity_id}, which is {found.state}")
        chain = event.failure.chain if event.failure is not None else []
        self._failed_attempt(found, chain[0].timeout_type if chain else "", event.failure)
        found.state = "parked"

    def _unpaused(self, event: op.ActivityUnpaused) -> None:
        found = self._activity(event)
        if found is None:
            return
        if not found.paused and found.state != "parked":
            self._fail("O", f"unpauses activity {event.activity_id}, which is {found.state}")
        found.paused = False
        if event.reset_attempts:
            _start_over(found)
        if found.state in ("paused", "parked"):
            found.state, found.due_ms = "backing_off", event.due_ms

    def _reset(self, event: op.ActivityReset) -> None:
        found = self._activity(event)
        if found is None:
            return
        _start_over(found)
        if event.keep_paused and found.paused:
            if found.state == "backing_off":
                found.state = "paused"
            return
        found.paused = False
        if found.rests:
            found.state, found.due_ms = "backing_off", event.due_ms

    def _options(self, event: op.ActivityOptionsUpdated) -> None:
        found = self._activity(event)
        if found is None:
            return
        found.scheduled = replace(
            found.scheduled,
            schedule_to_close_ms=event.schedule_to_close_ms,
            schedule_to_start_ms=event.schedule_to_start_ms,
            start_to_close_ms=event.start_to_close_ms,
            heartbeat_ms=event.heartbeat_ms,
            retry_policy=event.retry_policy,
        )


def _start_over(found: _Activity) -> None:
    if found.rests:
        found.attempt = 0
    else:
        found.starts_over = True


def _first_type(failure: object) -> str:
    chain = getattr(failure, "chain", None)
    return chain[0].type if chain else ""


_TAKES: dict[type[Record], Callable[[ActivityCheck, Any], None]] = {
    ev.ActivityScheduled: ActivityCheck._scheduled,
    ev.ActivityAttemptScheduled: ActivityCheck._attempt_scheduled,
    ev.ActivityStarted: ActivityCheck._started,
    ev.ActivityHeartbeat: ActivityCheck._heartbeat,
    ev.ActivityRetryScheduled: ActivityCheck._retry_scheduled,
    ev.ActivityCompleted: ActivityCheck._completed,
    ev.ActivityFailed: ActivityCheck._outcome,
    ev.ActivityTimedOut: ActivityCheck._outcome,
    ev.ActivityCanceled: ActivityCheck._outcome,
    op.ActivityPaused: ActivityCheck._paused,
    op.ActivityUnpaused: ActivityCheck._unpaused,
    op.ActivityReset: ActivityCheck._reset,
    op.ActivityOptionsUpdated: ActivityCheck._options,
}
