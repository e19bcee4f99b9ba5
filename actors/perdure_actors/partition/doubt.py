"""Doubt: where hosts have died, code is run on one thing at a time, and the log says on which.

An input, a deadline, a lost worker, a report or a run that is tried again: whatever makes code run
is marked by an accepted record first. What was marked three times and not lived through does not
reach the code again. (Rule 10.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from perdure_schemas.events import InputTrying

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_actors.table_layout import Meta
    from perdure_schemas.transition import EpochBump, Transition
    from perdure_topics.ports import Clock

BUMPS_IN_DOUBT = 4
"""The own bump, and three before it with nothing accepted between them."""
LIVES_IN_DOUBT = 4
"""The own bump, and three before it whose owners wrote nothing later than LIFE_MS after it."""
LIFE_MS = 10_000
MARKS_MAX = 3
DOUBTS = 64
FORGOTTEN_MS = 2_000
"""What was to be tried and is not asked for again for so long is not there any more."""
INPUT: Final = "input"
QUERY: Final = "the query"
"""One of a run: whoever asks it again is asked the same, so its marks are kept beyond the input."""
QUERIES_KEPT = 100
_BETWEEN = "\0"


class Trial(NamedTuple):
    """One thing that makes code run."""

    kind: str
    """`input`, or what else it is."""
    owner: str
    """The run or the workflow id that it is about; an input's offset."""
    id: str = ""

    @property
    def mark(self) -> str:
        """By what its marks are known."""
        return self.owner if self.kind == INPUT else _BETWEEN.join(self[1:] + self[:1])

    def event(self) -> InputTrying:
        """The event that says it is about to be tried."""
        if self.kind == INPUT:
            return InputTrying(offset=int(self.owner))
        return InputTrying(offset=-1, kind=self.kind, owner=self.owner, id=self.id)

    def __str__(self) -> str:
        if self.kind == INPUT:
            return f"the input at offset {self.owner}"
        return f"{self.kind} {self.id} of {self.owner}" if self.id else f"{self.kind} {self.owner}"


class Marks(Protocol):
    """Whoever says in the log what is about to be tried."""

    @property
    def all_accepted(self) -> bool:
        """Whether nothing that is proposed waits for its acceptance."""

    def propose_mark(self, event: InputTrying) -> None:
        """Say in the log that something is about to be run that may have killed its host."""


class Refuses(Protocol):
    """Whoever runs code, unless it is told why not."""

    refusal: str


class Doubt:
    """What one owner does one at a time, because hosts have died there."""

    def __init__(
        self,
        meta: Meta,
        clock: Clock,
        *,
        bumps: int,
        marks: Marks,
        code: Refuses,
        put_off: Callable[[], None],
    ) -> None:
        """`put_off` is told that what was begun is not done yet."""
        self._meta = meta
        self._clock = clock
        self._marks = marks
        self._code = code
        self._put_off = put_off
        in_doubt = (
            bumps >= BUMPS_IN_DOUBT
            or meta.short_lives >= LIVES_IN_DOUBT
            or not all(map(_is_kept, meta.marks))
        )
        self._left = DOUBTS if in_doubt else 0
        self._began_ms = clock.monotonic_ms()
        self._trial: Trial | None = None
        self._wanted: Trial | None = None
        self._asked_ms = 0

    @property
    def is_on(self) -> bool:
        """Whether things are done one at a time."""
        return self._left > 0

    @property
    def is_taken(self) -> bool:
        """Whether something else is to be done before the next input."""
        return (self._trial or self._wanted) is not None and not self._is_forgotten()

    def clears(self, trial: Trial) -> bool:
        """Whether something may be done now; where hosts have died only once that is in the log.

        One that may be is followed by `over`.
        """
        if not self._left:
            return True
        if self._may(trial):
            return True
        self._put_off()
        return False

    def _may(self, trial: Trial) -> bool:
        if self._trial not in (None, trial) and not self._is_forgotten():
            self._want(trial)
            return False
        self._asked_ms = self._clock.monotonic_ms()
        if not self._marks.all_accepted:
            self._want(trial)
            return False
        if self._trial != trial:
            self._trial, self._wanted = trial, None
            self._marks.propose_mark(trial.event())
            return False
        self._trial = self._wanted = None
        self._code.refusal = self.refusal(trial)
        return True

    def refusal(self, trial: Trial) -> str:
        """Why no code may be run on something; empty when it may."""
        if self.marks_of(trial) <= MARKS_MAX:
            return ""
        return (
            f"{trial} was tried {MARKS_MAX} times and each time its host died; the code is not run"
            " on it again"
        )

    def marks_of(self, trial: Trial) -> int:
        """How often the log says that something was tried and not lived through."""
        return self._meta.marks.get(trial.mark, 0) if self._meta.marks else 0

    def over(self) -> None:
        """What was cleared is done, and its host lives."""
        if self._left:
            self._code.refusal = ""
            lived_ms = self._clock.monotonic_ms() - self._began_ms
            if self._left > 1 or lived_ms >= LIFE_MS:
                self._left -= 1

    def _want(self, trial: Trial) -> None:
        """Inputs wait for what else is to be done: there is no end to them."""
        if trial.kind != INPUT and (self._wanted is None or self._is_forgotten()):
            self._wanted = trial
            self._asked_ms = self._clock.monotonic_ms()

    def _is_forgotten(self) -> bool:
        return self._clock.monotonic_ms() - self._asked_ms > FORGOTTEN_MS


def add_mark(meta: Meta, event: InputTrying) -> None:
    """Something was tried once more by a host in doubt."""
    kind = event.kind or INPUT
    mark = Trial(kind, str(event.offset) if kind == INPUT else event.owner, event.id).mark
    meta.marks = {**meta.marks, mark: meta.marks.get(mark, 0) + 1}
    kept = [mark for mark in meta.marks if _is_kept(mark)]
    for mark in kept[:-QUERIES_KEPT]:
        del meta.marks[mark]


def _is_kept(mark: str) -> bool:
    return mark.endswith(_BETWEEN + QUERY)


def purge_marks(meta: Meta, upto: int, *owners: str) -> None:
    """What is covered is tried no more, nor what ended in a transition of its run."""
    if meta.marks:
        heads = tuple(owner + _BETWEEN for owner in owners if owner)
        meta.marks = {
            mark: count
            for mark, count in meta.marks.items()
            if _is_kept(mark)
            or (not mark.startswith(heads) if _BETWEEN in mark else int(mark) > upto)
        }


def begin_life(meta: Meta, bump: EpochBump) -> None:
    """A take-over: the life of an owner begins."""
    meta.short_lives += 1
    meta.bump_ms = bump.time_ms


def live(meta: Meta, envelope: Transition) -> None:
    """An owner wrote something: one that has lived for long enough takes the doubt away."""
    if meta.short_lives > 1 and envelope.time_ms - meta.bump_ms >= LIFE_MS:
        meta.short_lives = 1
