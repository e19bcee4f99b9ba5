"""Planners of the world: they make schedules, tell them things, and delete them in the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import msgspec

from perdure._schedules import schedule_records
from perdure._schedules.schedule import ScheduleOverlapPolicy as Overlap
from perdure._schedules.schedule import SchedulePolicy, ScheduleState
from perdure._schedules.spec import ScheduleIntervalSpec, ScheduleSpec
from perdure_actors.core.state import SCHEDULER_TYPE
from perdure_schemas import commands as cmd
from perdure_schemas import message_commands as msg
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_schemas.payloads import Payload, Record
from perdure_schemas.replies import Refused, Reply
from tests.simulation.clients import Ask, SimClient
from tests.simulation.workflows import TYPE, Plan, Step

if TYPE_CHECKING:
    from perdure_topics.simulated.simulated_log import SimulatedLog
    from tests.simulation.world import World

SCHEDULES = 2
TEND_MS = 7_900
LAST_ACTS_MS = 25_000
"""How long schedules act in a world that is healed."""
TOLD = ("trigger", "trigger", "backfill", "pause", "unpause", "unpause", "update", "describe")
_CONVERTER = DefaultPayloadConverter()


class SimPlanner(SimClient):
    """A person who has schedules."""

    def __init__(self, world: World, log: SimulatedLog, name: str, rng: Random) -> None:
        super().__init__(world, log, name, rng)
        self._hand = Random(f"{name} {world.settings.seed}")
        self._made: dict[str, schedule_records.ScheduleRecord] = {}
        self._deletes_ms = 0
        for number in range(self._hand.randrange(1, SCHEDULES + 1)):
            self._later(300, 8_000, partial(self._create, f"s{number}"))
        world.broker.at(TEND_MS, self._tend)

    def _later(self, least_ms: int, most_ms: int, action: partial[None]) -> None:
        self.world.broker.at(self._hand.randrange(least_ms, most_ms), action)

    # -- what it says --

    def act(self) -> None:
        """Tell a schedule something, or ask how it stands; now and then make it anew."""
        if not self._made or self.world.healing:
            return
        schedule_id = self._hand.choice(list(self._made))
        if self._hand.random() < 0.04:
            self._delete(schedule_id)
            self._later(2_000, 6_000, partial(self._create, schedule_id))
            return
        if self._hand.random() < 0.1:
            self._end_action(schedule_id)
            return
        kind = self._hand.choice(TOLD)
        # What is limited is only counted where nobody takes actions by hand.
        limited = self._made[schedule_id].state.limited_actions
        if kind == "describe" or (limited and kind in ("trigger", "backfill", "update")):
            self._ask("query", msg.QueryWorkflow, _actor(schedule_id), query_name="describe")
        else:
            self._tell(schedule_id, kind, *self._said(schedule_id, kind))

    def _end_action(self, schedule_id: str) -> None:
        """Cancel or terminate an action that may run: nobody asked the schedule."""
        seconds = self._made[schedule_id].spec.intervals[0].every // timedelta(seconds=1)
        due = self.world.wall_ms() // 1000 // seconds * seconds
        at = datetime.fromtimestamp(due, UTC)
        kind = self._hand.choice(("cancel", "terminate"))
        command = cmd.CancelWorkflow if kind == "cancel" else cmd.TerminateWorkflow
        workflow_id = f"act-{schedule_id}-{at:%Y-%m-%dT%H:%M:%SZ}"
        self._ask(kind, command, workflow_id, request_id=self._request_id())

    def _said(self, schedule_id: str, kind: str) -> tuple[object, ...]:
        hand = self._hand
        if kind == "trigger":
            return (int(hand.choice((0, 0, *Overlap))),)
        if kind == "backfill":
            now = datetime.fromtimestamp(self.world.wall_ms() // 1000, UTC)
            begins = now - timedelta(seconds=hand.randrange(10, 600))
            ends = begins + timedelta(seconds=hand.randrange(12))
            overlap = hand.choice((None, None, *Overlap))
            return (
                schedule_records.encode([schedule_records.BackfillRecord(begins, ends, overlap)]),
            )
        if kind == "update":
            return (schedule_records.encode(self._record(schedule_id)),)
        return (f"{kind}d",)

    def _tell(self, schedule_id: str, kind: str, *values: object) -> None:
        self.world.count(f"schedule: {kind}")
        self._ask(
            "update",
            msg.UpdateWorkflow,
            _actor(schedule_id),
            final=self._hand.random() < 0.5,
            request_id=self._request_id(),
            update_name=kind,
            update_id=f"{self.name}-t{self._number}",
            input=_CONVERTER.to_payloads(list(values)),
        )

    def _create(self, schedule_id: str) -> None:
        if self.world.healing:
            return
        record = self._made[schedule_id] = self._record(schedule_id)
        state = schedule_records.SchedulerState(
            schedule_id, record, triggers=self._hand.random() < 0.2
        )
        if record.state.limited_actions:
            state.triggers = False
        self.world.count("schedule: create")
        self._ask(
            "create",
            cmd.StartWorkflow,
            _actor(schedule_id),
            request_id=self._request_id(),
            workflow_type=SCHEDULER_TYPE,
            input=_CONVERTER.to_payloads([schedule_records.encode(state)]),
            id_conflict_policy="fail",
            id_reuse_policy="allow_duplicate",
        )

    def _record(self, schedule_id: str) -> schedule_records.ScheduleRecord:
        hand = self._hand
        seconds = hand.choice((3, 4, 5, 7, 10))
        limited = hand.random() < 0.25
        before = self._made.get(schedule_id)
        if before is not None and before.spec.jitter:
            # Which of two schedules' times an update falls between is only clear without.
            spec = before.spec
        else:
            jitter = timedelta(seconds=2) if hand.random() < 0.25 and before is None else None
            every = ScheduleIntervalSpec(timedelta(seconds=seconds))
            spec = ScheduleSpec(intervals=[every], jitter=jitter)
        if before is not None:
            limited = before.state.limited_actions
        return schedule_records.ScheduleRecord(
            schedule_records.ActionRecord(
                TYPE, f"act-{schedule_id}", self.world.task_queue, [self._plan()]
            ),
            spec,
            SchedulePolicy(
                hand.choice(list(Overlap)),
                catchup_window=timedelta(seconds=hand.choice((2, 5, 20))),
                pause_on_failure=hand.random() < 0.3,
            ),
            ScheduleState(
                limited_actions=limited, remaining_actions=hand.randrange(1, 8) if limited else 0
            ),
        )

    def _plan(self) -> Payload:
        """What each action does: nothing long, and often longer than the time between two."""
        hand = self._hand
        steps = [Step("act", run_ms=hand.randrange(1, 300))]
        if hand.random() < 0.7:
            steps.append(Step("timer", wait_ms=hand.randrange(500, 12_000)))
        plan = Plan(f"action {self._number}", steps, fails=hand.random() < 0.2)
        return Payload(data=msgspec.json.encode(plan))

    # -- the end --

    def _tend(self) -> None:
        """Once the world is healed: let schedules act a while, and delete them."""
        now_ms = self.world.broker.now_ms
        if self.world.healing:
            self._deletes_ms = self._deletes_ms or now_ms + LAST_ACTS_MS
            if now_ms >= self._deletes_ms and self.is_done:
                for schedule_id in self._made:
                    self._delete(schedule_id)
        self.world.broker.at(TEND_MS, self._tend)

    def _delete(self, schedule_id: str) -> None:
        self.world.count("schedule: delete")
        self._ask(
            "terminate",
            cmd.TerminateWorkflow,
            _actor(schedule_id),
            request_id=self._request_id(),
            reason="the schedule was deleted",
        )

    def _heard(self, ask: Ask, reply: Reply, body: Record) -> None:
        super()._heard(ask, reply, body)
        ended = ask.op.kind == "terminate" and 0 < self._deletes_ms <= ask.op.invoked_ms
        if ended and isinstance(body, Refused):
            self._made.pop(
                ask.op.workflow_id.removeprefix(schedule_records.WORKFLOW_ID_PREFIX), None
            )


def _actor(schedule_id: str) -> str:
    return schedule_records.WORKFLOW_ID_PREFIX + schedule_id
