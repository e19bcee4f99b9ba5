"""How a shard's memory is laid out in its table: keys, and rows as msgpack. No rule lives here."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import msgspec

from perdure_actors.core.signal_buffer import BufferedSignal
from perdure_actors.core.state import (
    ActivityState,
    ActorState,
    CallState,
    ChildState,
    Facts,
    RunState,
    TimerState,
    UpdateState,
)
from perdure_schemas.events import WorkflowStarted
from perdure_topics.fold import Cursor

LAYOUT = 5
"""Raised when rows change their shape; a table of another layout is wiped and rebuilt."""

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
decode_actor = msgspec.msgpack.Decoder(ActorState).decode
decode_run = msgspec.msgpack.Decoder(RunState).decode
decode_started = msgspec.msgpack.Decoder(WorkflowStarted).decode
decode_activity = msgspec.msgpack.Decoder(ActivityState).decode
decode_facts = msgspec.msgpack.Decoder(Facts).decode
decode_any = msgspec.msgpack.Decoder().decode
decode_timer = msgspec.msgpack.Decoder(TimerState).decode
decode_child = msgspec.msgpack.Decoder(ChildState).decode
decode_call = msgspec.msgpack.Decoder(CallState).decode
decode_update = msgspec.msgpack.Decoder(UpdateState).decode
decode_buffered = msgspec.msgpack.Decoder(BufferedSignal).decode

_U64 = struct.Struct(">Q")
_HISTORY = struct.Struct(">qqq")
_TOP = 0xFFFFFFFFFFFFFFFF

META = b"\x00meta"
VERIFIED = b"\x00verified"
READERS = b"\x00reader\x00"
"""How far registered readers of the events have read, by name."""
RETENTION = b"\x00retention"
"""How long closed runs are kept, where somebody has said so."""
RUNS = b"R"
ACTORS = b"A"
ACTIVITIES = b"V"
REQUESTS = b"Q"
BLOCKED = b"B"
EFFECTS = b"E"
INDEX = b"I"
FOUND = b"J"
COUNTS = b"N"
ALARMS = b"D"
ALARMS_OF_WORKFLOWS = frozenset({"actor", "buffered"})
"""Kinds of alarms whose owner is a workflow id; of all others it is a run."""
BUFFERED = b"W"
TYPES = b"K"


class Scans(Protocol):
    """A table, as its rows are gone through."""

    def scan(self, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
        """The keys from start up to but not including end, in order, with their values."""


class OpenCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint of the log of which slices are still to come."""

    first_offset: int
    epoch: int
    pseq: int
    """The number of its first slice: it holds the state before that."""
    log_bytes: int
    """What was written before it, since the one before."""
    number: int = 1
    """The number of its newest slice."""
    size: int = 0


class WholeCheckpoint(msgspec.Struct, frozen=True):
    """The newest checkpoint that the log has whole."""

    first_offset: int
    last_offset: int
    pseq: int
    size: int


class Meta(msgspec.Struct, kw_only=True):
    """Which log the table follows, and how far."""

    layout: int = LAYOUT
    cluster_id: str = ""
    events_topic_id: str = ""
    commands_topic_id: str = ""
    partitions: int = 0
    offset: int = -1
    """The offset of the last record folded into the table."""
    cursor: Cursor = msgspec.field(default_factory=Cursor)
    dispatched: int = 0
    shown: int = 0
    """The pseq up to which spans were exported, as its owners said."""
    marks: dict[str, int] = {}
    """InputTrying marks by input offset, or by run or workflow id and what of it was tried."""
    short_lives: int = 0
    """Bumps since an owner last lived for long."""
    bump_ms: int = 0
    """When the last owner began, by its own clock."""
    transitions: int = 0
    copied: int = 0
    """How many transitions the newest copy of it held."""
    log_bytes: int = 0
    """What was written since the newest whole checkpoint in the log began, slices apart."""
    open_checkpoint: OpenCheckpoint | None = None
    checkpoint: WholeCheckpoint | None = None


class Verified(msgspec.Struct, kw_only=True):
    """How far a trailing reader has folded the log itself and found the table right."""

    next_offset: int = 0
    cursor: Cursor = msgspec.field(default_factory=Cursor)
    mark: bytes = b""
    """Which record is the last of these; empty when there is none."""


decode_meta = msgspec.msgpack.Decoder(Meta).decode
decode_verified = msgspec.msgpack.Decoder(Verified).decode


class RequestRow(msgspec.Struct, array_like=True):
    """What became of a request id."""

    time_ms: int
    outcome: str
    run_id: str = ""
    reason: str = ""


decode_request = msgspec.msgpack.Decoder(RequestRow).decode


