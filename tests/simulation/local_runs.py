"""The local activities of a host of the world: the real desk over the world's time, and scripts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, cast

import msgspec

from perdure_actors.worker.attempt import WORKER_SHUTDOWN, Attempt
from perdure_actors.worker.local_protocol import LocalDesk
from perdure_actors.worker.slots import FixedSlots
from perdure_schemas.payloads import Failure, FailureCause, Payload
from tests.simulation.attempts import Script
from tests.simulation.evidence import Effect

if TYPE_CHECKING:
    import asyncio

    from perdure_actors.worker.local_protocol import Deliver
    from perdure_schemas.tasks import ActivityTask
    from perdure_topics.ports import Clock, Headers
    from perdure_topics.simulated.simulated_log import SimulatedNode
    from tests.simulation.world import World

SLOTS = 3
STOPPED_MS = 100


class _Timer:
    """What an event loop gives back for a call that is due later."""

    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class _Scripts:
    """The code of attempts, as the desk asks for it."""

    def __init__(self, locals_: SimLocals) -> None:
        self.start = locals_.run
        self.cancel = locals_.cancel


class SimLocals:
    """What one incarnation of a host has its local activities run by."""

    def __init__(
        self,
        world: World,
        node: SimulatedNode,
        owner: str,
        clock: Clock,
        *,
        crash: Callable[[], None],
    ) -> None:
        self._world = world
        self._node = node
        self._owner = owner
        self._crash = crash
        self._rng = Random(f"{world.settings.seed} locals of {owner}")
        loop = cast("asyncio.AbstractEventLoop", self)
        slots = FixedSlots(SLOTS)
        self._desk = LocalDesk(_Scripts(self), slots=slots, identity=owner, loop=loop, clock=clock)
        self._errands: deque[Callable[[], None]] = deque()
        self._running: dict[bytes, bool] = {}
        """The attempts whose scripts run, and whether each has had its effect."""
        self.is_dead = False

    # -- what a host asks, on its own thread --

    def start(self, task: ActivityTask, headers: Headers, *, deliver: Deliver) -> None:
        """Run an attempt; its one report is delivered later."""
        self._soon(partial(self._desk.take, task, headers, deliver))

    def stop(self, token: bytes, reason: str) -> None:
        """Ask an attempt to stop."""
        self._soon(partial(self._desk.stop, token, reason))

    def _soon(self, errand: Callable[[], None]) -> None:
        """Hand an errand over to the other thread, which takes them in their order."""
        self._errands.append(errand)
        self._at(self._rng.randrange(2), self._take_errand)

    def _take_errand(self) -> None:
        self._errands.popleft()()

    def _at(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._world.broker.at(delay_ms, partial(self._if_alive, action))

    def _if_alive(self, action: Callable[[], None]) -> None:
        if self.is_dead:
            return
        if self._node.paused:
            self._at(STOPPED_MS, action)
        else:
            action()

    # -- what the desk asks of its event loop --

    def call_later(self, delay_s: float, call: Callable[..., None], *args: Any) -> _Timer:
        """Call something so many seconds from now, unless that is cancelled."""
        timer = _Timer()

        def due() -> None:
            if not timer.is_cancelled:
                call(*args)

        self._at(round(delay_s * 1000), due)
        return timer

    # -- what the desk has run --

    def run(self, attempt: Attempt) -> None:
        """Run the script of an attempt: one effect somewhere in it, and its end."""
        script = Script(attempt.task)
        self._running[attempt.token] = False
        rng, most = self._rng, 0.05 * self._world.strength("host_crash")
        dies = rng.choice(("before", "during", "after")) if rng.random() < most else ""
        effect_ms = rng.randrange(script.run_ms + 1)
        self._at(effect_ms, partial(self._effect, attempt, script, dies))
        self._at(script.run_ms, partial(self._end, attempt, script, dies))

    def _effect(self, attempt: Attempt, script: Script, dies: str) -> None:
        if self._running.get(attempt.token, True):
            return
        if dies == "before":
            self._crash()
            return
        self._running[attempt.token] = True
        task = attempt.task
        data = None if script.fails_now else msgspec.json.encode(script.result)
        self._world.effects.append(
            Effect(
                self._world.wall_ms(),
                task.token,
                self._owner,
                task.run_id,
                task.activity_id,
                task.attempt,
                data,
            )
        )
        if dies == "during":
            self._crash()

    def _end(self, attempt: Attempt, script: Script, dies: str) -> None:
        if attempt.token not in self._running:
            return
        # A host that was stopped meanwhile may come to both at once, in any order.
        self._effect(attempt, script, dies)
        if dies:
            self._crash()
            return
        del self._running[attempt.token]
        if script.fails_now:
            cause = FailureCause(message="planned", type="Planned")
            self._desk.failed(attempt, Failure(chain=[cause]))
        else:
            self._desk.completed(attempt, Payload(data=msgspec.json.encode(script.result)))

    def cancel(self, attempt: Attempt, reason: str) -> None:
        """Ask the code of an attempt to stop; code in a thread may go on all the same."""
        if self._rng.random() < 0.7:
            self._at(self._rng.randrange(200), partial(self._stopped, attempt, reason))

    def _stopped(self, attempt: Attempt, reason: str) -> None:
        if attempt.token not in self._running:
            return
        del self._running[attempt.token]
        if reason == WORKER_SHUTDOWN:
            self._desk.hand_back(attempt, reason)
            self._desk.free(attempt)
        else:
            self._desk.canceled(attempt)
