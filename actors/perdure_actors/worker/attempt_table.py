"""The attempts that a worker holds, and the tokens of those that it has ended lately."""

from __future__ import annotations

from collections import Counter, OrderedDict

from perdure_actors.worker.attempt import Attempt
from perdure_actors.worker.eager_intake import Offer
from perdure_actors.worker.task_checks import read_task
from perdure_actors.worker.task_reader import TaskIntake
from perdure_topics.ports import StoredRecord

RECENT_MAX = 10_000


class AttemptBook:
    """Makes an attempt of each task, once, however often it comes."""

    def __init__(self, intake: TaskIntake, counts: Counter[str]) -> None:
        self._intake = intake
        self._counts = counts
        self._held: dict[bytes, Attempt] = {}
        self._recent: OrderedDict[bytes, None] = OrderedDict()
        self._leaving: dict[bytes, Attempt] = {}
        """Ended attempts of which the log has no word yet."""

    @property
    def held(self) -> list[Attempt]:
        """The attempts that have not been reported."""
        return list(self._held.values())

    def find(self, token: bytes) -> Attempt | None:
        """The attempt of a token, while it is held."""
        return self._held.get(token)

    def receive(self, record: StoredRecord, now_ms: int) -> Attempt | None:
        """The attempt of a task that came; None when it is here already, or is no task."""
        task = read_task(record)
        if task is None:
            self._counts["undecodable"] += 1
            self._intake.done(record.partition, record.offset)
            return None
        held = self._held.get(task.token) or self._leaving.get(task.token)
        if held is not None or task.token in self._recent:
            self._counts["duplicates"] += 1
            # Until the log has word of the attempt, its task must come again if this worker dies.
            if held is None or held.released:
                self._intake.done(record.partition, record.offset)
            else:
                held.other_places = [*(held.other_places or ()), (record.partition, record.offset)]
            return None
        attempt = Attempt(
            task,
            taken_ms=now_ms,
            headers=record.headers,
            place=(record.partition, record.offset),
            may_be_redelivery=self._intake.may_be_redelivery(record),
        )
        self._held[task.token] = attempt
        return attempt

    def adopt(self, offer: Offer, now_ms: int) -> Attempt | None:
        """The attempt of a task that was handed over; None when it came before."""
        token = offer.task.token
        if token in self._held or token in self._recent:
            return None
        attempt = Attempt(offer.task, taken_ms=now_ms, headers=offer.headers, mailbox=offer.mailbox)
        self._held[token] = attempt
        return attempt

    def ended(self, attempt: Attempt) -> None:
        """It has its outcome: if its task comes again, that is a double."""
        self._held.pop(attempt.token, None)
        self._recent[attempt.token] = None
        if len(self._recent) > RECENT_MAX:
            self._recent.popitem(last=False)
        self._leaving[attempt.token] = attempt
        while self._leaving:
            token, first = next(iter(self._leaving.items()))
            if not first.released and len(self._leaving) <= RECENT_MAX:
                break
            del self._leaving[token]

    def may_return(self, attempt: Attempt) -> None:
        """It may come again, and then it is to run."""
        self._recent.pop(attempt.token, None)
        self._leaving.pop(attempt.token, None)
