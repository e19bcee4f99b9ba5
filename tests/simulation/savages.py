"""Savages of the world: they start wild code and talk to it, and write hostile records.

Once the world heals they terminate what they have started: wild code may wait for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from perdure_schemas import commands as cmd
from perdure_schemas import message_commands as msg
from perdure_schemas.avro import encode
from perdure_schemas.payloads import EffectId, Payload, Record, ReplyTo
from perdure_schemas.replies import Accepted, Refused, Reply
from perdure_topics.names import partition_of
from perdure_topics.simulated.simulated_log import SimulatedLog
from tests.simulation.clients import Ask, SimClient
from tests.simulation.wild import KILL, PLACES, WAYS, WILD, Mood

if TYPE_CHECKING:
    from tests.simulation.world import World

IDS = 6
TEND_MS = 6_100
ENDS = 3


class SimSavage(SimClient):
    """Somebody whose code and whose records are of any kind."""

    def __init__(
        self, world: World, log: SimulatedLog, name: str, rng: Random, *, ways: tuple[str, ...]
    ) -> None:
        super().__init__(world, log, name, rng)
        self._ways = ways
        self._hand = Random(f"{name} {world.settings.seed}")
        self._over: set[str] = set()
        self._refused = Counter[str]()
        self._ids = [f"{name}-{number}" for number in range(IDS)]
        world.broker.at(TEND_MS, self._tend)

    @property
    def is_done(self) -> bool:
        """Whether all that it started has been ended."""
        return super().is_done and self._over == {*self._ids}

    def act(self) -> None:
        """Start something, say something, or write something."""
        hand = self._hand
        workflow_id = hand.choice(self._ids)
        what = hand.random()
        if what < 0.4:
            self._begin(workflow_id)
        elif what < 0.75:
            self._speak(workflow_id)
        elif self._ways != (KILL,):
            self._write()

    def _begin(self, workflow_id: str) -> None:
        hand = self._hand
        mood = Mood(hand.choice(PLACES), hand.choice(self._ways), hand.randrange(1, 4_000))
        self.world.count(f"wild: {mood.way}")
        self._unheard(
            "start",
            cmd.StartWorkflow,
            workflow_id,
            request_id=self._request_id(),
            workflow_type=WILD,
            input=[Payload(data=msgspec.json.encode(mood))],
        )

    def _speak(self, workflow_id: str) -> None:
        values = [Payload(data=b'"token"')]
        kind = self._hand.choice(("signal", "update", "query"))
        if kind == "query":
            self._unheard(kind, msg.QueryWorkflow, workflow_id, query_name="tell")
        elif kind == "update":
            self._unheard(
                kind,
                msg.UpdateWorkflow,
                workflow_id,
                request_id=self._request_id(),
                update_name="bend",
                update_id=self._request_id(),
                input=values,
            )
        else:
            self._unheard(
                kind,
                msg.SignalWorkflow,
                workflow_id,
                request_id=self._request_id(),
                signal_name="hurt",
                input=values,
            )

    def _unheard(self, kind: str, command: type[Record], workflow_id: str, **fields: Any) -> None:
        """Ask, and hold nobody to the answer but that there is one."""
        self._ask(kind, command, workflow_id, **fields)
        self.world.ops.pop()

    def _tend(self) -> None:
        begins = any(ask.op.kind in ("start", "end") for ask in self._asks.values())
        if self.world.healing and not begins:
            for workflow_id in self._ids:
                if workflow_id not in self._over:
                    request_id = self._request_id()
                    self._unheard("end", cmd.TerminateWorkflow, workflow_id, request_id=request_id)
        self.world.broker.at(TEND_MS, self._tend)

    def _heard(self, ask: Ask, reply: Reply, body: Record) -> None:
        super()._heard(ask, reply, body)
        if ask.op.kind != "end":
            return
        workflow_id = ask.op.workflow_id
        self._refused[workflow_id] += isinstance(body, Refused)
        # What began where it does not belong is sent on, and may come after its end.
        if isinstance(body, Accepted) or self._refused[workflow_id] >= ENDS:
            self._over.add(workflow_id)

    # -- records --

    def _write(self) -> None:
        """A record of commands that is one, and is of no use."""
        name, make = self._hand.choice([*HOSTILE.items()])
        self.world.count(f"hostile: {name}")
        command = make(self._hand)
        workflow_id = str(getattr(command, "workflow_id", ""))
        if isinstance(command, cmd.StartWorkflow) and workflow_id not in self._ids:
            self._ids.append(workflow_id)
        count = self.world.settings.partitions
        partition = partition_of(workflow_id, count)
        if self._hand.random() < 0.2:
            partition = self._hand.randrange(count)
        headers = self._hand.choice(HEADERS)
        self.world.broker.write(
            self.world.topic("commands"), partition, encode(command), key=b"\xff", headers=headers
        )


def _start(rng: Random, **fields: object) -> Record:
    more = {"workflow_id": f"hostile-{rng.randrange(10)}", "workflow_type": WILD, **fields}
    return cmd.StartWorkflow(**more)  # type: ignore[arg-type]


def _report(rng: Random) -> Record:
    return cmd.CompleteActivity(
        workflow_id=rng.choice(("", "nobody", "wf-0", "\x00")),
        run_id=rng.choice(("", "no-such-run", "\x00" * 40)),
        activity_id=rng.choice(("1", "", "x" * 10_000)),
        attempt=rng.choice((0, 1, -1, (1 << 31) - 1)),
        token=rng.randbytes(rng.choice((0, 16, 1_000))),
    )


HEADERS: tuple[tuple[tuple[str, bytes], ...], ...] = (
    (),
    (("traceparent", b"\xff\xfe"),),
    (("perdure-topic", b"\x00"), ("perdure-offset", b"nine"), ("perdure-partition", b"-1")),
    (("", b""),) * 50,
)
HOSTILE: dict[str, Callable[[Random], Record]] = {
    "a reply to nowhere": lambda rng: _start(
        rng, reply=ReplyTo(partition=rng.choice((-1, 99, (1 << 31) - 1)), correlation_id="x")
    ),
    "a correlation id of any size": lambda rng: _start(
        rng, reply=ReplyTo(partition=0, correlation_id="x" * rng.choice((0, 4_000)))
    ),
    "an id of nothing": lambda rng: _start(rng, workflow_id=""),
    "an id of any size": lambda rng: _start(rng, workflow_id="x" * 4_000),
    "an id of odd letters": lambda rng: _start(rng, workflow_id="a\x00b\u2028\U0001f600"),
    "an actor that nobody is": lambda rng: _start(
        rng,
        source=EffectId(
            topic_id="nobody",
            partition=rng.choice((-1, 0, 9)),
            epoch=rng.choice((-1, 0, 1 << 62)),
            pseq=rng.choice((-5, 1, 1 << 62)),
            index=rng.choice((-1, 0, 1 << 30)),
        ),
    ),
    "times that never were": lambda rng: _start(
        rng,
        run_timeout_ms=rng.choice((-1, 1 << 62)),
        start_delay_ms=rng.choice((-5, 1 << 62)),
        execution_timeout_ms=-(1 << 62),
    ),
    "a schedule of nothing": lambda rng: _start(rng, cron_schedule="x" * rng.choice((1, 5_000))),
    "a report of nobody": _report,
    "a signal with half a name": lambda rng: msg.SignalWorkflow(
        workflow_id=f"wf-{rng.randrange(3)}", run_id="nobody", signal_name="", buffer_ms=-1
    ),
    "an answer": lambda rng: Accepted(workflow_id="x"),
}


def savages_of(world: World) -> list[SimSavage]:
    """Those that a world has."""
    ways = {"savages": tuple(WAYS), "killers": (KILL,)}
    return [
        SimSavage(
            world,
            SimulatedLog(world.broker, name),
            name,
            Random(f"{name} {world.settings.seed}"),
            ways=ways[name],
        )
        for name in ways
        if name in world.settings.features
    ]
