"""Tasks that the host of this process hands to its activity worker, without the tasks topic.

The host offers on its own thread, the worker takes on its loop's; each is woken once for all that
a turn of the other brought. What cannot begin at once is declined, and goes by the topic.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from perdure_actors.worker.attempt import Attempt, Mailbox
    from perdure_schemas.command_headers import AttemptReport
    from perdure_schemas.tasks import ActivityTask
    from perdure_topics.ports import Headers


DYNAMIC: Final = ""
"""The name of an activity that takes every type which has no other."""


class Offer(NamedTuple):
    """A task that is handed over."""

    task: ActivityTask
    headers: Headers
    mailbox: Mailbox


class Posted(NamedTuple):
    """An outcome in a mailbox, and the attempt it is of."""

    attempt: Attempt
    outcome: AttemptReport


class EagerIntake:
    """Between the shards of a host and the activity worker of their process."""

    def __init__(self, activity_types: Iterable[str]) -> None:
        self._types = frozenset(activity_types)
        self._lock = threading.Lock()
        self._room = 0
        """How many more may be offered: free slots that nobody waits for."""
        self._offered: deque[Offer] = deque()
        self._lost: deque[tuple[Mailbox, list[bytes]]] = deque()
        self._rings: dict[Mailbox, None] = {}
        self._posted: dict[bytes, Posted] = {}
        self._is_woken = False
        self._is_closing = False
        self._wake: Callable[[], None] = _nobody
        self._later: Callable[[Callable[[], None]], None] = _now

    # -- on the host's thread --

    def offer(self, task: ActivityTask, headers: Headers, mailbox: Mailbox) -> bool:
        """Hand over a task for a free slot; False, and nothing happens, when there is none."""
        if task.activity_type not in self._types and DYNAMIC not in self._types:
            return False
        with self._lock:
            if self._room <= 0:
                return False
            self._room -= 1
            self._offered.append(Offer(task, headers, mailbox))
            self._is_woken = True
        return True

    def flush(self) -> None:
        """Wake the worker, if anything was offered: once for all of a turn."""
        if self._is_woken:
            self._is_woken = False
            self._wake()

    def settled(self, token: bytes) -> None:
        """An outcome is accepted, or nobody wants it: it need not go by the log."""
        posted = self._posted.pop(token, None)
        if posted is not None:
            posted.attempt.released = True
        if self._is_closing and not self._posted:
            self._wake()

    def lose(self, mailbox: Mailbox, outcomes: list[bytes]) -> None:
        """An owner is no more: what it was told goes by the log, and so does all that follows."""
        self._lost.append((mailbox, outcomes))
        self._wake()

    # -- on the worker's thread --

    def open(
        self,
        *,
        wake: Callable[[], None],
        later: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """Begin; `later` calls something once all that is at hand has been done."""
        self._wake = wake
        self._later = later or _now

    def begin_close(self) -> None:
        """Take no offer any more; the worker is woken when the last outcome is accepted, too."""
        with self._lock:
            self._is_closing = True
            self._room = 0

    @property
    def is_settled(self) -> bool:
        """Whether every outcome that was left is accepted."""
        return not self._posted and not self._lost

    def publish(self, room: int) -> None:
        """Say how many more tasks could begin now; what was offered since takes its part."""
        with self._lock:
            self._room = 0 if self._is_closing else room - len(self._offered)

    def take(self) -> list[Offer]:
        """Take what was offered."""
        if not self._offered:
            return []
        with self._lock:
            taken = list(self._offered)
            self._offered.clear()
        return taken

    def take_lost(self) -> list[tuple[Mailbox, list[Posted]]]:
        """Take the owners that are no more, each with the outcomes that must go by the log."""
        lost = []
        while self._lost:
            mailbox, tokens = self._lost.popleft()
            found = [self._posted.pop(token, None) for token in tokens]
            lost.append((mailbox, [posted for posted in found if posted is not None]))
        return lost

    def decline(self, offer: Offer) -> None:
        """Give a task back that has not begun."""
        if offer.mailbox.decline(offer.task.token):
            self._ring(offer.mailbox)

    def decline_attempt(self, attempt: Attempt) -> bool:
        """Give an attempt back that has not begun; False when it did not come this way."""
        mailbox = attempt.mailbox
        if mailbox is None or attempt.promoted or not mailbox.decline(attempt.token):
            return False
        self._ring(mailbox)
        return True

    def post(self, attempt: Attempt, outcome: AttemptReport, size: int) -> bool:
        """Leave an outcome with the owner that handed the attempt over; False: it goes by the log.

        Word of an attempt of which something is on the log, or that came again, stays there.
        """
        mailbox = attempt.mailbox
        if (
            mailbox is None
            or attempt.promoted
            or attempt.details is not None
            or attempt.other_places is not None
        ):
            return False
        # First, because the owner may be done with it at once.
        self._posted[attempt.token] = Posted(attempt, outcome)
        if not mailbox.deliver(attempt.token, outcome, size):
            self._posted.pop(attempt.token, None)
            return False
        self._ring(mailbox)
        return True

    def _ring(self, mailbox: Mailbox) -> None:
        is_first = not self._rings
        self._rings[mailbox] = None
        if is_first:
            self._later(self.ring_out)

    def ring_out(self) -> None:
        """Wake the owners that were left something: each once."""
        while self._rings:
            self._rings.popitem()[0].ring()


def _nobody() -> None:
    """No worker is there to be woken."""


def _now(call: Callable[[], None]) -> None:
    """Where no loop turns, nothing is gathered."""
    call()
