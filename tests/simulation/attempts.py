"""An attempt as a worker of the world holds it: a script that its task's input wrote."""

from __future__ import annotations

import msgspec

from perdure_schemas.tasks import ActivityTask
from tests.simulation.model import result_of


class Script:
    """What the activity of the world does, as a task's input says it."""

    def __init__(self, task: ActivityTask) -> None:
        text, self.run_ms, fails = msgspec.json.decode(
            b"[" + b",".join(payload.data for payload in task.input) + b"]"
        )
        self.fails_now = task.attempt <= fails
        """Whether this attempt is one of those that fail."""
        self.result = result_of(text)


class Attempt:
    """An attempt that this worker was given."""

    def __init__(self, task: ActivityTask, place: tuple[int, int]) -> None:
        self.task = task
        self.place = place
        self.phase = "new"
        """new, claiming, running, ended."""
        self.settled = False
        """Whether the host knows enough of it, so that its task is not needed any more."""
        self.claimed_ms = -(10**9)
        self.promoted = False
        self.effect_ms = 0
        self.ends_ms = 0
        self.beat_ms = 0
        self.since_ms = 0
        self.dies = ""
        """"before" or "after" its effect, when this attempt kills its worker."""
        script = Script(task)
        self.run_ms, self.fails_now, self.result = script.run_ms, script.fails_now, script.result
