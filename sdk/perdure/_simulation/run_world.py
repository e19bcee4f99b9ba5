"""The world of one simulated run: its log, its processes, its clients, and what goes wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from perdure._simulation.host_process import HostProcess
from perdure._simulation.idleness import is_idle, next_due_ms
from perdure._simulation.journal import ActivityCall, Effect, Journal, Outcome
from perdure._simulation.machine_clock import MachineClock
from perdure._simulation.real_code import RealCode
from perdure._simulation.stepped_desk import SteppedDesk
from perdure._simulation.virtual_loop import StandIns, VirtualLoop
from perdure_actors.replay.failures import exception_of
from perdure_actors.worker.local_protocol import LocalDesk
from perdure_actors.worker.slots import FixedSlots
from perdure_schemas import child_events as ch
from perdure_schemas import events as ev
from perdure_schemas.avro import decode, decode_as, encode
from perdure_schemas.commands import CancelWorkflow, CompleteActivity, StartWorkflow
from perdure_schemas.message_commands import SignalWorkflow
from perdure_schemas.transition import TransitionBody
from perdure_topics.fold import Accepted, Cursor, fold_record
from perdure_topics.names import topic_name, topic_settings
from perdure_topics.ports import TopicSpec
from perdure_topics.simulated.faults import FaultPlan
from perdure_topics.simulated.simulated_log import SimulatedBroker

if TYPE_CHECKING:
    from perdure._simulation.fault_plan import Fault
    from perdure_actors.definitions.registry import ActivityRegistry
    from perdure_actors.definitions.workflow_code import WorkflowCode
    from perdure_actors.partition.services import EagerWorker, LocalRunner
    from perdure_actors.worker.attempt import Attempt
    from perdure_schemas.converters import PayloadConverter
    from perdure_schemas.payloads import Payload
    from perdure_topics.ports import Headers, StoredRecord

QUEUE: Final = ("simulated", "q")
WORKFLOW_ID: Final = "simulated"
WALL_MS: Final = 1_700_000_000_000
SLOTS: Final = 100
ACTIONS_MAX: Final = 300_000
QUIET_MS: Final = 30_000
"""A run that waits for nothing for so long waits for ever."""
DEPLOY_MS: Final = 500
DOUBLE_MS: Final = 400
DAYS_MAX: Final = 4_000
_TOPICS: Final = tuple(
    (topic_name(role, *QUEUE), topic_settings(role))
    for role in ("commands", "events", "tasks", "dead", "replies")
)
COMMANDS: Final = topic_name("commands", *QUEUE)
EVENTS: Final = topic_name("events", *QUEUE)


class Scene(NamedTuple):
    """What all runs of a simulation share."""

    workflow_type: str
    input: list[Payload]
    signals: Sequence[tuple[str, list[Payload]]]
    codes: Sequence[WorkflowCode]
    """The releases of the workflow code, in their order."""
    activities: ActivityRegistry
    converter: PayloadConverter
    result_type: Any


class Moment(NamedTuple):
    """Something of the story: when, what, and about what."""

    at_ms: int
    kind: str
    about: tuple[Any, ...]


class WatchedBroker(SimulatedBroker):
    """A broker that tells of each record it takes."""

    on_record: Callable[[StoredRecord], None]

    def write(
        self,
        topic: str,
        number: int,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
    ) -> StoredRecord:
        """Append a record now, and tell of it."""
        record = super().write(topic, number, value, key=key, headers=headers)
        self.on_record(record)
        return record


class _Process(HostProcess):
    """A process of the world: a host, a worker of activities, and one of local activities."""

    def __init__(self, world: RunWorld, rng: Random) -> None:
        super().__init__(
            world.broker,
            "worker",
            rng,
            queue=QUEUE,
            clock=MachineClock(world.broker, rng.randrange(10**6)),
            code=world.scene.codes[0],
        )
        self.world = world
        self.loop: VirtualLoop | None = None
        self.codes: list[RealCode] = []
        self.stepped: SteppedDesk | None = None
        self.lives = 0

    @property
    def label(self) -> str:
        """How the story calls it."""
        return f"worker {self.lives}"

    def boot(self) -> None:
        """Start a process, if there is none."""
        if not self.up:
            self.lives += 1
            self.world.tell("booted", self.label)
            super().boot()

    def make_local(self, owner: str) -> LocalRunner:
        """The real desk of local activities over the world's time."""
        loop = self.loop = VirtualLoop(self.broker)  # type: ignore[abstract]  # what activities use
        loop.before, loop.after = self.world.stand_ins.enter, self.world.stand_ins.leave
        code = self._code(loop)
        slots = FixedSlots(SLOTS)
        desk = LocalDesk(code, slots=slots, identity=owner, loop=loop, clock=self.clock)
        code.desk = desk
        self.codes = [code]
        return _Locals(desk, loop)

    def make_eager(self, owner: str) -> EagerWorker | None:
        """The real desk of activities, which takes its tasks from the log."""
        assert self.loop is not None
        code = self._code(self.loop)
        rng = self._rng
        self.stepped = SteppedDesk(
            self.log,
            owner,
            queue=QUEUE,
            clock=self.clock,
            runner=code,
            activity_types=sorted(self.world.scene.activities.by_name),
            slots=SLOTS,
            partitions=1,
            reply_partition=0,
            delay_ms=lambda: rng.randrange(3),
        )
        code.desk = self.stepped.desk
        self.codes.append(code)
        return None

    def _code(self, loop: VirtualLoop) -> RealCode:
        return RealCode(
            self.world,
            loop,
            activities=self.world.scene.activities,
            converter=self.world.scene.converter,
            worker=self.label,
            task_queue=QUEUE[1],
            crash=self.world.crash_at_call,
        )

    def end_beside(self) -> None:
        """What runs beside its host is no more."""
        if self.loop is not None:
            self.loop.die()
            self.world.graves.append(self.loop)
        for code in self.codes:
            code.give_up()
        self.codes = []
        if self.stepped is not None:
            self.stepped.end()

    def stop(self) -> None:
        """SIGTERM: what has not begun is another's, what has begun has failed."""
        if self.stepped is not None and self.host is not None:
            desk = self.stepped.desk
            desk.stop_taking()
            for attempt in desk.held:
                if attempt.token in self.codes[-1].running:
                    desk.stopped(attempt)
            self.host.close()
            self.stepped.say_farewell()
        self.drop()

    def after_turn(self, wait_ms: int) -> None:
        """Perhaps nothing is to be done but to wait."""
        if wait_ms > 1:
            self.world.host_waits()

    @property
    def is_running(self) -> bool:
        """Whether code of an activity runs."""
        return any(code.running for code in self.codes)


