"""Clients of the world: they start, cancel, terminate, wait, describe, and ask until answered."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING

import msgspec

from perdure_schemas import commands as cmd
from perdure_schemas import message_commands as msg
from perdure_schemas.avro import decode, decode_as, encode
from perdure_schemas.command_headers import age_header
from perdure_schemas.payloads import Payload, Record, ReplyTo, UpdateInput
from perdure_schemas.replies import Notice, Refused, Reply, RunClosed, UpdateAnswer
from perdure_topics.names import partition_of, topic_name
from perdure_topics.ports import LogError
from tests.simulation.answers import Op
from tests.simulation.clocks import SkewedClock
from tests.simulation.swarm import (
    draw_plan,
    followed,
    with_children,
    with_locals,
    with_notes,
    with_parking,
)
from tests.simulation.workflows import TYPE

if TYPE_CHECKING:
    from perdure_topics.ports import Appender
    from perdure_topics.simulated.simulated_log import SimulatedLog
    from tests.simulation.world import World

FIRST_AGAIN_MS = 5_000
AGAIN_MS = 20_000
STEP_MS = 500
PATIENCE_MS = (0, 0, 0, 3_000, 60_000)
"""How long a signal waits for its workflow to be started."""
CLIENT_CONFLICT = ("fail", "fail", "use_existing", "terminate_existing")
REUSE = ("allow_duplicate", "allow_duplicate", "allow_duplicate_failed_only", "reject_duplicate")


class Ask:
    """An op that is not answered yet."""

    def __init__(self, op: Op, command: Record, final: bool) -> None:
        self.op = op
        self.command = command
        self.final = final
        """Whether only RunClosed (or a refusal) ends it."""
        self.due_ms = 0
        self.sent = 0
        self.update: Op | None = None
        """The update that a start brings; its answer comes second."""


class SimClient:
    """One client process. It does not die: what is unanswered at the end is a fault of ours."""

    def __init__(self, world: World, log: SimulatedLog, name: str, rng: Random) -> None:
        self.world = world
        self.log = log
        self.name = name
        self._rng = rng
        self._chatter = Random(rng.random())
        self._patience = Random(f"{name} {world.settings.seed}")
        self._bringing = Random(f"{name} brings {world.settings.seed}")
        self._topic = topic_name("commands", world.namespace, world.task_queue)
        self._replies = topic_name("replies", world.namespace)
        self.clock = SkewedClock(world.broker)
        self._partition = rng.randrange(world.reply_partitions)
        self._tail = log.tail(on_ready=self.step, committed=True)
        _, end = log.offsets(self._replies, self._partition)
        self._tail.assign(self._replies, self._partition, end)
        self._appender: Appender = log.appender(on_ready=_nothing)
        self._asks: dict[str, Ask] = {}
        self._number = 0
        world.broker.at(STEP_MS, self._tick)

    @property
    def is_done(self) -> bool:
        """Whether everything is answered."""
        return not self._asks

    # -- asking --

    def act(self) -> None:
        """Ask for something."""
        if self._chatter.random() < 0.3:
            self._talk(f"wf-{self._chatter.randrange(self.world.settings.workflow_ids)}")
            return
        kind = self._rng.choice(
            ("start",) * 5 + ("cancel", "terminate", "result") + ("describe",) * 4
        )
        workflow_id = f"wf-{self._rng.randrange(self.world.settings.workflow_ids)}"
        if kind == "start":
            self.start(workflow_id)
        elif kind == "describe":
            self._ask("describe", cmd.DescribeWorkflow, workflow_id)
        elif kind == "result":
            self._ask("result", cmd.AwaitResult, workflow_id, final=True)
        else:
            command = cmd.CancelWorkflow if kind == "cancel" else cmd.TerminateWorkflow
            self._ask(kind, command, workflow_id, request_id=self._request_id())

    def _talk(self, workflow_id: str) -> None:
        """Say something to a workflow, or ask what it was told."""
        kind = self._chatter.choice(("signal", "signal", "update", "query"))
        token = f"{self.name}-t{self._number}"
        values = [Payload(data=msgspec.json.encode(token))]
        if kind == "signal":
            self._ask(
                kind,
                msg.SignalWorkflow,
                workflow_id,
                request_id=self._request_id(),
                signal_name="tell",
                input=values,
                buffer_ms=self._patience.choice(PATIENCE_MS),
            )
        elif kind == "update":
            self._ask(
                kind,
                msg.UpdateWorkflow,
                workflow_id,
                final=self._chatter.random() < 0.5,
                request_id=self._request_id(),
                update_name="change",
                update_id=token,
                input=values,
            )
        else:
            self._ask(kind, msg.QueryWorkflow, workflow_id, query_name="all_told")

    def start(self, workflow_id: str) -> None:
        """Start a workflow."""
        self.world.starts += 1
        bugs = self.world.settings.strength("bad_deploy") > 0
        plan = draw_plan(self._rng, self.world.starts, bugs=bugs)
        if "children" in self.world.settings.features:
            plan = with_children(self._rng, plan)
        if "locals" in self.world.settings.features:
            plan = with_locals(self._chatter, plan)
        if "operators" in self.world.settings.features:
            plan = with_parking(self._chatter, plan)
        if "notes" in self.world.settings.features:
            plan = with_notes(self._chatter, plan)
        more: dict[str, object] = {}
        if "following" in self.world.settings.features:
            plan, more = followed(self._chatter, plan)
        is_final = self._rng.random() < 0.4
        update = self._brought() if self._bringing.random() < 0.2 else None
        ask = self._ask(
            "start",
            cmd.StartWorkflow,
            workflow_id,
            final=is_final or update is not None,
            request_id=self._request_id(),
            workflow_type=TYPE,
            input=[Payload(data=msgspec.json.encode(plan))],
            id_conflict_policy=self._rng.choice(CLIENT_CONFLICT),
            id_reuse_policy=self._rng.choice(REUSE),
            **self._times() | more,
            update=update,
        )
        if update is not None:
            ask.update = Op(
                "update", workflow_id, ask.op.correlation_id, partition=ask.op.partition
            )
            ask.update.invoked_ms = ask.op.invoked_ms

    def _times(self) -> dict[str, object]:
        return {
            "start_delay_ms": self._rng.choice((0, 0, 0, 0, 2_000)),
            "run_timeout_ms": self._rng.choice((0, 0, 0, 0, 15_000)),
        }

    def _brought(self) -> UpdateInput:
        token = f"{self.name}-t{self._number}"
        return UpdateInput(
            update_name="change",
            update_id=token,
            input=[Payload(data=msgspec.json.encode(token))],
            wait_stage=self._bringing.choice(("accepted", "completed")),
        )

    def _result_of(self, workflow_id: str, run_id: str) -> None:
        self._ask("result", cmd.AwaitResult, workflow_id, final=True, run_id=run_id)

    def _request_id(self) -> str:
        return f"{self.name}-r{self._number}"

    def _ask(
        self,
        kind: str,
        command: type[Record],
        workflow_id: str,
        *,
        final: bool = False,
        **fields: object,
    ) -> Ask:
        self._number += 1
        correlation_id = f"{self.name}-{self._number}"
        reply = ReplyTo(
            partition=self._partition,
            correlation_id=correlation_id,
            wait="completed" if final else "accepted",
        )
        partition = partition_of(workflow_id, self.world.settings.partitions)
        op = Op(
            kind,
            workflow_id,
            correlation_id,
            request_id=str(fields.get("request_id", "")),
            partition=partition,
            invoked_ms=self.world.broker.now_ms,
        )
        self.world.ops.append(op)
        if op.request_id:
            fields["first_sent_ms"] = self.clock.wall_ms()
        asked = command(workflow_id=workflow_id, reply=reply, **fields)
        ask = self._asks[correlation_id] = Ask(op, asked, final)
        self._send(ask)
        return ask

    def _send(self, ask: Ask) -> None:
        now_ms = self.world.broker.now_ms
        ask.due_ms = now_ms + (AGAIN_MS if ask.sent else FIRST_AGAIN_MS)
        ask.sent += 1
        partition = ask.op.partition
        count = self.world.settings.partitions
        if ask.op.request_id and count > 1 and self._rng.random() < 0.1:
            self.world.count("wrong partition")
            partition = self._rng.randrange(count)
        try:
            self._appender.append(
                self._topic,
                partition,
                encode(ask.command),
                key=ask.op.workflow_id.encode(),
                headers=(age_header(now_ms - ask.op.invoked_ms),),
            )
        except LogError:
            ask.due_ms = now_ms + STEP_MS

    # -- answers --

    def _tick(self) -> None:
        self.step()
        now_ms = self.world.broker.now_ms
        for ask in list(self._asks.values()):
            if ask.due_ms <= now_ms:
                self._send(ask)
        self.world.broker.at(STEP_MS, self._tick)

    def step(self) -> None:
        """Take reports and answers."""
        self.world.steps += 1
        if any(report.error is not None for report in self._appender.reports()):
            self._appender.close()
            self._appender = self.log.appender(on_ready=_nothing)
        for record in self._tail.take(self._replies, self._partition, 500):
            reply = decode_as(Reply, record.value)
            ask = self._asks.get(reply.correlation_id)
            if ask is not None:
                self._heard(ask, reply, decode(reply.body))

    def _heard(self, ask: Ask, reply: Reply, body: Record) -> None:
        if isinstance(body, Notice):
            return
        op = ask.op
        now_ms = self.world.broker.now_ms
        if op.answer is None or isinstance(body, RunClosed):
            first = op.answer is None
            op.answer, op.answered_ms, op.offset = body, now_ms, reply.offset
            if first and op.kind == "start" and self._rng.random() < 0.3:
                run_id = getattr(body, "run_id", "")
                if run_id:
                    again = partial(self._result_of, op.workflow_id, run_id)
                    self.world.broker.at(self._rng.randrange(1, 10_000), again)
        if ask.update is not None and body is not op.answer:
            ask.update.answer, ask.update.answered_ms = body, now_ms
            ask.update.offset = reply.offset
            self.world.ops.append(ask.update)
        is_last = isinstance(body, RunClosed | UpdateAnswer | Refused)
        waits = ask.final and not is_last and op.outcome == "ok"
        if not waits:
            del self._asks[op.correlation_id]


def _nothing() -> None:
    """Reports are taken at the next step."""