class Alarm(NamedTuple):
    """A due time: of a run, an activity, a timer, an actor's next run, or a signal that waits."""

    due_ms: int
    kind: str
    owner: str
    """The run id; for an actor, or a signal that waits, the workflow id."""
    id: str


def actor_key(workflow_id: str) -> bytes:
    """An ActorState."""
    return ACTORS + workflow_id.encode()


def run_key(run_id: str) -> bytes:
    """A RunState."""
    return RUNS + run_id.encode()


def started_key(run_id: str) -> bytes:
    """A run's WorkflowStarted event."""
    return b"S" + run_id.encode()


def facts_key(run_id: str) -> bytes:
    """A run's Facts; there are none until its code has changed them."""
    return b"F" + run_id.encode()


def activity_key(run_id: str, activity_id: str) -> bytes:
    """An ActivityState."""
    return ACTIVITIES + f"{run_id}\0{activity_id}".encode()


def timer_key(run_id: str, timer_id: str) -> bytes:
    """A TimerState."""
    return b"T" + f"{run_id}\0{timer_id}".encode()


def update_key(run_id: str, update_id: str) -> bytes:
    """An UpdateState."""
    return b"U" + f"{run_id}\0{update_id}".encode()


def updates_range(run_id: str) -> tuple[bytes, bytes]:
    """All updates of a run."""
    prefix = b"U" + run_id.encode()
    return prefix + b"\0", prefix + b"\1"


def activities_range(run_id: str) -> tuple[bytes, bytes]:
    """All activities of a run."""
    prefix = ACTIVITIES + run_id.encode()
    return prefix + b"\0", prefix + b"\1"


def timers_range(run_id: str) -> tuple[bytes, bytes]:
    """All timers of a run."""
    prefix = b"T" + run_id.encode()
    return prefix + b"\0", prefix + b"\1"


def child_key(run_id: str, child_id: str) -> bytes:
    """A ChildState."""
    return b"C" + f"{run_id}\0{child_id}".encode()


def call_key(run_id: str, call_id: str) -> bytes:
    """A CallState."""
    return b"X" + f"{run_id}\0{call_id}".encode()


def children_range(run_id: str) -> tuple[bytes, bytes]:
    """All children of a run."""
    prefix = b"C" + run_id.encode()
    return prefix + b"\0", prefix + b"\1"


def calls_range(run_id: str) -> tuple[bytes, bytes]:
    """All calls of a run that are not answered."""
    prefix = b"X" + run_id.encode()
    return prefix + b"\0", prefix + b"\1"


class Kind(NamedTuple):
    """How entities of a kind are kept: their keys, all of a run's, and a row's meaning."""

    key: Callable[[str, str], bytes]
    range: Callable[[str], tuple[bytes, bytes]]
    decode: Callable[[bytes], Any]


KINDS = {
    "activity": Kind(activity_key, activities_range, decode_activity),
    "timer": Kind(timer_key, timers_range, decode_timer),
    "child": Kind(child_key, children_range, decode_child),
    "call": Kind(call_key, calls_range, decode_call),
}


def id_of_entity(key: bytes) -> str:
    """The id that an entity's key names."""
    return key.partition(b"\0")[2].decode()


def buffered_key(workflow_id: str, pseq: int) -> bytes:
    """A BufferedSignal, by the number of the record that kept it."""
    return BUFFERED + workflow_id.encode() + b"\0" + _U64.pack(pseq)


def place_of_buffered(key: bytes) -> tuple[str, int]:
    """The workflow id and the number that a signal's key names."""
    return key[1:-9].decode(), _U64.unpack_from(key, len(key) - 8)[0]


def history_key(run_id: str, seq: int) -> bytes:
    """A transition of a run, by the seq of its first event."""
    return b"H" + run_id.encode() + _U64.pack(seq)


def history_range(run_id: str, from_seq: int = 0) -> tuple[bytes, bytes]:
    """The transitions of a run from a seq on."""
    prefix = b"H" + run_id.encode()
    return prefix + _U64.pack(from_seq), prefix + _U64.pack(_TOP)


def pack_history(offset: int, pseq: int, time_ms: int, body: bytes) -> bytes:
    """A history row: where and when the transition was written, and its body as it was."""
    return _HISTORY.pack(offset, pseq, time_ms) + body


def unpack_history(row: bytes) -> tuple[int, int, int, bytes]:
    """offset, pseq, time_ms and body of a history row."""
    offset, pseq, time_ms = _HISTORY.unpack_from(row)
    return offset, pseq, time_ms, row[_HISTORY.size :]