class _Locals:
    """Local activities as a host asks for them."""

    def __init__(self, desk: LocalDesk, loop: VirtualLoop) -> None:
        self._desk = desk
        self._loop = loop

    def start(self, task: Any, headers: Headers, *, deliver: Callable[[Any], None]) -> None:
        """Run an attempt."""
        self._loop.call_soon(self._desk.take, task, headers, deliver)

    def stop(self, token: bytes, reason: str) -> None:
        """Ask one to stop."""
        self._loop.call_soon(self._desk.stop, token, reason)


class RunWorld:
    """One workflow's run, from its start until nothing is left to do."""

    def __init__(self, scene: Scene, seed: int, faults: Sequence[Fault]) -> None:
        self.scene = scene
        self._rng = Random(f"run {seed}")  # noqa: S311 - the same run again is the point
        self.broker = WatchedBroker(seed, FaultPlan(), wall_ms=WALL_MS)
        self.broker.on_record = self._see_record
        self.journal = Journal()
        self.story: list[Moment] = []
        self.history: list[Any] = []
        self.graves: list[VirtualLoop] = []
        self.fired: list[Fault] = []
        """The faults that came to happen."""
        self.stand_ins = StandIns(lambda: self.broker.wall_ms, Random(f"code {seed}"))  # noqa: S311
        self._at_calls = {(one.activity, one.nth): one for one in faults if one.activity}
        self._at_records: dict[int, list[Fault]] = {}
        for one in faults:
            if not one.activity:
                self._at_records.setdefault(one.record, []).append(one)
        self._attempts: Counter[str] = Counter()
        self._doubles: set[bytes] = set()
        self._cursor = Cursor()
        self.records = 0
        self._open: set[str] = set()
        """Runs, and the workflow ids of children that have not begun."""
        self._children: dict[tuple[str, str], str] = {}
        self._root: ev.WorkflowStarted | None = None
        self._blocked: ev.WorkflowBlocked | None = None
        self._last: Any = None
        self._release = 0
        self._planned = 0
        self._quiet_ms = -1
        self._is_over = False
        self._make_topics()
        self.process = _Process(self, Random(self._rng.random()))  # noqa: S311

    def _make_topics(self) -> None:
        for name, settings in _TOPICS:
            self.broker.create(TopicSpec(name, 1, 1, settings))

    # -- its life --

    def run(self) -> None:
        """Run it to its end."""
        broker = self.broker
        self.process.boot()
        self._start()
        for number, (name, values) in enumerate(self.scene.signals):
            self._plan(self._moment(), partial(self._signal, number, name, values))
        until_ms = DAYS_MAX * 86_400_000
        for _ in range(ACTIONS_MAX):
            broker.run_until(broker.next_at())
            if self._is_over or broker.now_ms > until_ms:
                break
        self._is_over = True

    def _start(self) -> None:
        start = StartWorkflow(
            workflow_id=WORKFLOW_ID,
            workflow_type=self.scene.workflow_type,
            input=self.scene.input,
            request_id="start",
            first_sent_ms=self.broker.wall_ms,
        )
        self._send(start)

    def _signal(self, number: int, name: str, values: list[Payload]) -> None:
        self.tell("signal", name)
        signal = SignalWorkflow(
            workflow_id=WORKFLOW_ID,
            signal_name=name,
            input=values,
            request_id=f"signal {number}",
            first_sent_ms=self.broker.wall_ms,
        )
        self._send(signal)

    def _send(self, command: Any) -> None:
        self.broker.write(COMMANDS, 0, encode(command), key=WORKFLOW_ID.encode())

    def _moment(self) -> int:
        """When a signal comes: at once, in a while, or in the middle of things."""
        return self._rng.choice((1, self._rng.randrange(1, 200), self._rng.randrange(1, 5_000)))

    def _plan(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something later; the run does not end before."""
        self._planned += 1

        def due() -> None:
            self._planned -= 1
            action()

        self.broker.at(delay_ms, due)

    # -- what goes wrong --

    def crash_at_call(self, kind: str, call: ActivityCall) -> None:
        """The process dies at a call."""
        self.tell(kind, call)
        self._crash(self._rng.randrange(200, 3_000))

    def _crash(self, down_ms: int) -> None:
        self.process.crash()
        self._plan(down_ms, self.process.boot)

    def _deploy(self) -> None:
        if not self.process.up:
            return
        self._release = min(self._release + 1, len(self.scene.codes) - 1)
        self.tell("deploy", self.process.label, self._release + 1)
        self.process.stop()
        self.process.code = self.scene.codes[self._release]
        self._plan(DEPLOY_MS, self.process.boot)

    def _strike(self, fault: Fault) -> None:
        if fault.kind == "cancel":
            self.tell("cancel")
            at_ms = self.broker.wall_ms
            self._send(
                CancelWorkflow(workflow_id=WORKFLOW_ID, request_id="cancel", first_sent_ms=at_ms)
            )
        elif fault.kind == "deploy":
            self._deploy()
        elif self.process.up:
            self.tell("crash", self.process.label, self._last)
            self._crash(fault.ms)

    # -- what its parts tell --

    def tell(self, kind: str, *about: Any) -> None:
        """Something happened that belongs to the story."""
        self.story.append(Moment(self.broker.now_ms, kind, about))

    def draw_ms(self) -> int:
        """How long something takes that takes no time worth speaking of."""
        return self._rng.randrange(1, 30)

    def slept_ms(self) -> int:
        """For how long code has slept since this was asked last."""
        return self.stand_ins.take_slept_ms()

    def has_acted(self, call: ActivityCall) -> bool:
        """Whether an earlier attempt of the same call did its work, or part of it."""
        return any(
            one.key == call.key and one.ran for one in self.journal.entries if one is not call
        )

    def double(self, token: bytes) -> None:
        """Have the report of an attempt come twice."""
        self._doubles.add(token)

    def began(self, attempt: Attempt, worker: str) -> tuple[ActivityCall, Fault | None]:
        """An attempt begins; what goes wrong with it."""
        task = attempt.task
        self._attempts[task.activity_type] += 1
        fault = self._at_calls.get((task.activity_type, self._attempts[task.activity_type]))
        key = f"{task.run_id}/{task.activity_id}"
        at_s = self.broker.now_ms / 1000
        call = ActivityCall(task.activity_type, [], task.attempt, key, worker, at_s)
        self.journal.entries.append(call)
        self.tell("began", call)
        if fault is not None:
            self.fired.append(fault)
        return call, fault

    def note(self, name: str, fields: dict[str, Any]) -> None:
        """Code says that it did something."""
        if not self._is_over:
            effect = Effect(name, fields, self.broker.now_ms / 1000)
            self.journal.noted.append(effect)
            self.tell("effect", effect)

    def _see_record(self, record: StoredRecord) -> None:
        if record.topic == EVENTS:
            self._cursor, verdict = fold_record(self._cursor, record)
            if isinstance(verdict, Accepted):
                self._see_body(decode_as(TransitionBody, verdict.body))
        elif record.topic == COMMANDS:
            if record.key != WORKFLOW_ID.encode():
                return
            if self._doubles:
                self._double(record)
        else:
            return
        self.records += 1
        for fault in self._at_records.pop(self.records, ()):
            self.fired.append(fault)
            self._plan(0, partial(self._strike, fault))

    def _double(self, record: StoredRecord) -> None:
        command = decode(record.value or b"")
        if isinstance(command, CompleteActivity) and command.token in self._doubles:
            self._doubles.discard(command.token)
            self.tell("doubled", command.activity_id)
            again = partial(self.broker.write, COMMANDS, 0, record.value, key=record.key)
            self._plan(self._rng.randrange(1, DOUBLE_MS), lambda: _do(again))

    def _see_body(self, body: TransitionBody) -> None:
        for value in body.events:
            event = decode(value)
            self._last = event
            if isinstance(event, ev.WorkflowStarted):
                self._open.discard(body.workflow_id)
                self._open.add(body.run_id)
                if body.workflow_id == WORKFLOW_ID and self._root is None:
                    self._root = event
            elif isinstance(event, ch.ChildWorkflowInitiated):
                self._children[body.run_id, event.child_id] = event.workflow_id
                self._open.add(event.workflow_id)
            elif isinstance(event, ch.ChildWorkflowStartFailed):
                self._open.discard(self._children[body.run_id, event.child_id])
            elif isinstance(event, ev.CLOSING):
                self._open.discard(body.run_id)
                following = getattr(event, "next_run_id", "") or getattr(event, "new_run_id", "")
                if following:
                    self._open.add(following)
            elif isinstance(event, ev.WorkflowBlocked):
                self._blocked = event
            elif isinstance(event, ev.WorkflowResumed):
                self._blocked = None
            if body.workflow_id == WORKFLOW_ID:
                self.history.append(event)
            self.tell("event", event)

    # -- waiting --

    def host_waits(self) -> None:
        """The host has nothing to do: the run is over, or time leaps."""
        broker, process = self.broker, self.process
        if process.is_running or self._planned or self._root is None:
            self._quiet_ms = -1
            return
        host = process.host
        assert host is not None
        shards = [slot.shard for slot in host.slots.values() if slot.shard is not None]
        if not host.is_settled or not all(is_idle(shard) for shard in shards):
            self._quiet_ms = -1
            return
        if self._quiet_ms < 0:
            self._quiet_ms = broker.now_ms
        if not self._open:
            self._is_over = True
            return
        quiet_ms = broker.now_ms - self._quiet_ms
        due = [at for shard in shards if (at := next_due_ms(shard)) is not None]
        if due and self._blocked is None:
            # A little before it is due, so that whatever else is due then is not overtaken.
            broker.now_ms = max(broker.now_ms, min(due) - WALL_MS - 1)
            self._quiet_ms = -1
        elif quiet_ms > QUIET_MS or self._blocked is not None:
            self._is_over = True

    def outcome(self) -> Outcome:
        """How the workflow ended."""
        if self._blocked is not None:
            why = self._blocked.message or self._blocked.cause
            return Outcome("blocked", reason=why)
        last = self.history[-1] if self.history else None
        closing = next((one for one in reversed(self.history) if isinstance(one, ev.CLOSING)), None)
        if self._open or closing is None:
            return Outcome("open", reason=f"its last event is {type(last).__name__}")
        converter = self.scene.converter
        if isinstance(closing, ev.WorkflowCompleted):
            result = closing.result
            hints = [self.scene.result_type]
            value = None if result is None else converter.from_payloads([result], hints)[0]
            return Outcome("completed", result=value)
        if isinstance(closing, ev.WorkflowFailed):
            return Outcome("failed", error=exception_of(closing.failure, converter))
        names = {
            ev.WorkflowCanceled: "canceled",
            ev.WorkflowTerminated: "terminated",
            ev.WorkflowTimedOut: "timed_out",
        }
        return Outcome(names.get(type(closing), "open"))


def _do(action: Callable[[], object]) -> None:
    """Do something whose result nobody wants."""
    action()
