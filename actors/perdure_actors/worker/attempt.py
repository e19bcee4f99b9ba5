"""An attempt that a worker holds, and the records it writes about one. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Protocol

from perdure_actors.task_records import ReportHeader, report_header
from perdure_schemas.avro import COMMAND_BYTES_MAX, encode, write
from perdure_schemas.bounds import cut, fit_failure
from perdure_schemas.command_headers import AttemptReport
from perdure_schemas.commands import (
    ClaimActivity,
    CompleteActivity,
    ConfirmActivityCanceled,
    DetachActivity,
    FailActivity,
    HandBackActivity,
    HeartbeatActivity,
)
from perdure_schemas.payloads import Failure, FailureCause, Payload, ReplyTo
from perdure_schemas.tasks import ActivityTask
from perdure_topics.ports import Headers

CANCEL_REQUESTED = "cancel_requested"
NOT_FOUND = "not_found"
TIMED_OUT = "timed_out"
WORKER_SHUTDOWN = "worker_shutdown"
MESSAGE_CHARS_MAX = 10_000
_TRACE_HEADERS = frozenset(("traceparent", "tracestate", "baggage"))


class Phase(IntEnum):
    """Where an attempt stands in this worker."""

    WAITING = 0
    """It has no slot yet."""
    CLAIMING = 1
    """It has a slot and waits for its grant."""
    RUNNING = 2
    """Its code runs."""
    ENDED = 3
    """Its outcome is on the way, or nobody wants one."""


class Mailbox(Protocol):
    """Where an owner of a partition takes word of the tasks that it handed over."""

    @property
    def is_closed(self) -> bool:
        """Whether that owner is no more."""

    def deliver(self, token: bytes, outcome: AttemptReport, size: int) -> bool:
        """Leave an outcome; False, and nothing is left, when it must go by the log."""

    def decline(self, token: bytes) -> bool:
        """Say that an attempt has not begun and will not; False when nobody is left to hear it."""

    @property
    def ring(self) -> Callable[[], None]:
        """Wakes the owner for what was left."""


class Attempt:
    """A task that this worker holds, from the moment it was taken until it is reported."""

    __slots__ = (
        "claim",
        "claim_acked",
        "claim_sent_ms",
        "details",
        "details_due",
        "details_sent_ms",
        "headers",
        "key",
        "mailbox",
        "may_be_redelivery",
        "offset",
        "other_places",
        "permit",
        "phase",
        "promoted",
        "released",
        "run",
        "started_ms",
        "started_wall_ms",
        "taken_ms",
        "task",
        "task_partition",
        "timeout_set",
        "token",
        "told",
    )

    def __init__(
        self,
        task: ActivityTask,
        *,
        taken_ms: int,
        headers: Headers = (),
        place: tuple[int, int] = (-1, -1),
        may_be_redelivery: bool = False,
        mailbox: Mailbox | None = None,
    ) -> None:
        """An attempt that came at a partition and offset of the tasks topic, if it came by it."""
        self.task = task
        self.mailbox = mailbox
        """Where its outcome goes, if its host handed it over within this process."""
        self.token = task.token
        self.key = task.workflow_id.encode()
        self.headers = trace_headers(headers)
        self.task_partition, self.offset = place
        self.other_places: list[tuple[int, int]] | None = None
        """Where the same attempt came again while it was held."""
        self.may_be_redelivery = may_be_redelivery
        self.taken_ms = taken_ms
        self.phase = Phase.WAITING
        self.permit: object | None = None
        """What its slot was given with, while it has one."""
        self.released = False
        """Whether its offset is no longer needed to bring it back."""
        self.started_ms = 0
        self.started_wall_ms = 0
        self.promoted = False
        self.claim: bytes | None = None
        self.claim_sent_ms = 0
        self.claim_acked = False
        self.details: list[Payload] | None = None
        """Heartbeat details that have not been sent."""
        self.details_sent_ms = -1
        self.details_due = False
        self.timeout_set = False
        self.told = False
        """Whether its failure is in this process's log."""
        self.run: object = None
        """What the runner keeps of it."""

    def __repr__(self) -> str:
        task = self.task
        return (
            f"<Attempt {task.attempt} of {task.activity_type} {task.activity_id}"
            f" of workflow {task.workflow_id!r}>"
        )


def trace_headers(headers: Headers) -> Headers:
    """The W3C trace context among a record's headers."""
    if not headers:
        return ()
    return tuple(header for header in headers if header[0] in _TRACE_HEADERS)


def application_failure(
    message: str, type_name: str, *, non_retryable: bool = False, source: str = "perdure"
) -> Failure:
    """A failure that the worker itself reports."""
    cause = FailureCause(
        message=cut(message, MESSAGE_CHARS_MAX),
        type=type_name,
        non_retryable=non_retryable,
        source=source,
    )
    return Failure(chain=[cause])


