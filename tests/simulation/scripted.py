"""Attempts that the process of a host runs: each a script with one effect, which may kill it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Protocol

import msgspec

from perdure_schemas.payloads import Failure, FailureCause, Payload
from tests.simulation.attempts import Script
from tests.simulation.evidence import Effect

if TYPE_CHECKING:
    from perdure_actors.worker.attempt import Attempt
    from perdure_topics.simulated.simulated_log import SimulatedNode
    from tests.simulation.world import World

STOPPED_MS = 100


class Desk(Protocol):
    """What the end of a script is told to."""

    def completed(self, attempt: Attempt, result: Payload | None) -> None:
        """The code returned."""

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """The code failed."""

    def canceled(self, attempt: Attempt, details: Sequence[Payload] = ()) -> None:
        """The code ended because it was asked to cancel."""


class ScriptedProcess:
    """One incarnation of a process that runs attempts for a desk of its own."""

    desk: Desk

    def __init__(
        self, world: World, node: SimulatedNode, name: str, rng: Random, crash: Callable[[], None]
    ) -> None:
        self.world = world
        self.node = node
        self.name = name
        self.rng = rng
        self._crash = crash
        self.running: dict[bytes, bool] = {}
        """The attempts whose scripts run, and whether each has had its effect."""
        self.is_dead = False

    def at(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something later, if the process lives and is not stopped by then."""
        self.world.broker.at(delay_ms, partial(self._if_alive, action))

    def _if_alive(self, action: Callable[[], None]) -> None:
        if self.is_dead:
            return
        if self.node.paused:
            self.at(STOPPED_MS, action)
        else:
            action()

    def run(self, attempt: Attempt) -> None:
        """Run the script of an attempt: one effect somewhere in it, and its end."""
        script = Script(attempt.task)
        self.running[attempt.token] = False
        rng, most = self.rng, 0.05 * self.world.strength("host_crash")
        dies = rng.choice(("before", "during", "after")) if rng.random() < most else ""
        effect_ms = rng.randrange(script.run_ms + 1)
        self.at(effect_ms, partial(self._effect, attempt, script, dies))
        self.at(script.run_ms, partial(self._end, attempt, script, dies))

    def _effect(self, attempt: Attempt, script: Script, dies: str) -> None:
        if self.running.get(attempt.token, True):
            return
        if dies == "before":
            self._crash()
            return
        self.running[attempt.token] = True
        task = attempt.task
        data = None if script.fails_now else msgspec.json.encode(script.result)
        self.world.effects.append(
            Effect(
                self.world.wall_ms(),
                task.token,
                self.name,
                task.run_id,
                task.activity_id,
                task.attempt,
                data,
            )
        )
        if dies == "during":
            self._crash()

    def _end(self, attempt: Attempt, script: Script, dies: str) -> None:
        if attempt.token not in self.running:
            return
        # A host that was stopped meanwhile may come to both at once, in any order.
        self._effect(attempt, script, dies)
        if dies:
            self._crash()
            return
        del self.running[attempt.token]
        if script.fails_now:
            cause = FailureCause(message="planned", type="Planned")
            self.desk.failed(attempt, Failure(chain=[cause]))
        else:
            self.desk.completed(attempt, Payload(data=msgspec.json.encode(script.result)))

    def cancel(self, attempt: Attempt, reason: str) -> None:
        """Ask the code of an attempt to stop; code in a thread may go on all the same."""
        if self.rng.random() < 0.7:
            self.at(self.rng.randrange(200), partial(self._stopped, attempt, reason))

    def _stopped(self, attempt: Attempt, reason: str) -> None:
        if attempt.token in self.running:
            del self.running[attempt.token]
            self.stopped(attempt, reason)

    def stopped(self, attempt: Attempt, reason: str) -> None:
        """Tell the desk of an attempt that stopped when it was asked to."""
        self.desk.canceled(attempt)


class Scripts:
    """The code of attempts, as a desk asks for it."""

    def __init__(self, process: ScriptedProcess) -> None:
        self.start = process.run
        self.cancel = process.cancel
