"""The local activities of a host of the world: the real desk over the world's time, and scripts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, cast

from perdure_actors.worker.attempt import WORKER_SHUTDOWN, Attempt
from perdure_actors.worker.local_protocol import LocalDesk
from perdure_actors.worker.slots import FixedSlots
from tests.simulation.scripted import ScriptedProcess, Scripts

if TYPE_CHECKING:
    import asyncio

    from perdure_actors.worker.local_protocol import Deliver
    from perdure_schemas.tasks import ActivityTask
    from perdure_topics.ports import Clock, Headers
    from perdure_topics.simulated.simulated_log import SimulatedNode
    from tests.simulation.world import World

SLOTS = 3


class _Timer:
    """What an event loop gives back for a call that is due later."""

    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class SimLocals(ScriptedProcess):
    """What one incarnation of a host has its local activities run by."""

    desk: LocalDesk

    def __init__(
        self,
        world: World,
        node: SimulatedNode,
        owner: str,
        clock: Clock,
        *,
        crash: Callable[[], None],
    ) -> None:
        super().__init__(
            world, node, owner, Random(f"{world.settings.seed} locals of {owner}"), crash
        )
        loop = cast("asyncio.AbstractEventLoop", self)
        slots = FixedSlots(SLOTS)
        self.desk = LocalDesk(Scripts(self), slots=slots, identity=owner, loop=loop, clock=clock)
        self._errands: deque[Callable[[], None]] = deque()

    # -- what a host asks, on its own thread --

    def start(self, task: ActivityTask, headers: Headers, *, deliver: Deliver) -> None:
        """Run an attempt; its one report is delivered later."""
        self._soon(partial(self.desk.take, task, headers, deliver))

    def stop(self, token: bytes, reason: str) -> None:
        """Ask an attempt to stop."""
        self._soon(partial(self.desk.stop, token, reason))

    def _soon(self, errand: Callable[[], None]) -> None:
        """Hand an errand over to the other thread, which takes them in their order."""
        self._errands.append(errand)
        self.at(self.rng.randrange(2), self._take_errand)

    def _take_errand(self) -> None:
        self._errands.popleft()()

    # -- what the desk asks of its event loop --

    def call_later(self, delay_s: float, call: Callable[..., None], *args: Any) -> _Timer:
        """Call something so many seconds from now, unless that is cancelled."""
        timer = _Timer()

        def due() -> None:
            if not timer.is_cancelled:
                call(*args)

        self.at(round(delay_s * 1000), due)
        return timer

    # -- what the desk has run --

    def stopped(self, attempt: Attempt, reason: str) -> None:
        """Tell the desk of an attempt that stopped when it was asked to."""
        if reason == WORKER_SHUTDOWN:
            self.desk.hand_back(attempt, reason)
            self.desk.free(attempt)
        else:
            self.desk.canceled(attempt)
