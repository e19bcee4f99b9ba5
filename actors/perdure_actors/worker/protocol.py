"""The worker's side of the protocol with hosts: slots, claims, reports and orders.

It runs no user code, owns no thread and knows no event loop: its owner calls `turn` whenever the
bell rang and when `next_turn_ms` says so, always on one thread. So a simulation can drive it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from perdure_actors.trouble_log import TroubleLog, tell_failed
from perdure_actors.worker.attempt import (
    CANCEL_REQUESTED,
    NOT_FOUND,
    TIMED_OUT,
    WORKER_SHUTDOWN,
    Attempt,
    Mailbox,
    Phase,
    application_failure,
    stop_failure,
    timeout_failure,
)
from perdure_actors.worker.attempt_table import AttemptBook
from perdure_actors.worker.attempt_timers import Alarm, AttemptAlarms
from perdure_actors.worker.claims import ClaimBook
from perdure_actors.worker.eager_intake import EagerIntake, Offer
from perdure_actors.worker.lease import LeaseBook
from perdure_actors.worker.record_sender import UNACKED_MAX, Outbox
from perdure_actors.worker.replies import ReplyReader
from perdure_actors.worker.reports import ActivityMail, WorkerFacts
from perdure_actors.worker.slots import FixedSlots, Slots
from perdure_actors.worker.task_rate import FOREVER_MS, TaskRate
from perdure_actors.worker.task_reader import TaskIntake
from perdure_actors.worker.task_room import WaitingRoom
from perdure_schemas.avro import UnreadableRecordError, decode_as
from perdure_schemas.payloads import Failure, Payload
from perdure_schemas.replies import Reply, WorkerOrders
from perdure_topics.ports import Clock

TICK_MS = 250
TAKE_MAX = 500
PAUSE_AFTER_MS = 500

logger = logging.getLogger(__name__)


class Runner(Protocol):
    """What runs the code of attempts; it answers through the desk's report methods."""

    def start(self, attempt: Attempt) -> None:
        """Run an attempt's code."""

    def cancel(self, attempt: Attempt, reason: str) -> None:
        """Ask an attempt's code to stop."""


