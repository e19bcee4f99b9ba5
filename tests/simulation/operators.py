"""Operators of the world: they look at runs, and pause, reset, retry, fail or change activities.

Once the world heals they only let go: what is paused or parked would wait for them for ever.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from perdure_schemas import commands as cmd
from perdure_schemas import operator_commands as op
from perdure_schemas.payloads import Failure, FailureCause, Record, RetryPolicy
from perdure_schemas.replies import PendingActivity, Reply, RunDescription
from tests.simulation.clients import Ask, SimClient

if TYPE_CHECKING:
    from perdure_topics.simulated.simulated_log import SimulatedLog
    from tests.simulation.world import World

TEND_MS = 8_300
KINDS = (*["pause"] * 4, "unpause", "reset", "retry", "fail", *["options"] * 3)
LET_GO = {"paused": "unpause", "pause_requested": "unpause", "exhausted": "retry"}
"""What a state that waits for a person asks for."""
BY_TYPE = 0.15


class SimOperator(SimClient):
    """A person who looks after activities."""

    def __init__(self, world: World, log: SimulatedLog, name: str, rng: Random) -> None:
        super().__init__(world, log, name, rng)
        self._hand = Random(f"{name} {world.settings.seed}")
        world.broker.at(TEND_MS, self._tend)

    def act(self) -> None:
        """Look at a workflow; what is seen may be acted on."""
        self._look(f"wf-{self._hand.randrange(self.world.settings.workflow_ids)}")

    def _look(self, workflow_id: str) -> None:
        self._ask("describe", cmd.DescribeWorkflow, workflow_id)

    def _tend(self) -> None:
        """Now and then: look at everything, so that nothing waits for ever in the end."""
        if self.world.healing and self.is_done:
            for number in range(self.world.settings.workflow_ids):
                self._look(f"wf-{number}")
        self.world.broker.at(TEND_MS, self._tend)

    def _heard(self, ask: Ask, reply: Reply, body: Record) -> None:
        super()._heard(ask, reply, body)
        if not isinstance(body, RunDescription) or not body.pending_activities:
            return
        if self.world.healing:
            for activity in body.pending_activities:
                if activity.state in LET_GO:
                    # What is parked and paused besides must be unpaused.
                    kinds = ("unpause", LET_GO[activity.state])
                    self._operate(body, activity, self._hand.choice(kinds))
            return
        activity = self._hand.choice(body.pending_activities)
        fitting = LET_GO.get(activity.state)
        is_fitting = fitting is not None and self._hand.random() < 0.6
        kind = fitting if fitting is not None and is_fitting else self._hand.choice(KINDS)
        self._operate(body, activity, kind)

    def _operate(self, shown: RunDescription, activity: PendingActivity, kind: str) -> None:
        hand, healing = self._hand, self.world.healing
        command, fields = _COMMANDS[kind], self._fields(kind)
        if not healing and hand.random() < BY_TYPE:
            fields["activity_type"] = activity.activity_type
        else:
            fields["activity_id"] = activity.activity_id
        if hand.random() < 0.5:
            fields["run_id"] = shown.summary.run_id
        self.world.count(f"operator: {kind}")
        request_id = self._request_id()
        # What it did is told by the name that it goes by.
        fields |= {"request_id": request_id, "identity": request_id}
        self._ask(kind, command, shown.summary.workflow_id, **fields)

    def _fields(self, kind: str) -> dict[str, Any]:
        """What a command says beside the activity."""
        hand, healing = self._hand, self.world.healing
        if kind == "unpause":
            return {"reset_attempts": not healing and hand.random() < 0.3, "jitter_ms": 500}
        if kind == "reset":
            return {"keep_paused": hand.random() < 0.5, "reset_heartbeat": hand.random() < 0.5}
        if kind == "fail":
            cause = FailureCause(message="an operator", type="Planned", non_retryable=True)
            return {"failure": Failure(chain=[cause])}
        if kind == "options":
            if hand.random() < 0.2:
                return {"restore_original": True}
            most = hand.choice((0, 2, 4))
            policy = RetryPolicy(
                initial_interval_ms=hand.randrange(100, 800), maximum_attempts=most
            )
            return {
                # No script runs for longer than the shorter one.
                "start_to_close_ms": hand.choice((-1, 13_000, 30_000)),
                "heartbeat_ms": hand.choice((-1, 1_500, 1_500)),
                "retry_policy": hand.choice((None, policy)),
            }
        return {}


_COMMANDS: dict[str, type[Record]] = {
    "pause": op.PauseActivity,
    "unpause": op.UnpauseActivity,
    "reset": op.ResetActivity,
    "retry": op.RetryActivityNow,
    "fail": op.FailActivityNow,
    "options": op.UpdateActivityOptions,
}
