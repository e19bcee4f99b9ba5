"""Timers as a run's code sees them: asked for, cancelled, due. How they become due is not seen."""

from __future__ import annotations

from typing import Protocol

from perdure_actors.replay.loop import Loop, TimerHandle
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.events import TimerCanceled, TimerStarted
from perdure_schemas.payloads import Record


class Asker(Protocol):
    """Where what the code asks for goes."""

    loop: Loop
    converter: PayloadConverter
    is_closed: bool

    def ask(self, output: Record) -> None:
        """Add an output event to those of this activation."""

    def take_back(self, output: Record) -> bool:
        """Remove an output that this very activation asked for; whether it did."""

    def call_site(self) -> str:
        """Where user code stands."""


class Timers:
    """The timers of one run."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._pending: dict[str, tuple[TimerStarted, TimerHandle]] = {}
        self._count = 0

    def start(self, delay_ms: int, handle: TimerHandle, summary: str | None) -> str:
        """Ask for a durable timer; its id."""
        self._count += 1
        timer_id = str(self._count)
        asker = self._asker
        payload = None if summary is None else asker.converter.to_payload(summary)
        started = TimerStarted(
            timer_id=timer_id, duration_ms=delay_ms, summary=payload, call_site=asker.call_site()
        )
        asker.ask(started)
        self._pending[timer_id] = started, handle
        return timer_id

    def cancel(self, timer_id: str) -> None:
        """Ask for a timer no longer."""
        asker = self._asker
        found = None if asker.is_closed else self._pending.pop(timer_id, None)
        if found is not None and not asker.take_back(found[0]):
            asker.ask(TimerCanceled(timer_id=timer_id, call_site=asker.call_site()))

    def fire(self, timer_id: str) -> None:
        """A timer is due."""
        found = self._pending.pop(timer_id, None)
        if found is not None:
            self._asker.loop.fire(found[1])
