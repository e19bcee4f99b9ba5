"""Bugs of workers that stop or stand still, and of tasks that they hand back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors.core.decision import SendAgain
from perdure_actors.partition import outbox
from tests.simulation import bugs
from tests.simulation.mutant import OWNERS, Mutant
from tests.simulation.workers import SimWorker

if TYPE_CHECKING:
    from tests.simulation.attempts import Attempt


def handed_back(self: SimWorker, attempt: Attempt) -> None:
    """What a stop cuts short is handed back, as if it had not begun."""
    self._hand_back(attempt, "worker_shutdown")


def is_silent(_self: SimWorker, _now_ms: int) -> None:
    """Leases come from the event loop, as everything else."""


STOPS: tuple[Mutant, ...] = (
    Mutant(
        "an attempt that a stop cuts short is handed back",
        bugs.patched(SimWorker, "_cut_short", handed_back),
        (),
        "F",
        ("stops",),
    ),
    Mutant(
        "a worker whose event loop stands still is silent",
        bugs.patched(SimWorker, "_beside_the_loop", is_silent),
        (),
        "T",
        ("stops",),
    ),
    Mutant(
        "a task that was handed back is not kept until it has gone out",
        bugs.patched(outbox, "KEPT", tuple(kind for kind in outbox.KEPT if kind is not SendAgain)),
        ("handed_back", "slow_append", *OWNERS),
        "H",
        ("stops",),
    ),
)