class ActivityDesk:
    """Takes tasks while there are slots, has them run, and tells hosts what became of them."""

    def __init__(
        self,
        facts: WorkerFacts,
        runner: Runner,
        *,
        clock: Clock,
        outbox: Outbox,
        intake: TaskIntake,
        replies: ReplyReader,
        leases: LeaseBook,
        wake: Callable[[], None],
        rate: TaskRate | None = None,
        slots: Slots | None = None,
        trouble: TroubleLog | None = None,
        eager: EagerIntake | None = None,
    ) -> None:
        self._facts = facts
        self._eager = eager
        self._trouble = trouble or TroubleLog()
        self._slots = slots or FixedSlots(facts.slots)
        self._runner = runner
        self._clock = clock
        self._outbox = outbox
        self._intake = intake
        self._replies = replies
        self._leases = leases
        self._wake = wake
        self._mail = ActivityMail(facts, outbox, intake=intake, clock=clock, eager=eager)
        self._claims = ClaimBook(self._mail, leases, facts.worker_id)
        self._alarms = AttemptAlarms()
        self._rate = rate or TaskRate(None)
        self._rate_due_ms = FOREVER_MS
        self._room = WaitingRoom(facts.slots)
        self._slots_used = 0
        self._full_since_ms = -1
        self._starved = False
        self._stopping = False
        self._tick_at_ms = 0
        self._attempts = AttemptBook(intake, counts := Counter[str]())
        self.counts = counts
        """What happened so far, by name: started, completed, failed, undecodable and so on."""

    @property
    def slots_used(self) -> int:
        """How many attempts run or wait for their grant."""
        return self._slots_used

    @property
    def held(self) -> list[Attempt]:
        """The attempts that have not been reported."""
        return self._attempts.held

    @property
    def next_turn_ms(self) -> int:
        """When, by the monotonic clock, the next turn is due even if nothing rings."""
        due_ms = min(self._alarms.next_ms, self._tick_at_ms, self._rate_due_ms)
        if self._room:
            due_ms = min(due_ms, self._slots.next_ms(self._clock.monotonic_ms()))
        leave_ms = self._intake.next_leave_ms
        return due_ms if leave_ms is None else min(due_ms, leave_ms)

    def turn(self, *, begins: bool = True) -> None:
        """Take whatever came in, and do what is due; without beginning anything if so told."""
        now = self._clock.monotonic_ms()
        self._outbox.turn()
        for reply in self._replies.take():
            try:
                self._follow(reply, now)
            except Exception:  # anybody may write one
                logger.exception("passed over an answer to this worker")
        departures = self._intake.departures(now)
        if departures.revoked or departures.lost:
            self._settle(departures.revoked, departures.lost, now)
        if self._alarms.next_ms <= now:
            self._ring_alarms(now)
        if now >= self._tick_at_ms:
            self._tick(now)
        begins = begins and not self._stopping
        if self._eager is not None:
            self._take_eager(self._eager, now, begins=begins)
        if begins:
            self._fill(now)
            self._take(now)
        if self._eager is not None:
            self._eager.publish(self._room_for_eager(now) if begins else 0)
            self._eager.ring_out()
        if self._leases.is_urgent:
            self._send_leases(now)
        self._intake.settle(now)

    def completed(self, attempt: Attempt, result: Payload | None) -> None:
        """The code returned."""
        if self._end(attempt, "completed"):
            self._mail.completed(attempt, result)
        self.free(attempt)

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """The code failed."""
        if self._end(attempt, "failed"):
            self._fail(attempt, failure)
        self.free(attempt)

    def _fail(self, attempt: Attempt, failure: Failure) -> None:
        tell_failed(self._trouble, attempt, failure)
        self._mail.failed(attempt, failure)

    def canceled(self, attempt: Attempt, details: Sequence[Payload] = ()) -> None:
        """The code ended because it was asked to cancel."""
        if self._end(attempt, "canceled"):
            self._mail.canceled(attempt, details)
        self.free(attempt)

    def detached(self, attempt: Attempt) -> None:
        """The code ended without an outcome: somebody else will report one."""
        if self._end(attempt, "detached"):
            self._mail.detached(attempt)
        self.free(attempt)

    def stopped(self, attempt: Attempt) -> None:
        """The code was stopped with this worker: begun, so that is an attempt, and it has failed.

        Whether another follows is for the retry policy to say, as with any other failure.
        """
        self.failed(attempt, stop_failure(attempt.task))

    def give_up(self, attempt: Attempt) -> None:
        """The code does not stop though it was told to: its slot is kept until it does."""
        if self._end(attempt, "failed"):
            self._fail(attempt, stop_failure(attempt.task, has_ended=False))

    def hand_back(self, attempt: Attempt, reason: str) -> None:
        """Another worker should run it: it has not begun here."""
        if self._end(attempt, "handed_back"):
            self._mail.handed_back(attempt, reason)
            self._attempts.may_return(attempt)

    def free(self, attempt: Attempt) -> None:
        """The code has ended: its slot is free."""
        permit, attempt.permit = attempt.permit, None
        if permit is not None:
            self._slots_used -= 1
            self._slots.release(permit)
            if self._starved or self._room:
                self._wake()

    def heartbeat(self, attempt: Attempt, details: list[Payload]) -> None:
        """The code gave a sign of life; it is sent as often as the throttle allows."""
        if attempt.phase is not Phase.RUNNING:
            return
        attempt.details = details
        # An attempt that no host knows yet sends its details when it is promoted or fails.
        if not attempt.promoted or attempt.details_due:
            return
        due_ms = self._mail.details_due_ms(attempt)
        if self._clock.monotonic_ms() >= due_ms:
            self._mail.flush_details(attempt)
        else:
            attempt.details_due = True
            self._alarms.set_details(attempt, due_ms)
            self._wake()

    def sign(self, attempt: Attempt) -> None:
        """The code cannot give a sign of life now, and is alive: one without details is sent."""
        if attempt.phase is not Phase.RUNNING or not attempt.promoted or attempt.details_due:
            return
        if self._clock.monotonic_ms() >= self._mail.details_due_ms(attempt):
            attempt.details = attempt.details or []
            self._mail.flush_details(attempt)

    def stop_taking(self) -> None:
        """Take nothing more, and hand back all that has not begun."""
        self._stopping = True
        if self._eager is not None:
            self._eager.begin_close()
            self._take_eager(self._eager, self._clock.monotonic_ms(), begins=False)
            self._eager.ring_out()
        self._intake.pause()
        self._room.clear()
        for attempt in self.held:
            if attempt.phase is not Phase.RUNNING:
                self.hand_back(attempt, WORKER_SHUTDOWN)
                self.free(attempt)

    def say_farewell(self) -> None:
        """Tell every partition that this worker stops; its last records."""
        for due in self._leases.all_known():
            self._mail.lease(due, slots_used=self._slots_used, stopping=True)

    def _take(self, now: int) -> None:
        capacity = self._slots.free(now) + self._room.max - len(self._room)
        if capacity <= 0 or self._outbox.unacked >= UNACKED_MAX:
            self._starved = True
            if self._full_since_ms < 0:
                self._full_since_ms = now
            elif now - self._full_since_ms >= PAUSE_AFTER_MS:
                # Not at once: a pause drops what was fetched ahead.
                self._intake.pause()
            return
        self._full_since_ms = -1
        self._intake.resume()
        limit = min(capacity, TAKE_MAX, self._rate.room(now))
        if limit <= 0:
            # What is over the rate stays in the topic, for whoever has room for it first.
            self._rate_due_ms = self._rate.next_ms(now)
            return
        self._rate_due_ms = FOREVER_MS
        records = self._intake.take(limit)
        self._rate.spend(len(records))
        # Fewer than asked for means that the reader is empty and will ring again.
        self._starved = len(records) >= limit
        for record in records:
            attempt = self._attempts.receive(record, now)
            if attempt is not None:
                self._room.add(attempt)
        self._fill(now)
        if self._starved and limit == TAKE_MAX:
            self._wake()

    def _fill(self, now: int) -> None:
        """Give free slots to what waits: the urgent first, of equals the one that came first."""
        while (attempt := self._room.next()) is not None:
            permit = self._slots.take(attempt.task.activity_type, now)
            if permit is None:
                break
            self._room.remove(attempt)
            attempt.permit = permit
            self._admit(attempt, now)

    def _take_eager(self, eager: EagerIntake, now: int, *, begins: bool) -> None:
        """Begin what the host of this process hands over; what cannot begin now is declined."""
        for mailbox, outcomes in eager.take_lost():
            self._outlive(mailbox)
            for posted in outcomes:
                self._mail.post_by_log(posted)
        for offer in eager.take():
            if offer.mailbox.is_closed:
                # The next owner of its partition sends it again.
                continue
            if not begins or not self._begin_eager(offer, now):
                self.counts["declined"] += 1
                eager.decline(offer)

    def _begin_eager(self, offer: Offer, now: int) -> bool:
        if self._outbox.unacked >= UNACKED_MAX or self._rate.room(now) < 1:
            return False
        permit = self._slots.take(offer.task.activity_type, now)
        if permit is None:
            return False
        attempt = self._attempts.adopt(offer, now)
        if attempt is None:
            self._slots.release(permit)
            return False
        self.counts["eager"] += 1
        self._rate.spend(1)
        attempt.permit = permit
        self._admit(attempt, now)
        return True

    def _outlive(self, mailbox: Mailbox) -> None:
        """An owner of a partition is no more: the next one is told of what it had begun here."""
        now = self._clock.monotonic_ms()
        for attempt in self.held:
            if attempt.mailbox is mailbox:
                attempt.mailbox = None
                if attempt.phase is Phase.RUNNING and not attempt.promoted:
                    self._promote(attempt, now)

    def _room_for_eager(self, now: int) -> int:
        """Free slots that nobody waits for: tasks of the topic came first."""
        if self._starved or self._outbox.unacked >= UNACKED_MAX:
            return 0
        free = self._slots.free(now) - len(self._room)
        return min(free, self._rate.room(now), TAKE_MAX)

    def _admit(self, attempt: Attempt, now: int) -> None:
        self._slots_used += 1
        if attempt.task.wants_claim or attempt.may_be_redelivery:
            attempt.phase = Phase.CLAIMING
            self.counts["claimed"] += 1
            self._claims.claim(attempt, now, wants_grant=True)
        else:
            self._start(attempt, now)

    def _start(self, attempt: Attempt, now: int) -> None:
        self.counts["started"] += 1
        attempt.phase = Phase.RUNNING
        attempt.started_ms = now
        attempt.started_wall_ms = self._clock.wall_ms()
        if not attempt.promoted:
            if attempt.task.heartbeat_ms > 0:
                self._promote(attempt, now)
            else:
                self._alarms.set_promotion(attempt)
        self._alarms.set_timeout(attempt)
        try:
            self._runner.start(attempt)
        except Exception as error:
            logger.exception("%r could not be started", attempt)
            self.failed(attempt, application_failure(f"could not start it: {error}", "StartError"))

    def _promote(self, attempt: Attempt, now: int) -> None:
        self.counts["promoted"] += 1
        self._alarms.promoted(attempt)
        self._claims.claim(attempt, now, wants_grant=False)
        self._alarms.set_timeout(attempt)
        self._mail.flush_details(attempt)

    def _end(self, attempt: Attempt, outcome: str) -> bool:
        """Whether this is the attempt's one outcome; later ones are nobody's business."""
        if attempt.phase is Phase.ENDED:
            return False
        attempt.phase = Phase.ENDED
        self.counts[outcome] += 1
        self._attempts.ended(attempt)
        self._alarms.ended(attempt)
        self._claims.ended(attempt)
        return True

    def _follow(self, reply: Reply, now: int) -> None:
        attempt = self._claims.find(reply.correlation_id)
        if attempt is None and reply.correlation_id != self._facts.worker_id:
            return
        try:
            orders = decode_as(WorkerOrders, reply.body)
        except UnreadableRecordError as error:
            logger.warning("passed over an answer to this worker: %s", error)
            return
        if attempt is not None:
            self._claims.answered(attempt)
            if attempt.phase is Phase.CLAIMING:
                if orders.granted:
                    self._start(attempt, now)
                elif self._end(attempt, "not_granted"):
                    self.free(attempt)
            elif not orders.granted and self._end(attempt, "not_granted"):
                # Another one's outcome counts: that this one was stopped is no failure of it.
                self._runner.cancel(attempt, orders.reason or NOT_FOUND)
        if orders.elsewhere:
            self._room.heard(orders.elsewhere, now)
            for attempt in self._room.leaving(now):
                self.hand_back(attempt, "no_slot")
        for canceled in orders.canceled:
            self._cancel(canceled.token, canceled.reason or CANCEL_REQUESTED)

    def _cancel(self, token: bytes, reason: str) -> None:
        attempt = self._attempts.find(token)
        if attempt is None:
            return
        if attempt.phase is Phase.RUNNING:
            self._runner.cancel(attempt, reason)
            return
        if attempt.phase is Phase.WAITING:
            self._room.remove(attempt)
        self.canceled(attempt)

    def _settle(self, revoked: list[int], lost: list[int], now: int) -> None:
        """See to it that the next owner of a partition need not run what this worker holds."""
        for attempt in self._room:
            if attempt.task_partition in revoked:
                self._room.remove(attempt)
                self.hand_back(attempt, "rebalance")
            elif attempt.task_partition in lost:
                # Its next owner has it already.
                self._room.remove(attempt)
                self._end(attempt, "left")
                self._attempts.may_return(attempt)
        for attempt in self._alarms.unpromoted:
            if attempt.task_partition in revoked or attempt.task_partition in lost:
                self._promote(attempt, now)

    def _ring_alarms(self, now: int) -> None:
        for alarm, attempt in self._alarms.due(now):
            if alarm is Alarm.PROMOTION:
                self._promote(attempt, now)
            elif alarm is Alarm.DETAILS:
                attempt.details_due = False
                self._mail.flush_details(attempt)
            elif self._end(attempt, "timed_out"):
                self._fail(attempt, timeout_failure(attempt.task))
                self._runner.cancel(attempt, TIMED_OUT)

    def _tick(self, now: int) -> None:
        self._tick_at_ms = now + TICK_MS
        self._claims.repeat(now)
        for attempt in self._room.leaving(now):
            self.hand_back(attempt, "no_slot")
        self._send_leases(now)
        self._intake.commit()

    def _send_leases(self, now: int) -> None:
        overdue = self._room.overdue(now)
        # One partition is asked for room elsewhere: where the one that waits longest comes from.
        asked = (overdue[0].task.commands_topic, overdue[0].task.partition) if overdue else None
        if asked is not None:
            self._leases.hurry(*asked)
        for due in self._leases.due(now):
            waiting = len(overdue) if asked == (due.topic, due.partition) else 0
            self._mail.lease(due, slots_used=self._slots_used, waiting=waiting)
