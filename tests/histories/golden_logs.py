"""What today's code writes as a whole: a partition's log, the table it makes, a directory.

`make records` keeps it as that of today's version. What an earlier version wrote
is never written anew: it is what later code must read.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from perdure import workflow
from perdure.client import Client
from perdure.worker import Worker
from perdure_actors.retention import log_checkpoint
from perdure_schemas.avro import encode
from perdure_schemas.operator_commands import SetRetention
from perdure_schemas.payloads import Payload
from perdure_schemas.version import VERSION
from tests.simulation.rebuild import fresh_meta, rebuilt
from tests.unit.host_world import HostWorld, tell

HERE = Path(__file__).parent / "logs"
QUEUE = "q"


@workflow.defn
class Kept:
    """A run that upserts, sleeps, is told, starts a child and continues: a bit of everything."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, wanted: int, rounds: int) -> list[str]:
        workflow.upsert_memo({"wanted": wanted})
        await workflow.wait_condition(lambda: len(self.told) >= wanted)
        await asyncio.sleep(1)
        if rounds:
            workflow.continue_as_new(args=[0, rounds - 1])
        return self.told

    @workflow.signal
    def tell(self, what: str) -> None:
        self.told.append(what)

    @workflow.update
    def told_so_far(self) -> int:
        return len(self.told)


class KeptRecord(msgspec.Struct, array_like=True):
    """A record of a kept log."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


class KeptLog(msgspec.Struct):
    """A partition's events, and the rows that they make of an empty table."""

    layout: int
    meta: bytes
    records: list[KeptRecord]
    rows: dict[bytes, bytes]


def start(world: HostWorld, name: str, wanted: int, rounds: int = 0) -> None:
    world.start("Kept", name, input=[Payload(data=b"%d" % n) for n in (wanted, rounds)])


def kept_log() -> KeptLog:
    """A log with two owners, runs of all kinds, what is forgotten, and a checkpoint between."""
    from perdure_actors import table_layout

    log_checkpoint.SLICE_ROWS, before = 20, log_checkpoint.SLICE_ROWS  # type: ignore[misc]
    try:
        world = HostWorld([Kept], checkpoint_bytes=2_000)
        world.run(1_000)
        world.write(encode(SetRetention(partition=0, keep_ms=90_000)), key=b"")
        for number in range(4):
            start(world, f"w-{number}", 1, rounds=number % 2)
        tell(world, "later", "early", buffer_ms=3_600_000)
        world.run(1_000)
        for number in range(2):
            tell(world, f"w-{number}", "go")
        world.run(5_000)
        world.die()
        world.run(12_000)
        for number in range(4, 8):
            start(world, f"w-{number}", number % 2)
        for _ in range(6):
            world.turn(31_000)
        world.run(3_000)
        start(world, "last", 1)
        world.run(2_000)
    finally:
        log_checkpoint.SLICE_ROWS = before  # type: ignore[misc]
    shard = world.host.slots[0].shard
    assert shard is not None, world.findings
    records = world.broker.partition(world.topic("events"), 0).whole
    assert shard.meta.checkpoint is not None, "there is one to begin with"
    return KeptLog(
        layout=table_layout.LAYOUT,
        meta=table_layout.encode(fresh_meta(shard.meta)),
        records=[KeptRecord(r.offset, r.timestamp_ms, r.key, r.value) for r in records],
        rows=rebuilt(records, shard.meta),
    )


async def write_directory(place: Path) -> None:
    """A data directory as an engine leaves it: a closed run, and an open one that was told."""
    client = await Client.connect(f"file:{place / 'data'}")
    async with Worker(client, task_queue=QUEUE, workflows=[Kept], state_directory=place / "tables"):
        await client.execute_workflow(Kept.run, args=[0, 1], id="closed", task_queue=QUEUE)
        opened = await client.start_workflow(Kept.run, args=[2, 0], id="open", task_queue=QUEUE)
        await opened.signal(Kept.tell, "one")
        waits: Any = client.get_workflow_handle("later", task_queue=QUEUE)
        await waits.signal("tell", "early", buffer_for=timedelta(days=30))
    await client.close()


def packed_directory() -> bytes:
    """Such a directory as an archive."""
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(write_directory(Path(place)))
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:xz") as archive:
            for path in sorted((Path(place) / "data").rglob("*")):
                if path.name != "LOCK" and not path.name.startswith("LOG"):
                    archive.add(path, str(path.relative_to(place)), recursive=False)
        return out.getvalue()


def main() -> None:
    """Keep what today's code writes as that of today's version."""
    folder = HERE / VERSION
    folder.mkdir(exist_ok=True)
    (folder / "log.msgpack").write_bytes(msgspec.msgpack.encode(kept_log()))
    (folder / "data.tar.xz").write_bytes(packed_directory())
    print(f"kept in {folder}")


if __name__ == "__main__":
    main()
