"""How far inputs have been read: deadlines that an unread command could refute wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from perdure_actors.core.liveness import STOOD_MS
from perdure_topics.ports import LogError

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_actors import table_layout
    from perdure_actors.core.liveness import Liveness
    from perdure_topics.ports import EndProbe, Tail

HELD_BACK_MAX = 1_000
"""So many deadlines that wait are kept in memory; more are found in the table again."""
HELD_MS = 10_000
"""What was appended and cannot be read for so long is a finding."""
HELD_AGAIN_MS = 60_000
ANSWER_MS = 5
"""How often to look whether the log has said where it ends."""
UNKNOWN_MS = 1_000
"""How soon the log is asked again that could not say where it ends."""
READING_MS = 50
"""How often to look whether inputs are read to there."""


class Position(Protocol):
    """How far inputs are taken."""

    upto: int


class KeepsTime(Protocol):
    """Whoever has recorded time, and knows of the workers."""

    liveness: Liveness

    def now_ms(self) -> int:
        """Recorded time."""


class DueAgain(Protocol):
    """Whoever looks at deadlines when they are due."""

    def again(self, alarm: table_layout.Alarm) -> None:
        """Look at one again."""

    def load(self) -> None:
        """Look at all of them again."""


class Watermark:
    """Up to which time the inputs of one shard are taken.

    The log's own timestamps do not tell: its clock may be ahead of this host's, by which deadlines
    are set. So the log is asked where it ends, and inputs have been read to the moment of asking
    once the reader's position is there. Offsets of records do not tell, either: transactions leave
    marks behind them that are no records, and hide what was appended while they are open.
    """

    def __init__(
        self,
        inputs: Tail,
        place: tuple[str, int],
        position: Position,
        *,
        time: KeepsTime,
        deadlines: DueAgain,
        finding: Callable[[str, str], None],
    ) -> None:
        """`place` is the topic and partition that inputs come from."""
        self._inputs = inputs
        self._topic, self._partition = place
        self._taken = position
        self._time = time
        self._deadlines = deadlines
        self._finding = finding
        self._read_to_ms = 0
        self._probe: EndProbe | None = None
        self._asked_ms = 0
        self._again_ms = 0
        """When the log is asked again after it could not say where it ends."""
        self._end: int | None = None
        """Where the log ended at or after it was asked, once it has answered."""
        self._held_back: list[table_layout.Alarm] = []
        self._holds_more = False
        """Whether there are more of them than are kept here."""
        self._idle: tuple[int, int] = (position.upto, 0)
        """The last input taken, and when the log is asked whether there are others."""
        self._stands_at = -1
        self._say_at_ms = 0
        self.is_in_hand: Callable[[], bool] = lambda: False
        """Whether an input was taken from the log that is not decided yet; the inbox says."""
        self.is_behind: Callable[[], bool] = lambda: False
        """Whether word of workers that never comes by the log waits to be decided on."""
        self.held_by = ""
        """What keeps inputs from being decided, where this host knows it."""

    def wait_ms(self, most_ms: int) -> int:
        """How long nothing needs to be done here, at most so long."""
        if self._probe is None:
            if not self._held_back:
                return most_ms
            return max(0, min(most_ms, self._again_ms - self._time.now_ms()))
        return min(most_ms, ANSWER_MS if self._end is None else READING_MS)

    def has_read_to(self, due_ms: int) -> bool:
        """Whether every input appended before a moment has been taken; if not, the log is asked."""
        if self.is_behind():
            return False
        if self._read_to_ms >= due_ms:
            return True
        self._ask()
        return False

    def hold_back(self, alarm: table_layout.Alarm) -> None:
        """Keep a deadline until inputs are read to it."""
        if len(self._held_back) < HELD_BACK_MAX:
            self._held_back.append(alarm)
        else:
            self._holds_more = True

    def check(self, now_ms: int) -> None:
        """Look whether the log has answered, and inputs are taken to where it said."""
        if self._probe is None:
            if self._held_back:
                self._ask()
            else:
                self._look_when_idle(now_ms)
            return
        try:
            end = self._probe.end()
        except LogError:
            # Not known is not read to: what waits goes on waiting, and the log is asked again.
            self._probe = None
            self._again_ms = now_ms + UNKNOWN_MS
            return
        if end is not None:
            # Less than before: the log was cut back, and there is no more to read than this.
            self._end = end if self._end is None else min(self._end, end)
        if self._end is None:
            return
        position = self._position()
        if position >= self._end:
            self._read_to_ms = max(self._read_to_ms, self._asked_ms)
            if now_ms - self._asked_ms >= STOOD_MS:
                # What workers said while the log was away may still be on its way.
                self._time.liveness.renew(now_ms)
            self._let_go()
        elif position != self._stands_at:
            self._stands_at = position
            self._say_at_ms = now_ms + HELD_MS
        elif now_ms >= self._say_at_ms:
            self._say_at_ms = now_ms + HELD_AGAIN_MS
            self._say_held(position, self._end)
            self._probe = self._new_probe()

    def _ask(self) -> None:
        now_ms = self._time.now_ms()
        if self._probe is None and now_ms >= self._again_ms:
            self._probe = self._new_probe()
            self._asked_ms = now_ms
            self._end = None
            self._stands_at = -1

    def _new_probe(self) -> EndProbe:
        return self._inputs.probe_end(self._topic, self._partition)

    def _position(self) -> int:
        """Below this offset every input was decided, or is nothing that is ever read."""
        if self.is_in_hand():
            return self._taken.upto + 1
        return self._inputs.position(self._topic, self._partition)

    def _look_when_idle(self, now_ms: int) -> None:
        """Nothing comes in: either there is nothing, or something stands before it."""
        upto, at_ms = self._idle
        if upto != self._taken.upto or not at_ms:
            self._idle = (self._taken.upto, now_ms + HELD_MS)
        elif now_ms >= at_ms:
            self._idle = (upto, now_ms + HELD_MS)
            self._ask()

    def _say_held(self, position: int, end: int) -> None:
        where = f"{self._topic}-{self._partition}"
        self._finding(
            "inputs_held",
            self.held_by
            or f"{where} can be read to offset {position} and was appended to offset {end}: a"
            " transaction of another producer seems to be open. Inputs behind it wait, and"
            " timeouts that one of them may refute. If its producer is gone, the broker ends it"
            " after its transaction timeout; else: kafka-transactions.sh find-hanging",
        )

    def _let_go(self) -> None:
        """Ask no more; the deadlines that waited are looked at again."""
        self._probe = None
        self._end = None
        held, self._held_back = self._held_back, []
        if self._holds_more:
            # Their rows are where they were: the walk over them begins again.
            self._holds_more = False
            self._deadlines.load()
            return
        for alarm in held:
            self._deadlines.again(alarm)
