"""What releases have written is read by today's code, and it goes on from there.

What a release that is out has written is never written anew; that of today's version is, by
`make records`, as its golden records are.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
from pathlib import Path

import msgspec
import pytest

from perdure.client import Client
from perdure.worker import Worker
from perdure_actors import table_layout
from perdure_actors.partition.recovery import Recovery
from perdure_actors.retention.checkpoint_reader import CheckpointReader
from perdure_schemas.avro import UnknownSchemaError
from perdure_topics.ports import StoredRecord
from perdure_topics.tables.memory_tables import MemoryTableStore
from tests.histories.golden_logs import HERE, QUEUE, Kept, KeptLog
from tests.simulation.rebuild import checkpoints_in, content, difference, rebuilt

RELEASES = sorted(path.name for path in HERE.iterdir() if (path / "log.msgpack").exists())
pytestmark = pytest.mark.timeout(120)


def read(release: str) -> tuple[KeptLog, table_layout.Meta, list[StoredRecord]]:
    packed = (HERE / release / "log.msgpack").read_bytes()
    kept = msgspec.msgpack.decode(packed, type=KeptLog)
    records = [
        StoredRecord("ns.q.events", 0, one.offset, one.key, one.value, (), one.timestamp_ms)
        for one in kept.records
    ]
    return kept, table_layout.decode_meta(kept.meta), records


def test_there_is_one_of_this_version() -> None:
    assert "0.1.0" in RELEASES


@pytest.mark.parametrize("release", RELEASES)
def test_a_kept_log_makes_the_table_that_it_made(release: str) -> None:
    kept, meta, records = read(release)

    try:
        rows = rebuilt(records, meta)
    except UnknownSchemaError as error:
        pytest.fail(f"{error}: while the version is not out, run make records")

    assert {key[:1] for key in rows} >= {b"A", b"R", b"H", b"J", b"N", b"Q", b"W", b"\0"}
    if kept.layout == table_layout.LAYOUT:
        # Rows of one layout are one: they stand in checkpoints that are read for ever.
        assert rows == kept.rows, "raise LAYOUT, and let checkpoint_reader read the one before"


@pytest.mark.parametrize("release", RELEASES)
def test_a_kept_checkpoint_is_read_and_folded_on_from(release: str) -> None:
    _, meta, records = read(release)
    table = MemoryTableStore().open("behind")
    first, _ = checkpoints_in(records)[-1]
    reader = CheckpointReader(table, meta.cluster_id, meta.events_topic_id)
    rest = [record for record in records if record.offset >= first]

    loaded = next(found for record in rest if (found := reader.take(record)) is not None)
    recovery = Recovery(table, *loaded)
    for record in rest:
        recovery.take(record)
    meta_now = recovery.finish()

    assert difference(content(table), rebuilt(records, meta), meta_now.dispatched) == ""


@pytest.mark.embedded
@pytest.mark.parametrize("release", RELEASES)
async def test_a_kept_directory_is_opened_and_goes_on(release: str, tmp_path: Path) -> None:
    packed = (HERE / release / "data.tar.xz").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(tmp_path, filter="data")
    client = await Client.connect(f"file:{tmp_path / 'data'}")
    async with (
        asyncio.timeout(90),
        Worker(client, task_queue=QUEUE, workflows=[Kept], state_directory=tmp_path / "tables"),
    ):
        closed = client.get_workflow_handle_for(Kept.run, "closed", task_queue=QUEUE)
        assert await closed.result() == []
        opened = client.get_workflow_handle_for(Kept.run, "open", task_queue=QUEUE)
        await opened.signal(Kept.tell, "two")
        assert await opened.result() == ["one", "two"]
        later = await client.execute_workflow(Kept.run, args=[1, 0], id="later", task_queue=QUEUE)
        assert later == ["early"]
    await client.close()
