"""Tables: sorted, all or nothing, warm after a restart; damage and full disks are said."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure_topics.ports import Table, TableDamagedError, TableError, TableFullError, TableStore
from perdure_topics.tables.memory_tables import MemoryTableStore
from perdure_topics.tables.rocksdb_tables import SCAN_CHUNK, RocksTableStore, TableMemory


@pytest.fixture(params=["rocks", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TableStore]:
    if request.param == "memory":
        yield MemoryTableStore()
        return
    rocks = RocksTableStore(tmp_path / "state")
    yield rocks
    rocks.close()


def fill(table: Table, count: int) -> None:
    table.write([(b"k%06d" % n, b"v%d" % n) for n in range(count)], [])


def test_a_batch_puts_and_deletes(store: TableStore) -> None:
    table = store.open("p-0")
    table.write([(b"a", b"1"), (b"b", b""), (b"c", b"3")], [])
    table.write([(b"a", b"2")], [b"c", b"never there"])
    assert [table.get(key) for key in (b"a", b"b", b"c")] == [b"2", b"", None]
    table.close()


def test_a_snapshot_stays_as_it_was(store: TableStore) -> None:
    table = store.open("p-0")
    table.write([(b"a", b"1"), (b"b", b"2"), (b"c", b"3")], [])
    snapshot = table.snapshot()
    table.write([(b"a", b"9"), (b"d", b"4")], [b"b"])
    assert snapshot.scan(b"", b"\xff", limit=9) == [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]
    assert snapshot.scan(b"b", b"c", limit=9) == [(b"b", b"2")]
    assert snapshot.scan(b"", b"\xff", limit=1) == [(b"a", b"1")]
    snapshot.close()
    table.close()
    again = store.open("p-0")
    assert [again.get(key) for key in (b"a", b"b", b"d")] == [b"9", None, b"4"]
    again.close()


def test_a_table_closes_though_a_snapshot_is_left(tmp_path: Path) -> None:
    rocks = RocksTableStore(tmp_path / "state")
    table = rocks.open("p-0")
    table.write([(b"a", b"1")], [])
    snapshot = table.snapshot()
    table.close()

    with pytest.raises(TableError, match="its snapshot with it"):
        snapshot.scan(b"", b"\xff", limit=1)
    rocks.open("p-0").close()
    rocks.close()


def test_scans_both_ways_over_more_than_a_chunk(store: TableStore) -> None:
    table = store.open("p-0")
    count = 3 * SCAN_CHUNK + 7
    fill(table, count)
    keys = [b"k%06d" % n for n in range(count)]
    assert [key for key, _ in table.scan(b"", b"\xff")] == keys
    assert [key for key, _ in table.scan(b"", b"\xff", reverse=True)] == keys[::-1]
    # The end does not count, from either side.
    assert [key for key, _ in table.scan(keys[5], keys[8])] == keys[5:8]
    assert [key for key, _ in table.scan(keys[5], keys[8], reverse=True)] == keys[5:8][::-1]
    assert list(table.scan(keys[8], keys[5])) == []
    for limit in (0, 1, SCAN_CHUNK, SCAN_CHUNK + 1):
        assert len(list(table.scan(b"", b"\xff", limit=limit))) == limit
    table.close()


@pytest.mark.seeds(3, fresh=2)
def test_any_table_is_a_sorted_dict(seed: int, store: TableStore) -> None:
    rng = random.Random(seed)
    table = store.open("p-0")
    model: dict[bytes, bytes] = {}
    for _ in range(200):
        puts = [(b"%02d" % rng.randrange(60), rng.randbytes(4)) for _ in range(rng.randrange(6))]
        deletes = [b"%02d" % rng.randrange(60) for _ in range(rng.randrange(4))]
        table.write(puts, deletes)
        model.update(puts)
        for key in deletes:
            model.pop(key, None)
        start, end = sorted((b"%02d" % rng.randrange(60), b"%02d" % rng.randrange(60)))
        expected = sorted(pair for pair in model.items() if start <= pair[0] < end)
        assert list(table.scan(start, end)) == expected
        assert list(table.scan(start, end, reverse=True)) == expected[::-1]
    assert {key: table.get(key) for key in model} == model
    table.close()


def test_a_closed_table_opens_again_and_a_wiped_one_is_empty(store: TableStore) -> None:
    table = store.open("p-0")
    fill(table, 10)
    table.close()
    with pytest.raises(TableError, match="closed"):
        table.get(b"k000001")
    table = store.open("p-0")
    assert table.get(b"k000001") == b"v1"
    table.close()
    store.wipe("p-0")
    table = store.open("p-0")
    assert list(table.scan(b"", b"\xff")) == []
    table.close()


def test_a_table_has_one_holder(store: TableStore) -> None:
    table = store.open("p-0")
    with pytest.raises(TableError):
        store.open("p-0")
    table.close()


def test_a_checkpoint_is_a_copy_that_can_be_installed(store: TableStore, tmp_path: Path) -> None:
    table = store.open("p-0")
    fill(table, 1000)
    table.checkpoint(str(tmp_path / "cp"))
    table.write([(b"later", b"x")], [b"k000000"])
    with pytest.raises(TableError):
        table.checkpoint(str(tmp_path / "cp"))
    table.close()
    store.install("p-0", str(tmp_path / "cp"))
    table = store.open("p-0")
    assert table.get(b"later") is None
    assert table.get(b"k000000") == b"v0"
    table.close()
    # It may be installed a second time, elsewhere: installing does not change it.
    store.install("p-1", str(tmp_path / "cp"))
    other = store.open("p-1")
    assert len(list(other.scan(b"", b"\xff"))) == 1000
    other.close()


def test_what_is_no_checkpoint_is_refused_and_the_table_stays(
    store: TableStore, tmp_path: Path
) -> None:
    table = store.open("p-0")
    fill(table, 10)
    table.close()
    (tmp_path / "junk").mkdir()
    for directory in ("junk", "missing"):
        with pytest.raises(TableError):
            store.install("p-0", str(tmp_path / directory))
    table = store.open("p-0")
    assert table.get(b"k000009") == b"v9"
    table.close()


def rocks_with_sst(root: Path, count: int = 20_000) -> Path:
    """A closed table that has its content in sorted files, and the largest of them."""
    store = RocksTableStore(root)
    table = store.open("p-0")
    for base in range(0, count, 1000):
        table.write([(b"k%06d" % (base + n), os.urandom(200)) for n in range(1000)], [])
    table.checkpoint(str(root / "flush"))  # A checkpoint flushes.
    table.close()
    files = sorted((store.slot / "p-0").glob("*.sst"), key=lambda path: path.stat().st_size)
    store.close()
    return files[-1]


def test_a_truncated_file_is_told_at_opening(tmp_path: Path) -> None:
    sst = rocks_with_sst(tmp_path)
    os.truncate(sst, sst.stat().st_size // 2)
    store = RocksTableStore(tmp_path)
    with pytest.raises(TableError, match="p-0"):
        store.open("p-0")
    store.wipe("p-0")
    table = store.open("p-0")
    assert table.get(b"k000001") is None
    table.close()
    store.close()


def test_flipped_bytes_are_told_by_gets_and_scans(tmp_path: Path) -> None:
    sst = rocks_with_sst(tmp_path)
    with sst.open("r+b") as file:
        file.seek(sst.stat().st_size // 3)
        file.write(b"\0" * 64)
    store = RocksTableStore(tmp_path)
    table = store.open("p-0")
    with pytest.raises(TableError, match=r"[Cc]orrupt"):
        list(table.scan(b"", b"\xff"))
    with pytest.raises(TableError, match=r"[Cc]orrupt"):
        _ = [table.get(b"k%06d" % n) for n in range(20_000)]
    table.close()
    store.close()


def test_a_torn_write_ahead_log_loses_whole_batches_only(tmp_path: Path) -> None:
    store = RocksTableStore(tmp_path)
    table = store.open("p-0")
    for n in range(200):
        table.write([(b"a%03d" % n, b"x" * 50), (b"b%03d" % n, b"y" * 50), (b"n", b"%d" % n)], [])
    # As a power failure leaves it: a copy made while the table is open, its tail cut.
    slot, copy = store.slot / "p-0", tmp_path / "slot-0" / "p-1"
    subprocess.run(["cp", "-r", str(slot), str(copy)], check=True)
    table.close()
    log = max(copy.glob("*.log"), key=lambda path: path.stat().st_size)
    os.truncate(log, log.stat().st_size * 2 // 3)
    torn = store.open("p-1")
    last = int(torn.get(b"n") or b"-1")
    assert 0 < last < 199
    for n in range(200):
        there = n <= last
        assert (torn.get(b"a%03d" % n) is not None) == there
        assert (torn.get(b"b%03d" % n) is not None) == there
    torn.close()
    store.close()


HOLD = """
import sys
from perdure_topics.tables.rocksdb_tables import RocksTableStore
store = RocksTableStore(sys.argv[1])
table = store.open("p-0")
table.write([(b"by", store.slot.name.encode())], [])
print(store.slot.name, flush=True)
sys.stdin.read()
"""


def test_processes_take_slots_and_a_killed_ones_table_is_warm(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def slot_of(child: subprocess.Popen[str]) -> str:
        assert child.stdout is not None
        return child.stdout.readline().strip()

    first = start()
    assert slot_of(first) == "slot-0"
    second = start()
    assert slot_of(second) == "slot-1"
    first.kill()
    first.wait()
    mine = RocksTableStore(tmp_path)
    assert mine.slot.name == "slot-0"
    table = mine.open("p-0")
    assert table.get(b"by") == b"slot-0"
    table.close()
    mine.close()
    second.kill()
    second.wait()
    for child in (first, second):
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A disk of a given size, mounted; called again it is resized."""
    point = tmp_path / "disk"
    point.mkdir()

    def size(text: str) -> Path:
        again = "remount," if point.is_mount() else ""
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"{again}size={text}", "none", str(point)],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        return point

    yield size
    if point.is_mount():
        subprocess.run(["umount", "-l", str(point)], check=True)