class Reports:
    """The framed records that one worker writes about its attempts."""

    __slots__ = ("_identity", "_reply_partition", "_worker_id")

    def __init__(self, worker_id: str, *, identity: str, reply_partition: int) -> None:
        self._worker_id = worker_id
        self._identity = identity
        self._reply_partition = reply_partition

    def _header(self, attempt: Attempt) -> ReportHeader:
        return report_header(attempt.task, worker_id=self._worker_id, identity=self._identity)

    def completion(self, attempt: Attempt, result: Payload | None) -> CompleteActivity:
        """The result, before it is encoded."""
        return CompleteActivity(
            **self._header(attempt),
            result=result,
            started_ms=attempt.started_wall_ms,
        )

    def completed(self, attempt: Attempt, result: Payload | None) -> bytes:
        """The result; a failure that says so instead of one the log would not take."""
        task = attempt.task
        value = encode(self.completion(attempt, result))
        if len(value) > COMMAND_BYTES_MAX:
            return self.failed(attempt, too_large(task, "result", len(value)))
        return value

    def failed(self, attempt: Attempt, failure: Failure) -> bytes:
        """The failure as `failure` makes it, encoded."""
        return self.failure(attempt, failure)[1]

    def failure(self, attempt: Attempt, failure: Failure) -> tuple[FailActivity, bytes]:
        """The failure; a short one that says so instead of one the log would not take."""
        report, value = self._failure(attempt, failure)
        if len(value) > COMMAND_BYTES_MAX:
            report, value = self._failure(attempt, fit_failure(failure, COMMAND_BYTES_MAX // 2))
        return report, value

    def _failure(self, attempt: Attempt, failure: Failure) -> tuple[FailActivity, bytes]:
        return write(
            FailActivity(
                **self._header(attempt),
                failure=failure,
                started_ms=attempt.started_wall_ms,
            )
        )

    def cancellation(
        self, attempt: Attempt, details: Sequence[Payload] = ()
    ) -> tuple[ConfirmActivityCanceled, bytes]:
        """The end of an attempt that was asked to cancel; details too large are dropped."""
        report, value = self._cancellation(attempt, list(details))
        if len(value) > COMMAND_BYTES_MAX:
            report, value = self._cancellation(attempt, [])
        return report, value

    def _cancellation(
        self, attempt: Attempt, details: list[Payload]
    ) -> tuple[ConfirmActivityCanceled, bytes]:
        return write(
            ConfirmActivityCanceled(
                **self._header(attempt),
                details=details,
                started_ms=attempt.started_wall_ms,
            )
        )

    def heartbeat(self, attempt: Attempt, details: list[Payload]) -> bytes:
        """A sign of life with its details."""
        return encode(
            HeartbeatActivity(
                **self._header(attempt),
                details=details,
            )
        )

    def detached(self, attempt: Attempt) -> bytes:
        """An attempt that somebody else will report."""
        return encode(
            DetachActivity(
                **self._header(attempt),
                started_ms=attempt.started_wall_ms,
            )
        )

    def handed_back(self, attempt: Attempt, reason: str) -> bytes:
        """An attempt that another worker should run."""
        return encode(
            HandBackActivity(
                **self._header(attempt),
                reason=reason,
            )
        )

    def claim(self, attempt: Attempt, *, wants_grant: bool) -> bytes:
        """The word that this worker runs an attempt, or wants to."""
        return encode(
            ClaimActivity(
                **self._header(attempt),
                reply=ReplyTo(
                    partition=self._reply_partition,
                    correlation_id=claim_id(self._worker_id, attempt.token),
                ),
                wants_grant=wants_grant,
                started_ms=attempt.started_wall_ms,
            )
        )


def claim_id(worker_id: str, token: bytes) -> str:
    """The correlation id of a worker's claim.

    It names the worker, too: of two that claim one attempt and share a replies partition, neither
    may take the other's grant for its own.
    """
    return f"{worker_id}/{token.hex()}"


def too_large(task: ActivityTask, what: str, size: int) -> Failure:
    """The failure of an attempt whose outcome does not fit a record."""
    return application_failure(
        f"the {what} of activity {task.activity_type} takes {size} bytes as a record;"
        f" {COMMAND_BYTES_MAX} is the most. Return a reference to it, such as an object store's"
        " key, instead",
        "PayloadTooLargeError",
        non_retryable=True,
    )


def stop_failure(task: ActivityTask, *, has_ended: bool = True) -> Failure:
    """The failure of an attempt that had begun when its worker was stopped."""
    still = "" if has_ended else "; its code went on though it was cancelled"
    return application_failure(
        f"attempt {task.attempt} of activity {task.activity_type} was under way when its worker"
        f" was stopped, and did not end within its graceful_shutdown_timeout{still}",
        "WorkerShutdown",
    )


def timeout_failure(task: ActivityTask) -> Failure:
    """The failure of an attempt that this worker stopped at its start-to-close timeout."""
    cause = FailureCause(
        kind="timeout",
        message=(
            f"activity {task.activity_type} did not end within its start_to_close_timeout of"
            f" {task.start_to_close_ms / 1000:g} s"
        ),
        timeout_type="start_to_close",
        source="perdure",
    )
    return Failure(chain=[cause])
