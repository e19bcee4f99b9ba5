"""What one person may hold of a gateway at once: views, connections, and asks without an answer."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

from perdure_topics.ports import LogError
from perdure_views.gateway.problems import ProblemError

ASKS_MAX: Final = 10_000
"""So many asks of one person wait for an answer at once."""
ASK_HELD_S: Final = 90.0
"""A host keeps an ask of the gateway so long; who still waits repeats it every 20 s."""


class Shares:
    """Who holds how many of a kind: no more than a share of all, where people are told apart."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._held: Counter[str] = Counter()

    def take(self, name: str, *, most: int, each: int) -> None:
        """One more for somebody. Raises ProblemError when there are so many already."""
        if self._held.total() >= most:
            raise ProblemError("too_many", f"{most} {self._what} are open already")
        if self._held[name] >= each:
            raise ProblemError(
                "too_many", f"{name} has {each} {self._what} open already: close one of them"
            )
        self._held[name] += 1

    def give_back(self, name: str) -> None:
        """One less."""
        self._held[name] -= 1
        if self._held[name] <= 0:
            del self._held[name]


class OpenAsks:
    """The asks of everybody that wait for an answer: counted by person, forgotten in time."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asks: dict[str, OrderedDict[str, float]] = {}

    def ask(self, name: str, correlation_id: str) -> None:
        """Somebody asks, or asks again. Raises LogError for one too many; it may be tried again."""
        now = self._clock()
        asks = self._asks.setdefault(name, OrderedDict())
        while asks and next(iter(asks.values())) < now:
            asks.popitem(last=False)
        if correlation_id not in asks and len(asks) >= ASKS_MAX:
            raise LogError(f"{ASKS_MAX} asks of {name} wait for an answer already")
        asks[correlation_id] = now + ASK_HELD_S
        asks.move_to_end(correlation_id)

    def answered(self, name: str, correlation_id: str) -> None:
        """An answer has gone out."""
        asks = self._asks.get(name)
        if asks is not None:
            asks.pop(correlation_id, None)
            if not asks:
                del self._asks[name]