def test_a_full_disk_is_said_and_the_table_goes_on_with_space(
    small_disk: Callable[[str], Path],
) -> None:
    store = RocksTableStore(small_disk("6m"))
    table = store.open("p-0")
    written = 0

    def fill_up() -> None:
        nonlocal written
        while written < 10_000:
            table.write([(b"k%06d" % written, os.urandom(2000))], [])
            written += 1

    with pytest.raises(TableFullError, match="no space left"):
        fill_up()
    assert written > 100
    # What was written can still be read, nothing can be written.
    assert table.get(b"k%06d" % (written - 1)) is not None
    with pytest.raises(TableFullError, match="MiB are free"):
        table.write([(b"more", b"x")], [])
    small_disk("64m")
    table.write([(b"more", b"x")], [])
    assert table.get(b"more") == b"x"
    assert all(table.get(b"k%06d" % n) is not None for n in range(written))
    table.close()
    store.close()


class Stalled:
    """A database whose flushes are behind: who is not patient is told so."""

    def __init__(self, db: Any) -> None:
        self._db = db

    def write(self, batch: Any, options: Any) -> None:
        if options.no_slowdown:
            raise RuntimeError("Result incomplete: Write stall")
        self._db.write(batch, options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


@pytest.mark.parametrize("has_space", [True, False])
def test_a_write_waits_for_a_flush_only_where_that_has_room(
    small_disk: Callable[[str], Path], has_space: bool
) -> None:
    store = RocksTableStore(small_disk("64m" if has_space else "6m"))
    table = store.open("p-0")
    table._db = Stalled(table._db)  # type: ignore[assignment]

    if has_space:
        table.write([(b"k", b"x")], [])
        assert table.get(b"k") == b"x"
    else:
        with pytest.raises(TableFullError, match="MiB are free"):
            table.write([(b"k", b"x")], [])
    table.close()
    store.close()


def test_sixteen_tables_stay_small(tmp_path: Path) -> None:
    # 10,000 workflows of 6 keys and 1 kB each, four times rewritten.
    script = """
import os, sys
from perdure_topics.tables.rocksdb_tables import RocksTableStore
def resident_kib():
    return int(open('/proc/self/statm').read().split()[1]) * 4
store = RocksTableStore(sys.argv[1])
tables = [store.open(f"t-{n}") for n in range(16)]
before = resident_kib()
for n in range(40_000):
    w = n % 10_000
    tables[w % 16].write([(b"%d/%d" % (w, k), os.urandom(170)) for k in range(6)], [])
print(resident_kib() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) * 1024 / 10_000 < 2048


def test_a_store_says_when_its_directory_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(TableError, match="state directory"):
        RocksTableStore(tmp_path / "file")
    store = RocksTableStore(tmp_path, memory=TableMemory())
    for name in ("", ".hidden", "x" * 300):
        with pytest.raises(TableError, match="named"):
            store.open(name)
    # Other names are quoted, so two of them never meet.
    left, right = store.open("a/b"), store.open("a%2Fb")
    left.write([(b"k", b"left")], [])
    assert right.get(b"k") is None
    left.close()
    right.close()
    store.close()


def test_a_memory_table_loses_what_was_not_synced_and_breaks() -> None:
    store = MemoryTableStore()
    table = store.open("p-0")
    for n in range(5):
        table.write([(b"n", b"%d" % n), (b"k%d" % n, b"x")], [])
    store.crash()
    with pytest.raises(TableError, match="closed"):
        table.get(b"n")
    assert store.lose("p-0", 2) == 2
    table = store.open("p-0")
    assert [key for key, _ in table.scan(b"", b"\xff")] == [b"k0", b"k1", b"k2", b"n"]
    assert table.get(b"n") == b"2"
    store.full = True
    with pytest.raises(TableFullError):
        table.write([(b"n", b"9")], [])
    assert table.get(b"n") == b"2"
    table.close()
    store.damage("p-0")
    with pytest.raises(TableError, match="damaged"):
        store.open("p-0")
    store.wipe("p-0")
    assert store.open("p-0").get(b"n") is None


def test_damage_that_only_reading_shows_is_told_apart(tmp_path: Path) -> None:
    store = RocksTableStore(tmp_path)
    rows = [(b"k%06d" % number, random.Random(number).randbytes(1_000)) for number in range(2_000)]
    table = store.open("p-0")
    table.write(rows, ())
    table.close()
    store.open("p-0").close()
    path = max(tmp_path.rglob("*.sst"), key=lambda one: one.stat().st_size)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        bad = bytes(byte ^ 0xFF for byte in file.read(64))
        file.seek(-64, 1)
        file.write(bad)

    table = store.open("p-0")
    with pytest.raises(TableDamagedError, match="Corruption: block checksum mismatch"):
        list(table.scan(b"k", b"l"))
    table.close()
    store.wipe("p-0")
    assert store.open("p-0").get(rows[0][0]) is None
    store.close()
