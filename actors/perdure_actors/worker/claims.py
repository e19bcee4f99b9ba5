"""The claims of a worker: which attempts wait for a host's word, and when to ask again."""

from __future__ import annotations

from perdure_actors.worker.attempt import Attempt, claim_id
from perdure_actors.worker.lease import LeaseBook
from perdure_actors.worker.reports import ActivityMail

CLAIM_REPEAT_MS = 5_000


class ClaimBook:
    """Attempts that hosts know this worker by, found by the correlation id of their claim."""

    def __init__(self, mail: ActivityMail, leases: LeaseBook, worker_id: str) -> None:
        self._mail = mail
        self._worker_id = worker_id
        self._leases = leases
        self._by_correlation_id: dict[str, Attempt] = {}
        self._unanswered: dict[Attempt, None] = {}

    def claim(self, attempt: Attempt, now_ms: int, *, wants_grant: bool) -> None:
        """Report that an attempt runs, or ask whether it may."""
        attempt.promoted = True
        self._by_correlation_id[claim_id(self._worker_id, attempt.token)] = attempt
        self._leases.hold(attempt.task.commands_topic, attempt.task.partition)
        self._ask(attempt, now_ms, wants_grant=wants_grant)

    def find(self, correlation_id: str) -> Attempt | None:
        """The attempt whose claim an answer is to."""
        return self._by_correlation_id.get(correlation_id)

    def answered(self, attempt: Attempt) -> None:
        """The host has spoken."""
        self._unanswered.pop(attempt, None)

    def ended(self, attempt: Attempt) -> None:
        """The attempt needs no answer any more."""
        if attempt.claim is not None:
            self._unanswered.pop(attempt, None)
            self._by_correlation_id.pop(claim_id(self._worker_id, attempt.token), None)
            self._leases.let_go(attempt.task.commands_topic, attempt.task.partition)

    def repeat(self, now_ms: int) -> None:
        """Ask again, with the same bytes, what the log has but no host has answered."""
        for attempt in list(self._unanswered):
            if now_ms - attempt.claim_sent_ms < CLAIM_REPEAT_MS:
                return
            if attempt.claim_acked:
                del self._unanswered[attempt]
                self._ask(attempt, now_ms, wants_grant=False)

    def _ask(self, attempt: Attempt, now_ms: int, *, wants_grant: bool) -> None:
        attempt.claim_sent_ms = now_ms
        attempt.claim_acked = False
        self._unanswered[attempt] = None
        self._mail.claim(attempt, wants_grant=wants_grant)
