"""The run cache: runs in memory, loaded from the table, saved by what was touched, evicted.

What is here may be ahead of the table by what is proposed and not yet accepted; such runs are
pinned. When an append is lost the whole of it is dropped, and the table is the truth again.

All partitions of a process share the room for runs; least recently used leave first. A run that
waits for nothing but time, a message or a person is idle, and so is one that has closed. Idle runs
leave first and only so many stay: what comes back to one of them is replayed. Runs that wait for an
activity or a child are busy and stay while there is room, because their next input is near. Pinned
runs never leave, and no run of a partition leaves in the middle of its turn: whoever holds a run in
a turn must be the only one to change it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from perdure_actors import table_layout
from perdure_actors.core.start import open_run
from perdure_actors.core.state import ActorState, Run, alarm_of
from perdure_actors.inherited_history import inherit, unpack_row
from perdure_actors.partition.signal_buffer_store import SignalBufferStore
from perdure_actors.retention.policy import policy_row
from perdure_actors.visibility.indexing import Indexing, Shown, shown_of
from perdure_schemas.partition_events import RetentionSet, RunsForgotten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from perdure_actors.core.state import RunState
    from perdure_actors.inherited_history import HistoryRow, Inherited
    from perdure_actors.replay.coroutine import Coroutine
    from perdure_schemas.events import WorkflowStarted
    from perdure_schemas.payloads import Record
    from perdure_topics.ports import Table

RUNS_MAX: Final = 20_000
"""Runs in memory, whatever their size."""
IDLE_RUNS_MAX: Final = 1_000
BYTES_MAX: Final = 1024 * 1024 * 1024
"""The most that runs take where there is plenty of memory."""
SHARE_OF_MEMORY: Final = 4
"""Runs take at most one part in so many of what this process may have."""
RUN_BYTES: Final = 20_480
"""What a run takes with its code live, its history apart; measured on small ones."""
SCANNED_MAX: Final = 256
"""Pinned runs that are passed over in one search for one that may leave."""
_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")


def bytes_for_runs() -> int:
    """How much memory runs may take in this process: by its container's limit or the machine's."""
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = _CGROUP_LIMIT.read_text().strip()
    except OSError:
        limit = ""
    if limit.isdigit():
        have = min(have, int(limit))
    return min(BYTES_MAX, have // SHARE_OF_MEMORY)


class InMemory(Protocol):
    """What the room knows of a run that is in it."""

    pinned: int
    """How many transitions of it are proposed and not yet accepted."""
    bytes: int
    """What it takes, by estimate."""


class Holder(Protocol):
    """A partition, as the room knows it."""

    is_held: bool
    """Whether none of its runs may leave now."""

    def forget(self, resident: Any) -> None:
        """Let a run leave memory."""


class RunMemory:
    """Which runs of a process are in memory, over all of its partitions. One thread uses it.

    Args:
        runs_max: Runs in memory at most.
        bytes_max: What they may take, in bytes by estimate; 0 takes a part of what there is.
        idle_max: Idle runs among them.
    """

    def __init__(
        self, *, runs_max: int = RUNS_MAX, bytes_max: int = 0, idle_max: int = IDLE_RUNS_MAX
    ) -> None:
        self._runs_max = runs_max
        self._bytes_max = bytes_max or bytes_for_runs()
        self._idle_max = min(idle_max, runs_max)
        self._busy: OrderedDict[InMemory, Holder] = OrderedDict()
        self._idle: OrderedDict[InMemory, Holder] = OrderedDict()
        self.bytes = 0
        """What the runs in memory take, by estimate."""

    def __len__(self) -> int:
        return len(self._busy) + len(self._idle)

    def add(self, resident: InMemory, holder: Holder) -> None:
        """Take a run in. Others leave for it when the turn is over."""
        resident.bytes = RUN_BYTES
        self.bytes += resident.bytes
        self._busy[resident] = holder

    def use(self, resident: InMemory) -> None:
        """Count a run as used just now."""
        runs = self._idle if resident in self._idle else self._busy
        runs.move_to_end(resident)

    def weigh(self, resident: InMemory, *, history_bytes: int, is_idle: bool) -> None:
        """Note what a run takes after a transition, and whether its next input is far."""
        size = RUN_BYTES + history_bytes
        self.bytes += size - resident.bytes
        resident.bytes = size
        was, now = (self._busy, self._idle) if is_idle else (self._idle, self._busy)
        holder = was.pop(resident, None)
        if holder is not None:
            now[resident] = holder

    def drop(self, resident: InMemory) -> None:
        """A run is in memory no more."""
        for runs in (self._busy, self._idle):
            # Not by its truth: a partition without runs is as false as none.
            if runs.pop(resident, None) is not None:
                self.bytes -= resident.bytes

    def make_room(self) -> None:
        """Let runs go until there is room: idle ones first, and those used longest ago."""
        while self._is_over() or len(self._idle) > self._idle_max:
            gone = next(self._may_leave(), None)
            if gone is None:
                return
            resident, holder = gone
            holder.forget(resident)

    def _is_over(self) -> bool:
        return len(self) > self._runs_max or self.bytes > self._bytes_max

    def _may_leave(self) -> Iterator[tuple[InMemory, Holder]]:
        for runs in (self._idle, self._busy) if self._is_over() else (self._idle,):
            for number, (resident, holder) in enumerate(runs.items()):
                if not resident.pinned and not holder.is_held:
                    yield resident, holder
                if number >= SCANNED_MAX:
                    break


SOON_MS = 10_000
"""A run that waits for a timer so far away, and for nothing else, is idle."""
Ops = dict[bytes, bytes | None]
"""Rows to write, in order; None deletes one."""


class CachedRun:
    """A run in memory, with its code when that is live."""

    __slots__ = (
        "bytes",
        "coroutine",
        "delivered",
        "failing",
        "inherited",
        "key_alarm",
        "pinned",
        "run",
        "shown",
        "view",
    )

    def __init__(self, run: Run) -> None:
        self.run = run
        self.coroutine: Coroutine | None = None
        self.view: object | None = None
        """What who looks on has made of its accepted transitions."""
        self.pinned = 0
        """How many transitions of it are proposed and not yet accepted."""
        self.shown = Shown()
        """What its index rows say."""
        self.failing: frozenset[str] = frozenset()
        """Its activities of which an attempt has failed."""
        self.key_alarm: dict[tuple[str, str], int] = {}
        """The alarms its rows have: by entity."""
        self.delivered: Ops = {}
        """The rows of what waited for its start: they are no more."""
        self.inherited: Inherited | None = None
        """What it has of another run's history, until its first transition is made."""
        self.bytes = 0
        """What it takes in memory, by estimate."""

    def is_idle(self, now_ms: int) -> bool:
        """Whether nothing but time, a message or a person can bring its next input soon."""
        run = self.run
        if not run.state.is_open:
            return True
        if run.activities or run.children or run.state.block is not None:
            return False
        return all(timer.alarm_ms - now_ms > SOON_MS for timer in run.timers.values())

    def drop_code(self) -> None:
        """Let go of the live coroutine; its finally blocks do not act."""
        if self.coroutine is not None:
            self.coroutine.close()
            self.coroutine = None


