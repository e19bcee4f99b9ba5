"""Checkpoints in the log: who begins with one has what a reader from the start has, and goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from perdure import workflow
from perdure_actors import table_layout
from perdure_actors.retention import log_checkpoint
from perdure_actors.retention.checkpoint_reader import CheckpointReader, NoCheckpointError
from perdure_actors.retention.log_checkpoint import Slices
from perdure_schemas import commands as cmd
from perdure_schemas import operator_commands as op
from perdure_schemas.avro import UnreadableRecordError, decode, encode
from perdure_schemas.partition_events import CheckpointSlice
from perdure_schemas.payloads import Payload
from perdure_schemas.replies import Accepted, RunClosed
from perdure_topics.tables.memory_tables import MemoryTableStore
from tests.simulation.rebuild import check_checkpoint, checkpoints_in, content
from tests.unit.host_world import HostWorld, tell

pytestmark = pytest.mark.timeout(60)


@workflow.defn
class Told:
    """Ends when it was told so often."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, wanted: int) -> list[str]:
        workflow.upsert_search_attributes({"Kind": ["told"]})
        await workflow.wait_condition(lambda: len(self.told) >= wanted)
        await asyncio.sleep(1)
        return self.told

    @workflow.signal
    def tell(self, what: str) -> None:
        self.told.append(what)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., HostWorld]:
    monkeypatch.setattr(log_checkpoint, "SLICE_ROWS", 3)
    monkeypatch.setattr(log_checkpoint, "SCANNED", 2)

    def make(checkpoint_bytes: int = 1) -> HostWorld:
        world = HostWorld([Told], checkpoint_bytes=checkpoint_bytes)
        world.run(1_000)
        return world

    return make


def start(world: HostWorld, name: str, wanted: int = 1) -> None:
    world.start("Told", name, input=[Payload(data=b"%d" % wanted)])


def result(world: HostWorld, name: str) -> Any:
    world.asked += 1
    reply = world.reply_to(f"result {world.asked}")
    world.send(cmd.AwaitResult(workflow_id=name, run_id="", reply=reply))
    world.run(3_000)
    return world.answer(f"result {world.asked}")


def let_cut(world: HostWorld) -> None:
    reply = world.reply_to("cut")
    world.send(op.SetRetention(partition=0, keep_ms=-1, cut="yes", reply=reply), partition=0)
    world.run(1_000)
    assert isinstance(world.answer("cut"), Accepted)


def events(world: HostWorld) -> Any:
    return world.broker.partition(world.topic("events"), 0)


def shard_of(world: HostWorld) -> Any:
    shard = world.host.slots[0].shard
    assert shard is not None, world.findings
    return shard


def busy(world: HostWorld) -> None:
    """Runs of all kinds: closed, open, told; and a signal that waits for a start."""
    for number in range(6):
        start(world, f"w-{number}")
    tell(world, "later", "early", buffer_ms=3_600_000)
    world.run(1_000)
    for number in range(3):
        tell(world, f"w-{number}", "go")
    world.run(5_000)


def test_a_reader_from_a_checkpoint_has_what_one_from_the_start_has(
    make: Callable[..., HostWorld],
) -> None:
    world = make(1_000)
    busy(world)
    busy(world)
    world.run(2_000)

    records = events(world).whole
    found = checkpoints_in(records)
    assert found
    assert found[-1][1] - found[-1][0] >= 10, "several slices"
    for _, last in found:
        for end in (last, len(records) - 1):
            assert check_checkpoint(records[: end + 1], shard_of(world).meta) == ""


def test_a_host_without_a_table_goes_on_from_a_log_that_was_cut(
    make: Callable[..., HostWorld],
) -> None:
    world = make()
    let_cut(world)
    busy(world)
    world.run(70_000)
    before = content(shard_of(world).table)
    base = events(world).base
    assert base > 0

    world.die()
    world.store._contents.clear()
    world.run(20_000)

    assert (
        content(shard_of(world).table).items()
        >= {
            key: row for key, row in before.items() if key[:1] in (b"H", b"S", b"J", b"W", b"N")
        }.items()
    )
    assert world.said("head_lost") == world.said("table_wiped") == []
    closed = result(world, "w-0")
    assert isinstance(closed, RunClosed)
    tell(world, "w-4", "go")
    world.run(2_000)
    assert result(world, "w-4").result == Payload(data=b'["go"]')
    start(world, "later")
    world.run(1_000)
    assert result(world, "later").result == Payload(data=b'["early"]')


