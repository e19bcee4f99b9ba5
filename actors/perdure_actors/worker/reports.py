"""What a worker sends about its attempts, and what the log's word on it means for their offsets."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from perdure_actors.worker.attempt import Attempt, Reports, application_failure
from perdure_actors.worker.eager_intake import EagerIntake, Posted
from perdure_actors.worker.lease import DueLease
from perdure_actors.worker.record_sender import Outbox, Parcel
from perdure_actors.worker.task_reader import TaskIntake
from perdure_schemas.avro import COMMAND_BYTES_MAX, encode
from perdure_schemas.command_headers import AttemptReport
from perdure_schemas.commands import CompleteActivity, WorkerLease
from perdure_schemas.payloads import Failure, Payload
from perdure_schemas.version import VERSION
from perdure_topics.ports import Clock

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WorkerFacts:
    """Who a worker is and how much it takes on."""

    task_queue: str
    worker_id: str
    identity: str
    slots: int
    activity_types: tuple[str, ...]
    reply_partition: int
    heartbeat_throttle_ms_max: int = 60_000
    heartbeat_throttle_ms_default: int = 30_000


class ActivityMail:
    """Sends reports; an attempt's offset is done with once the log has its result or claim."""

    def __init__(
        self,
        facts: WorkerFacts,
        outbox: Outbox,
        *,
        intake: TaskIntake,
        clock: Clock,
        eager: EagerIntake | None = None,
    ) -> None:
        self._facts = facts
        self._eager = eager
        self._outbox = outbox
        self._intake = intake
        self._clock = clock
        self._reports = Reports(
            facts.worker_id, identity=facts.identity, reply_partition=facts.reply_partition
        )

    def completed(self, attempt: Attempt, result: Payload | None) -> None:
        """Send the result."""
        if attempt.mailbox is not None:
            size = len(result.data) if result is not None else 0
            if self._post(attempt, self._reports.completion(attempt, result), size):
                return
        self._send(attempt, self._reports.completed(attempt, result))

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """Send the failure, and before it what the last heartbeat left."""
        self._report(attempt, *self._reports.failure(attempt, failure))

    def canceled(self, attempt: Attempt, details: Sequence[Payload]) -> None:
        """Send the confirmation, and before it what the last heartbeat left."""
        self._report(attempt, *self._reports.cancellation(attempt, details))

    def _report(self, attempt: Attempt, outcome: AttemptReport, value: bytes) -> None:
        if not self._post(attempt, outcome, len(value)):
            self.flush_details(attempt)
            self._send(attempt, value)

    def _post(self, attempt: Attempt, outcome: AttemptReport, size: int) -> bool:
        """Leave an outcome with the host of this process, if it handed the attempt over."""
        return self._eager is not None and self._eager.post(attempt, outcome, size)

    def post_by_log(self, posted: Posted) -> None:
        """Send an outcome whose host lets go of its partition before it is accepted."""
        outcome = posted.outcome
        if isinstance(outcome, CompleteActivity):
            self._send(posted.attempt, self._reports.completed(posted.attempt, outcome.result))
        else:
            self._send(posted.attempt, encode(outcome))

    def detached(self, attempt: Attempt) -> None:
        """Say that somebody else will report it, and before it what the last heartbeat left."""
        self.flush_details(attempt)
        self._send(attempt, self._reports.detached(attempt))

    def handed_back(self, attempt: Attempt, reason: str) -> None:
        """Give the attempt back, and before it what the last heartbeat left."""
        if self._eager is not None and self._eager.decline_attempt(attempt):
            return
        self.flush_details(attempt)
        self._send(attempt, self._reports.handed_back(attempt, reason))

    def claim(self, attempt: Attempt, *, wants_grant: bool) -> None:
        """Send the claim, the same bytes whenever it is sent again."""
        if attempt.claim is None:
            attempt.claim = self._reports.claim(attempt, wants_grant=wants_grant)
        self._outbox.send(
            attempt.task.commands_topic,
            attempt.task.partition,
            attempt.claim,
            key=attempt.key,
            headers=attempt.headers,
            on_ack=self._claim_acked,
            on_refused=self._note_refused,
            subject=attempt,
        )

    def details_due_ms(self, attempt: Attempt) -> int:
        """From when on the throttle lets the next heartbeat of an attempt pass."""
        if attempt.details_sent_ms < 0:
            return 0
        throttle_ms = self._facts.heartbeat_throttle_ms_default
        if attempt.task.heartbeat_ms > 0:
            throttle_ms = attempt.task.heartbeat_ms * 4 // 5
        return attempt.details_sent_ms + min(throttle_ms, self._facts.heartbeat_throttle_ms_max)

    def flush_details(self, attempt: Attempt) -> None:
        """Send what the last heartbeat left, unless that has gone already."""
        details = attempt.details
        if details is None:
            return
        attempt.details = None
        attempt.details_sent_ms = self._clock.monotonic_ms()
        value = self._reports.heartbeat(attempt, details)
        if len(value) > COMMAND_BYTES_MAX:
            logger.error(
                "heartbeat details of %r take %d bytes; %d is the most: sent without them",
                attempt,
                len(value),
                COMMAND_BYTES_MAX,
            )
            value = self._reports.heartbeat(attempt, [])
        self._outbox.send(
            attempt.task.commands_topic,
            attempt.task.partition,
            value,
            key=attempt.key,
            on_refused=self._note_refused,
            subject=attempt,
        )

    def lease(
        self, due: DueLease, *, slots_used: int, waiting: int = 0, stopping: bool = False
    ) -> None:
        """Tell a partition that this worker is alive, or that it stops; and how many tasks wait."""
        facts = self._facts
        lease = WorkerLease(
            worker_id=facts.worker_id,
            task_queue=facts.task_queue,
            reply_partition=facts.reply_partition,
            lease_ms=due.lease_ms,
            identity=facts.identity,
            slots=facts.slots,
            slots_used=slots_used,
            waiting=waiting,
            activity_types=list(facts.activity_types),
            version=VERSION,
            stopping=stopping,
        )
        self._outbox.send(due.topic, due.partition, encode(lease), key=facts.worker_id.encode())

    def _send(self, attempt: Attempt, value: bytes) -> None:
        self._outbox.send(
            attempt.task.commands_topic,
            attempt.task.partition,
            value,
            key=attempt.key,
            headers=attempt.headers,
            on_ack=self._acked,
            on_refused=self._refused,
            subject=attempt,
        )

    def _acked(self, parcel: Parcel) -> None:
        attempt = parcel.subject
        assert isinstance(attempt, Attempt)
        if not attempt.released:
            attempt.released = True
            self._intake.done(attempt.task_partition, attempt.offset)
            for partition, offset in attempt.other_places or ():
                self._intake.done(partition, offset)

    def _claim_acked(self, parcel: Parcel) -> None:
        attempt = parcel.subject
        assert isinstance(attempt, Attempt)
        attempt.claim_acked = True
        self._acked(parcel)

    def _refused(self, parcel: Parcel, reason: str) -> None:
        """The log will never take this outcome: send one that says so in its place."""
        attempt = parcel.subject
        assert isinstance(attempt, Attempt)
        self._note_refused(parcel, reason)
        failure = application_failure(
            f"the log refused a record of {len(parcel.value)} bytes about activity"
            f" {attempt.task.activity_type}: {reason}",
            "PayloadTooLargeError",
            non_retryable=True,
        )
        self._outbox.send(
            parcel.topic,
            parcel.partition,
            self._reports.failed(attempt, failure),
            key=attempt.key,
            on_ack=self._acked,
            subject=attempt,
        )

    def _note_refused(self, parcel: Parcel, reason: str) -> None:
        logger.error(
            "%s, partition %d, would not take a record of %d bytes about %r: %s",
            parcel.topic,
            parcel.partition,
            len(parcel.value),
            parcel.subject,
            reason,
        )