def alarm_key(due_ms: int, kind: str, owner: str, entity_id: str = "") -> bytes:
    """An alarm, ordered by due time; it has no value."""
    return ALARMS + _U64.pack(due_ms) + f"{kind}\0{owner}\0{entity_id}".encode()


def alarm_of(key: bytes) -> Alarm:
    """The alarm that a key stands for."""
    kind, _, place = key[9:].decode().partition("\0")
    # A workflow id may have any text in it, and so may an entity's id; never both in one key.
    of_workflow = kind in ALARMS_OF_WORKFLOWS
    owner, _, entity_id = place.rpartition("\0") if of_workflow else place.partition("\0")
    return Alarm(_U64.unpack_from(key, 1)[0], kind, owner, entity_id)


def alarms_range(from_ms: int = 0, to_ms: int = _TOP) -> tuple[bytes, bytes]:
    """The alarms due from one time up to another."""
    return ALARMS + _U64.pack(from_ms), ALARMS + _U64.pack(to_ms)


def rows_of_closed(table: Scans, run_id: str, updates: Iterable[str]) -> Iterator[bytes]:
    """The keys of all rows that a closed run has to itself, its history among them.

    What was pending went with the batch that closed it; only its updates are kept as long as it.
    """
    yield from (run_key(run_id), started_key(run_id), facts_key(run_id))
    for update_id in updates:
        yield update_key(run_id, update_id)
    for key, _ in table.scan(*history_range(run_id)):
        yield key


def index_key(place: bytes) -> bytes:
    """A run in the list, by its position; it has no value."""
    return INDEX + place


def found_prefix(field: str, value: bytes = b"") -> bytes:
    """The runs with a value in a field: the sortable value, then positions; without values."""
    return FOUND + field.encode() + b"\0" + value


def count_key(workflow_type: str, status: str) -> bytes:
    """How many runs of a type have a status."""
    return COUNTS + f"{workflow_type}\0{status}".encode()


def counts_range(workflow_type: str) -> tuple[bytes, bytes]:
    """The counts of a type, by status."""
    return prefix_range(count_key(workflow_type, ""))


def count_of(key: bytes) -> tuple[str, str]:
    """The workflow type and the status that a count's key names."""
    workflow_type, _, status = key[1:].decode().rpartition("\0")
    return workflow_type, status


def type_key(name: str, attribute_type: str) -> bytes:
    """How many runs have a search attribute of a type."""
    return TYPES + f"{name}\0{attribute_type}".encode()


def type_in(key: bytes) -> str:
    """The type that such a key names."""
    return key[1:].decode().partition("\0")[2]


def types_range(name: str) -> tuple[bytes, bytes]:
    """All types of a search attribute."""
    prefix = TYPES + name.encode()
    return prefix + b"\0", prefix + b"\1"


PENDING_ACTIVITIES = b"\x00activities"
"""How many activities have no outcome."""
RETRYING = b"\x00retrying"
"""How many open runs have an activity that failed and will be tried again."""
EXHAUSTED = b"\x00exhausted"
"""How many open runs wait for a person with an activity that is out of attempts."""


def pack_count(count: int) -> bytes:
    """A count's row."""
    return _U64.pack(count)


def unpack_count(row: bytes) -> int:
    """The count of a row."""
    count: int = _U64.unpack(row)[0]
    return count


def blocked_key(run_id: str) -> bytes:
    """A run that is blocked; it has no value."""
    return BLOCKED + run_id.encode()


def request_key(workflow_id: str, request_id: str) -> bytes:
    """A RequestRow."""
    return REQUESTS + f"{workflow_id}\0{request_id}".encode()


def last_seen_key(topic_id: str, partition: int) -> bytes:
    """The newest command taken from a source partition: (epoch, pseq, index)."""
    return b"L" + f"{topic_id}\0{partition}".encode()


def effect_key(pseq: int, place: int) -> bytes:
    """An effect that cannot be derived from state, until it is acknowledged."""
    return EFFECTS + _U64.pack(pseq) + _U64.pack(place)


def effects_range() -> tuple[bytes, bytes]:
    """All effects that are kept."""
    return EFFECTS, EFFECTS + _U64.pack(_TOP) + b"\xff"


def prefix_range(prefix: bytes) -> tuple[bytes, bytes]:
    """All keys of one kind."""
    return prefix, prefix[:-1] + bytes([prefix[-1] + 1])


def run_of_activity(key: bytes) -> str:
    """The run that an activity's key names."""
    return key[1:].partition(b"\0")[0].decode()


def place_of_effect(key: bytes) -> tuple[int, int]:
    """The pseq of the record that brought a kept effect, and the effect's place in it."""
    return _U64.unpack_from(key, 1)[0], _U64.unpack_from(key, 9)[0]