def test_a_table_that_stands_before_the_cut_is_made_anew_from_the_checkpoint(
    make: Callable[..., HostWorld],
) -> None:
    world = make(0)
    busy(world)
    world.die()
    old = world.store
    world.store = MemoryTableStore()
    world.checkpoint_bytes = 1
    world.run(20_000)
    world.die()
    world.run(20_000)
    let_cut(world)
    busy(world)
    world.run(70_000)
    assert events(world).base > 0
    world.die()
    world.store = old
    world.die()
    world.run(20_000)

    assert isinstance(result(world, "w-0"), RunClosed)


def test_nothing_is_cut_unless_the_rule_says_so(make: Callable[..., HostWorld]) -> None:
    world = make()
    busy(world)
    world.run(70_000)

    assert shard_of(world).meta.checkpoint is not None
    assert events(world).base == 0


def test_a_checkpoint_that_leaves_a_signal_out_is_said_and_nothing_is_cut(
    make: Callable[..., HostWorld], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Slices.next

    def leaves_out(self: Slices) -> CheckpointSlice:
        one = honest(self)
        kept = [n for n, key in enumerate(one.keys) if not key.startswith(table_layout.BUFFERED)]
        keys, values = [one.keys[n] for n in kept], [one.values[n] for n in kept]
        return msgspec.structs.replace(one, keys=keys, values=values)

    monkeypatch.setattr(Slices, "next", leaves_out)
    world = make()
    busy(world)
    let_cut(world)
    world.run(70_000)

    said = world.said("checkpoint_wrong")
    assert said
    assert "the checkpoint in ns.q.events partition 0 is not what the log makes" in said[0]
    assert events(world).base == 0


def test_what_is_cut_by_hand_in_the_middle_is_refused_and_the_table_kept(
    make: Callable[..., HostWorld],
) -> None:
    world = make()
    busy(world)
    world.run(5_000)
    first, last = checkpoints_in(events(world).whole)[-1]
    for at in (first + 1, last + 1):
        world.log.delete_before(world.topic("events"), 0, at)
        world.die()
        world.store._contents.clear()
        world.run(20_000)

        assert world.host.slots[0].shard is None
        why = "it begins in the middle of what an owner wrote"
        assert all(why in text for text in world.said("refused"))
        assert f"begins at offset {at}:" in world.said("refused")[-1]


def test_a_torn_checkpoint_is_none(make: Callable[..., HostWorld]) -> None:
    world = make()
    busy(world)
    world.run(5_000)
    records = events(world).whole
    first, last = checkpoints_in(records)[-1]
    meta = shard_of(world).meta

    def read(found: Any) -> Any:
        table = MemoryTableStore().open("t")
        reader = CheckpointReader(table, meta.cluster_id, meta.events_topic_id)
        return [loaded for one in found if (loaded := reader.take(one)) is not None]

    assert len(read(records[first : last + 1])) == 1
    assert read(records[first:last]) == []
    # The same numbers again, as a fold must have them: only the slice is gone.
    missing = [one for one in records[first : last + 1] if one.offset != first + 1]
    missing = renumbered(missing, records[first])
    with pytest.raises(NoCheckpointError, match="slice 3 follows 1"):
        read(missing)
    reader = CheckpointReader(MemoryTableStore().open("t"), "another", meta.events_topic_id)
    with pytest.raises(NoCheckpointError, match="of another log: of cluster"):
        reader.take(records[first])


def renumbered(records: list[Any], header: Any) -> list[Any]:
    first: Any = decode(header.value)
    at = first.pseq
    out = []
    for place, one in enumerate(records):
        envelope = decode(one.value)
        out.append(one._replace(value=encode(msgspec.structs.replace(envelope, pseq=at + place))))
    return out


def test_a_layout_that_is_not_known_is_refused(
    make: Callable[..., HostWorld], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    busy(world)
    world.run(5_000)
    records = events(world).whole
    first = checkpoints_in(records)[-1][0]
    meta = shard_of(world).meta
    monkeypatch.setattr(table_layout, "LAYOUT", table_layout.LAYOUT - 1)
    reader = CheckpointReader(MemoryTableStore().open("t"), meta.cluster_id, meta.events_topic_id)

    with pytest.raises(UnreadableRecordError, match="let a newer release own the partition"):
        reader.take(records[first])


def test_an_owner_that_dies_halfway_leaves_none_and_the_next_begins_anew(
    make: Callable[..., HostWorld],
) -> None:
    world = make(10**9)
    busy(world)
    world.checkpoint_bytes = 1
    world.die()
    for _ in range(2_000):
        world.turn()
        slot = world.host.slots.get(0)
        if slot is not None and slot.shard is not None and slot.shard.meta.open_checkpoint:
            break
    assert shard_of(world).meta.open_checkpoint is not None
    assert checkpoints_in(events(world).whole) == []
    world.die()
    world.run(20_000)

    records = events(world).whole
    assert checkpoints_in(records)
    assert check_checkpoint(records, shard_of(world).meta) == ""
    assert isinstance(result(world, "w-0"), RunClosed)