class RunCache:
    """The runs of one shard that are in memory; how many stay there, its memory says."""

    def __init__(self, table: Table, memory: RunMemory | None = None) -> None:
        self._table = table
        self._memory = RunMemory() if memory is None else memory
        self._indexing = Indexing(table)
        self.signal_buffer = SignalBufferStore(table)
        self._runs: dict[str, CachedRun] = {}
        self._current: dict[str, CachedRun] = {}
        self.actor_alarms: dict[str, int] = {}
        self._erased: dict[str, str] = {}
        """Runs and workflow ids that are forgotten, with the table yet to hear of it: what of."""
        self.is_held = False
        """Whether a turn is under way, in which none of them leaves."""
        self.ahead: Callable[[bytes, bytes], dict[bytes, bytes]] = lambda _start, _end: {}
        """The rows from a key to another that are on their way to the table."""

    def __len__(self) -> int:
        return len(self._runs)

    def clear(self) -> None:
        """Forget everything: what was not accepted never happened."""
        for resident in self._runs.values():
            self._memory.drop(resident)
            resident.drop_code()
        self._runs.clear()
        self._current.clear()
        self.actor_alarms.clear()
        self._erased.clear()
        self._indexing.clear()
        self.signal_buffer.clear()

    def attribute_type(self, name: str) -> str:
        """The type that runs here have given a search attribute; empty when none has it."""
        return self._indexing.type_of(name)

    def begin_turn(self) -> None:
        """Keep every run here until the turn is over."""
        self.is_held = True

    def end_turn(self) -> None:
        """Let runs leave again, here and elsewhere, until there is room."""
        self.is_held = False
        self._memory.make_room()

    def peek(self, run_id: str) -> CachedRun | None:
        """A run by its id if it is in memory; looking does not keep it there."""
        return self._runs.get(run_id)

    def find(self, run_id: str) -> CachedRun | None:
        """A run by its id, loaded when it must be."""
        resident = self._runs.get(run_id)
        if resident is not None:
            self._memory.use(resident)
            return resident
        data = self._table.get(table_layout.run_key(run_id))
        if data is None or run_id in self._erased:
            return None
        state = table_layout.decode_run(data)
        current = self._current.get(state.workflow_id)
        actor = current.run.actor if current else self._load_actor(state.workflow_id)
        return self._load(data, actor or ActorState(state.workflow_id, run_id))

    def current(self, workflow_id: str) -> CachedRun | None:
        """The newest run of a workflow id."""
        resident = self._current.get(workflow_id)
        if resident is not None:
            self._memory.use(resident)
            return resident
        actor = self._load_actor(workflow_id)
        if actor is None:
            return None
        data = self._table.get(table_layout.run_key(actor.current_run_id))
        return self._load(data, actor) if data is not None else None

    def open(self, workflow_id: str, run_id: str, event: WorkflowStarted, now_ms: int) -> CachedRun:
        """The resident of a run that begins now."""
        before = self.current(workflow_id)
        actor = before.run.actor if before else ActorState(workflow_id)
        resident = CachedRun(open_run(actor, run_id, event, now_ms))
        if event.reset is not None:
            self._inherit(resident, event.reset.run_id, now_ms)
        resident.delivered = self.signal_buffer.delivered(workflow_id)
        self._add(resident)
        return resident

    def _inherit(self, resident: CachedRun, run_id: str, now_ms: int) -> None:
        """Give a run what it has of another's history."""
        rows, run = list(self.history(run_id)), resident.run
        if run.started.first_activation_delay_ms and rows:
            run.state.begin_ms = rows[0].time_ms + run.started.first_activation_delay_ms
        resident.inherited = inherit(run, rows, now_ms)

    def history(self, run_id: str) -> Iterator[HistoryRow]:
        """The transitions of a run, those included that the table is yet to get."""
        start, end = table_layout.history_range(run_id)
        for _, data in self._table.scan(start, end):
            yield unpack_row(data)
        for _, data in sorted(self.ahead(start, end).items()):
            yield unpack_row(data)

    def imagine(self, started: WorkflowStarted, workflow_id: str, now_ms: int) -> CachedRun:
        """A run as a reset would make it, to look at; it is not kept here.

        Raises ValueError when it cannot be made.
        """
        assert started.reset is not None, "a run that a reset makes says from whom"
        run = open_run(ActorState(workflow_id), "", started, now_ms)
        resident = CachedRun(run)
        self._inherit(resident, started.reset.run_id, now_ms)
        return resident

    def _load_actor(self, workflow_id: str) -> ActorState | None:
        data = self._table.get(table_layout.actor_key(workflow_id))
        if data is None:
            return None
        if self._erased:
            current = table_layout.decode_actor(data).current_run_id
            if current in self._erased:
                return None
        actor = table_layout.decode_actor(data)
        if actor.alarm_ms:
            self.actor_alarms[workflow_id] = actor.alarm_ms
        return actor

    def _load(self, data: bytes, actor: ActorState) -> CachedRun:
        state = table_layout.decode_run(data)
        started = self._table.get(table_layout.started_key(state.run_id))
        assert started is not None, f"run {state.run_id} has no start in the table"
        run = Run(state, table_layout.decode_started(started), actor)
        resident = CachedRun(run)
        alarms = resident.key_alarm
        alarms["run", ""] = state.alarm_ms
        facts = self._table.get(table_layout.facts_key(state.run_id))
        if facts is not None:
            run.facts = table_layout.decode_facts(facts)
        for _, value in self._table.scan(*table_layout.updates_range(state.run_id)):
            update = table_layout.decode_update(value)
            run.updates[update.update_id] = update
        if state.is_open:
            for name, kind in table_layout.KINDS.items():
                entities = run.entities(name)
                for key, value in self._table.scan(*kind.range(state.run_id)):
                    entity_id = table_layout.id_of_entity(key)
                    entities[entity_id] = entity = kind.decode(value)
                    alarms[name, entity_id] = alarm_of(entity)
            resident.failing = frozenset(
                one for one, found in run.activities.items() if found.last_failure is not None
            )
        resident.shown = shown_of(run, resident.failing)
        self._add(resident)
        return resident

    def _add(self, resident: CachedRun) -> None:
        run = resident.run
        self._runs[run.state.run_id] = resident
        if run.actor.current_run_id == run.state.run_id:
            self._current[run.state.workflow_id] = resident
        self._memory.add(resident, self)

    def forget(self, resident: CachedRun) -> None:
        """Let a run leave memory; the table has all of it."""
        self._memory.drop(resident)
        resident.drop_code()
        state = resident.run.state
        del self._runs[state.run_id]
        if self._current.get(state.workflow_id) is resident:
            del self._current[state.workflow_id]
            self.actor_alarms.pop(state.workflow_id, None)

    def may_forget(self, run_id: str) -> RunState | None:
        """A closed run that nothing is under way about, and that no other is to follow."""
        resident = self.find(run_id)
        if resident is None or resident.pinned or resident.run.state.is_open:
            return None
        actor = resident.run.actor
        is_followed = actor.current_run_id == run_id and bool(actor.next_run_id)
        return None if is_followed else resident.run.state

    def happened(self, event: Record, pseq: int, ops: Ops) -> list[table_layout.Alarm]:
        """An event of the partition, in the record of a number: its rows, and the alarms it set."""
        if isinstance(event, RunsForgotten):
            for run_id in event.runs:
                self._erase(run_id, ops)
        elif isinstance(event, RetentionSet):
            ops[table_layout.RETENTION] = policy_row(event)
        else:
            return self.signal_buffer.happened(event, pseq, ops)
        return []

    def forgotten(self) -> None:
        """What was forgotten is out of the table."""
        self._erased.clear()

    def _erase(self, run_id: str, ops: Ops) -> None:
        """Drop all that is known of a closed run but the request ids of its workflow."""
        resident = self.find(run_id)
        if resident is None or resident.run.state.is_open:
            return
        run = resident.run
        ops.update(dict.fromkeys(table_layout.rows_of_closed(self._table, run_id, run.updates)))
        self._indexing.erase(run, ops)
        if run.actor.current_run_id == run_id:
            ops[table_layout.actor_key(run.state.workflow_id)] = None
        self.forget(resident)
        self._erased[run_id] = run.state.workflow_id

    def save(self, resident: CachedRun, ops: Ops, now_ms: int = 0) -> list[table_layout.Alarm]:
        """Add the rows that one transition changed; the alarms it set."""
        run, state = resident.run, resident.run.state
        run_id = state.run_id
        alarms: list[table_layout.Alarm] = []
        ops.update(resident.delivered)
        resident.delivered = {}
        if resident.inherited is not None:
            ops.update(resident.inherited.rows_to_write(run_id))
            resident.inherited = None
        # First, because an id may be in use again since.
        for kind, entity_id, _ in run.gone:
            ops[table_layout.KINDS[kind].key(run_id, entity_id)] = None
            self._move(resident, (kind, entity_id), 0, ops, alarms)
            if kind == "activity" and entity_id in resident.failing:
                resident.failing -= {entity_id}
        run.gone.clear()
        for kind, entity_id in run.touched:
            if kind in table_layout.KINDS:
                entity = run.entities(kind)[entity_id]
                ops[table_layout.KINDS[kind].key(run_id, entity_id)] = table_layout.encode(entity)
                self._move(resident, (kind, entity_id), alarm_of(entity), ops, alarms)
                has_failed = kind == "activity" and entity.last_failure is not None
                if has_failed != (entity_id in resident.failing and kind == "activity"):
                    resident.failing ^= {entity_id}
            elif kind == "facts":
                ops[table_layout.facts_key(run_id)] = table_layout.encode(run.facts)
            elif kind == "update":
                ops[table_layout.update_key(run_id, entity_id)] = table_layout.encode(
                    run.updates[entity_id]
                )
            else:
                ops[table_layout.started_key(run_id)] = table_layout.encode(run.started)
        run.touched.clear()
        ops[table_layout.run_key(run_id)] = table_layout.encode(state)
        self._move(resident, ("run", ""), state.alarm_ms, ops, alarms)
        self._save_actor(run.actor, resident, ops, alarms)
        resident.shown = self._indexing.save(run, resident.shown, ops, resident.failing)
        is_idle = resident.is_idle(now_ms)
        self._memory.weigh(resident, history_bytes=state.history_bytes, is_idle=is_idle)
        return alarms

    def _move(
        self,
        resident: CachedRun,
        entity: tuple[str, str],
        due_ms: int,
        ops: Ops,
        alarms: list[table_layout.Alarm],
    ) -> None:
        """Move an entity's alarm row from its old due time to the new one."""
        run_id = resident.run.state.run_id
        was = resident.key_alarm.pop(entity, 0)
        if was and was != due_ms:
            ops[table_layout.alarm_key(was, entity[0], run_id, entity[1])] = None
        if due_ms:
            resident.key_alarm[entity] = due_ms
            if was != due_ms:
                ops[table_layout.alarm_key(due_ms, entity[0], run_id, entity[1])] = b""
                alarms.append(table_layout.Alarm(due_ms, entity[0], run_id, entity[1]))

    def _save_actor(
        self, actor: ActorState, resident: CachedRun, ops: Ops, alarms: list[table_layout.Alarm]
    ) -> None:
        """The actor's row changes when a run begins, ends with a successor, or follows."""
        workflow_id = actor.workflow_id
        if resident.shown.status and not actor.next_run_id:
            return
        ops[table_layout.actor_key(workflow_id)] = table_layout.encode(actor)
        was = self.actor_alarms.pop(workflow_id, 0)
        if was and was != actor.alarm_ms:
            ops[table_layout.alarm_key(was, "actor", workflow_id)] = None
        if actor.alarm_ms:
            self.actor_alarms[workflow_id] = actor.alarm_ms
            ops[table_layout.alarm_key(actor.alarm_ms, "actor", workflow_id)] = b""
            alarms.append(table_layout.Alarm(actor.alarm_ms, "actor", workflow_id, ""))
