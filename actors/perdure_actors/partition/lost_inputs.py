"""Inputs whose position the log does not have any more: looked at, recorded, and gone on from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from perdure_topics.ports import LogError

if TYPE_CHECKING:
    from perdure_actors.partition.services import Services
    from perdure_topics.ports import EndProbe

ANSWER_MS = 5
"""How often to look whether the log has said what it holds."""
UNKNOWN_MS = 1_000
"""How soon the log is asked again that could not say it."""


class Position(Protocol):
    """How far inputs are taken."""

    upto: int


class SaysLost(Protocol):
    """Whoever says in the log that inputs are gone."""

    def propose_lost(self, first: int, end: int) -> None:
        """Say that the topic holds no more than this, and go on from there."""


class LostInputs:
    """What follows when a reader's position is gone: only the log's own word says what is lost.

    While that is not known, nothing is read and nothing is called lost.
    """

    def __init__(
        self, services: Services, place: tuple[str, int], position: Position, transitions: SaysLost
    ) -> None:
        self._services = services
        self._topic, self._partition = place
        self._taken = position
        self._transitions = transitions
        self._why = ""
        self._probe: EndProbe | None = None
        self._again_ms = 0

    @property
    def is_open(self) -> bool:
        """Whether it is not known yet where to go on."""
        return bool(self._why)

    def begin(self, why: str) -> None:
        """A reader has said that its position is gone."""
        self._why = why
        self._probe = None
        self._again_ms = 0

    def wait_ms(self, most_ms: int) -> int:
        """How long nothing needs to be done here, at most so long."""
        return min(most_ms, ANSWER_MS) if self._why else most_ms

    def step(self) -> bool:
        """Look whether the log has answered; whether inputs are read again."""
        services = self._services
        now_ms = services.clock.monotonic_ms()
        if self._probe is None:
            if now_ms >= self._again_ms:
                self._probe = services.inputs.probe_end(self._topic, self._partition)
            return False
        try:
            span = self._probe.span()
        except LogError:
            self._probe = None
            self._again_ms = now_ms + UNKNOWN_MS
            return False
        if span is None:
            return False
        self._probe = None
        why, self._why = self._why, ""
        self._go_on(*span, why)
        return True

    def _go_on(self, first: int, end: int, why: str) -> None:
        services, taken = self._services, self._taken
        next_offset = taken.upto + 1
        if not first <= next_offset <= end:
            services.finding(
                "input_lost",
                f"{self._topic}-{self._partition}: inputs were read to {taken.upto}, and the topic"
                f" holds {first} to {end - 1}: {why}",
            )
            self._transitions.propose_lost(first, end)
        services.inputs.assign(self._topic, self._partition, taken.upto + 1)
