"""Bugs of tasks that a host hands to the worker of its process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors.partition.eager_tasks import EagerTasks
from perdure_actors.partition.outbox import Outbox
from perdure_actors.worker.protocol import ActivityDesk
from tests.simulation import bugs
from tests.simulation.eager_runs import SLOTS
from tests.simulation.mutant import LOST, OWNERS, Mutant

if TYPE_CHECKING:
    from perdure_actors.core.decision import SendTask
    from perdure_actors.partition.outbox import Held
    from perdure_actors.worker.eager_intake import Offer

_take_over = EagerTasks.take_over
_release = Outbox.release
_close = EagerTasks.close
_may = EagerTasks._may
_admit = ActivityDesk._admit


def passes_at_once(self: EagerTasks, held: Held) -> bool:
    """A task counts as sent as soon as the worker of the process has it."""
    taken = _take_over(self, held)
    if taken:
        _release(self._outbox, held)
    return taken


def released_before(_self: Outbox, _held: Held) -> None:
    """It was let pass at the hand-over."""


def drops(self: EagerTasks) -> None:
    """What an owner was told ends with it; its worker hears nothing, and goes on."""
    self._worker = None
    _close(self)
    self.mailbox.is_closed = False


def without_a_slot(self: ActivityDesk, offer: Offer, now: int) -> bool:
    """What is handed over begins at once, slot or no slot."""
    attempt = self._attempts.adopt(offer, now)
    if attempt is None:
        return False
    _admit(self, attempt, now)
    return True


def room_without_end(_self: ActivityDesk, _now: int) -> int:
    """There is always room."""
    return 10 * SLOTS


def may_always(self: EagerTasks, effect: SendTask) -> bool:
    """Also what is sent again, and what must be claimed first."""
    return _may(self, effect) or not self._doubt.is_on


EAGER: tuple[Mutant, ...] = (
    Mutant(
        "a task counts as sent once it is handed over",
        lambda: bugs.together(
            bugs.patched(EagerTasks, "take_over", passes_at_once),
            bugs.patched(Outbox, "release", released_before),
        ),
        ("host_crash", *OWNERS),
        "H",
        ("eager",),
    ),
    Mutant(
        "outcomes are dropped with the owner that was told",
        bugs.patched(EagerTasks, "close", drops),
        LOST,
        "H",
        ("eager",),
    ),
    Mutant(
        "what is handed over begins without a slot",
        lambda: bugs.together(
            bugs.patched(ActivityDesk, "_begin_eager", without_a_slot),
            bugs.patched(ActivityDesk, "_room_for_eager", room_without_end),
        ),
        (),
        "X",
        ("eager",),
    ),
    Mutant(
        "any task is handed over, whoever may have it",
        bugs.patched(EagerTasks, "_may", may_always),
        (),
        "F",
        ("eager",),
    ),
)
