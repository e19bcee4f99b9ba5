"""Tables on RocksDB: one database a name, in a directory that several processes may share.

A table is a cache of the log. It is never synced to disk: after a power failure it is behind by
some whole batches, and the fold goes on from there. Values are raw bytes, never pickles.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rocksdict import (
    AccessType,
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    Checkpoint,
    DBCompressionType,
    DBRecoveryMode,
    Env,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from perdure_topics.forks import keep_in_forks
from perdure_topics.ports import TableBusyError, TableDamagedError, TableError, TableFullError
from perdure_topics.private import make_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LOG = logging.getLogger(__name__)
_MIB: Final = 1024 * 1024
SLOTS_MAX: Final = 256
SCAN_CHUNK: Final = 512
# A table that ran out of space is reopened when there is this much again.
FREE_BYTES_MIN: Final = 16 * _MIB
_NO_SPACE = "No space left on device"
_DAMAGE = "Corruption"
_STALL = "Write stall"
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
_NAME_BYTES_MAX = 250
_LEFT: Final = ("~gone", "~coming", "~look")
"""How directories end that a process left behind when it was killed."""


class TableMemory:
    """The memory all tables of a process share: write buffers, block cache, background threads."""

    def __init__(self, *, write_bytes: int = 4 * _MIB, cache_bytes: int = 4 * _MIB) -> None:
        self._cache = Cache(cache_bytes)
        self._writes = WriteBufferManager(write_bytes, allow_stall=False)
        self._env = Env()
        self._env.set_background_threads(1)
        self._env.set_high_priority_background_threads(1)
        keep_in_forks(self)

    def options(self) -> Options:
        """How a table is opened."""
        blocks = BlockBasedOptions()
        blocks.set_block_cache(self._cache)
        blocks.set_cache_index_and_filter_blocks(True)
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
        blocks.set_bloom_filter(10, False)
        blocks.set_format_version(5)
        # Indexes and filters in parts: whole ones of a large table push each other out of the
        # cache, and every read then loads some hundred kilobytes of them again.
        blocks.set_index_type(BlockBasedIndexType.two_level_index_search())
        blocks.set_partition_filters(True)
        blocks.set_metadata_block_size(4096)
        blocks.set_pin_top_level_index_and_filter(True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_env(self._env)
        options.set_block_based_table_factory(blocks)
        options.set_write_buffer_manager(self._writes)
        # A table that outruns its flushes waits at twice this: the shared limit alone is no
        # bound while the one background thread gets no processor.
        options.set_write_buffer_size(_MIB // 2)
        # A flush and a compaction each hold one of these an open file, in an arena of their own
        # that keeps it afterwards; the defaults are 1 and 2 MiB.
        options.set_writable_file_max_buffer_size(64 * 1024)
        options.set_compaction_readahead_size(64 * 1024)
        # The shared write buffers count whole arena blocks: large ones would fill them with
        # the unused rest of sixteen tables.
        options.set_arena_block_size(64 * 1024)
        options.set_max_background_jobs(2)
        options.set_max_open_files(64)
        options.set_compression_type(DBCompressionType.lz4())
        options.set_target_file_size_base(16 * _MIB)
        options.set_keep_log_file_num(2)
        options.set_stats_dump_period_sec(0)
        options.set_stats_persist_period_sec(0)
        # Up to the first damaged batch: a cache that is behind is whole, and the log has the rest.
        options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())
        return options


class RocksSnapshot:
    """A table as it was at one moment: a copy of links to its files, gone when it is closed.

    Not one of RocksDB's snapshots: iterators of rocksdict do not keep to theirs.
    """

    def __init__(self, name: str, database: Rdict, path: Path, memory: TableMemory) -> None:
        """Raises TableError, with nothing left in its place, when it cannot be made."""
        self._name = name
        self._path = path
        self._db: Rdict | None = None
        try:
            shutil.rmtree(path, ignore_errors=True)
            Checkpoint(database).create_checkpoint(str(path))
            self._db = Rdict(str(path), memory.options(), access_type=AccessType.read_only())
        except Exception as error:
            shutil.rmtree(path, ignore_errors=True)
            raise TableError(f"table {name!r}: no snapshot in {path}: {error}") from error

    @property
    def is_open(self) -> bool:
        """Whether it can be read."""
        return self._db is not None

    def scan(self, start: bytes, end: bytes, *, limit: int) -> list[tuple[bytes, bytes]]:
        """Some keys from start up to but not including end, in order, with their values.

        Raises TableError when the table is not open any more, or damaged.
        """
        if self._db is None:
            raise TableError(f"table {self._name!r} is closed, and its snapshot with it")
        found: list[tuple[bytes, bytes]] = []
        try:
            cursor = self._db.iter()
            cursor.seek(start)
            while len(found) < limit and cursor.valid() and (key := cursor.key()) < end:
                found.append((key, cursor.value()))
                cursor.next()
            cursor.status()
        except Exception as error:
            raise TableError(f"table {self._name!r}: cannot read its snapshot: {error}") from error
        return found

    def close(self) -> None:
        """Let go of it, and of its files."""
        if self._db is not None:
            self._db.close()
            self._db = None
            shutil.rmtree(self._path, ignore_errors=True)


class RocksTable:
    """A table in one RocksDB database. Its owner uses it from one thread at a time."""

    def __init__(self, name: str, path: Path, memory: TableMemory) -> None:
        self._name = name
        self._path = path
        self._memory = memory
        self._full = False
        self._closed = False
        self._snapshots: list[RocksSnapshot] = []
        self._patient = WriteOptions()
        self._patient.sync = False
        self._unsynced = WriteOptions()
        self._unsynced.sync = False
        self._unsynced.no_slowdown = True
        self._db: Rdict | None = self._open()
        keep_in_forks(self)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key. Raises TableError when the table is damaged."""
        try:
            value: bytes | None = self._opened().get(key)
        except TableError:
            raise
        except Exception as error:
            raise self._failure("read", error) from error
        return value

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """The keys from start up to but not including end, in order, with their values.

        It reads a few hundred keys at a time: what is written behind its back meanwhile may or
        may not be seen. Raises TableError when the table is damaged.
        """
        left = limit
        while left is None or left > 0:
            size = SCAN_CHUNK if left is None else min(SCAN_CHUNK, left)
            chunk = self._chunk(start, end, reverse=reverse, size=size)
            yield from chunk
            if len(chunk) < size:
                return
            if left is not None:
                left -= size
            if reverse:
                end = chunk[-1][0]
            else:
                start = chunk[-1][0] + b"\0"

    def _chunk(
        self, start: bytes, end: bytes, *, reverse: bool, size: int
    ) -> list[tuple[bytes, bytes]]:
        """Up to so many pairs. No iterator outlives this: one would hold the database open."""
        found: list[tuple[bytes, bytes]] = []
        if start >= end:
            return found
        try:
            cursor = self._opened().iter()
            if reverse:
                cursor.seek_for_prev(end)
                if cursor.valid() and cursor.key() == end:
                    cursor.prev()
                while len(found) < size and cursor.valid() and (key := cursor.key()) >= start:
                    found.append((key, cursor.value()))
                    cursor.prev()
            else:
                cursor.seek(start)
                while len(found) < size and cursor.valid() and (key := cursor.key()) < end:
                    found.append((key, cursor.value()))
                    cursor.next()
            # A damaged block ends an iterator as the end of the table does; only this tells.
            cursor.status()
        except TableError:
            raise
        except Exception as error:
            raise self._failure("read", error) from error
        return found

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes]) -> None:
        """Write all or nothing; a key both put and deleted is deleted.

        Raises TableFullError while the disk is full, TableError when the table cannot be written.
        """
        if self._full:
            self._reopen()
        puts, deletes = list(puts), list(deletes)
        try:
            self._put(puts, deletes)
        except TableError:
            raise
        except Exception as error:
            raise self._failure("write", error) from error

    def _put(self, puts: list[tuple[bytes, bytes]], deletes: list[bytes]) -> None:
        """Write a batch; where RocksDB would wait for a flush, only if that has room.

        On a full disk the flush fails, and whoever waits for it waits until there is space.
        """
        try:
            self._opened().write(_batch(puts, deletes), self._unsynced)
        except Exception as error:
            if _STALL not in str(error):
                raise
            if shutil.disk_usage(self._path).free < FREE_BYTES_MIN:
                self._full = True
                raise self._full_error() from error
            # What was tried is used up.
            self._opened().write(_batch(puts, deletes), self._patient)

    def size_bytes(self) -> int:
        """How much room the table takes on disk."""
        return _folder_bytes(self._path)

    def snapshot(self) -> RocksSnapshot:
        """The table as it is now; one at a time. Raises TableError when it cannot be made."""
        for one in self._snapshots:
            one.close()
        path = self._path.with_name(self._path.name + "~look")
        found = RocksSnapshot(self._name, self._opened(), path, self._memory)
        self._snapshots = [found]
        return found

    def checkpoint(self, directory: str) -> None:
        """Write a consistent copy into a directory that does not exist yet.

        Raises TableError, with nothing left in the directory, when that fails.
        """
        target = Path(directory)
        if target.exists():
            raise TableError(f"table {self._name!r}: checkpoint directory {target} exists already")
        try:
            make_private(target.parent)
            Checkpoint(self._opened()).create_checkpoint(str(target))
        except TableError:
            raise
        except Exception as error:
            shutil.rmtree(target, ignore_errors=True)
            raise self._failure("checkpoint", error) from error

    def close(self) -> None:
        """Close the table; another may open it from now on."""
        self._closed = True
        self._let_go()

    def _open(self) -> Rdict:
        try:
            return Rdict(str(self._path), self._memory.options())
        except Exception as error:
            raise self._failure("open", error) from error

    def _opened(self) -> Rdict:
        if self._db is not None:
            return self._db
        if self._closed:
            raise TableError(f"table {self._name!r} is closed")
        raise self._full_error()

    def _reopen(self) -> None:
        """Open the database again once there is space: RocksDB itself stays read-only.

        Raises TableFullError while there is none.
        """
        if shutil.disk_usage(self._path).free < FREE_BYTES_MIN:
            raise self._full_error()
        self._let_go()
        self._db = self._open()
        self._full = False
        _LOG.info("table %r: there is space again, reopened %s", self._name, self._path)

    def _let_go(self) -> None:
        for snapshot in self._snapshots:
            snapshot.close()
        self._snapshots.clear()
        db, self._db = self._db, None
        if db is None:
            return
        try:
            db.close()
        except Exception as error:
            # A full disk fails the last flush. Nothing is lost that the log does not have.
            _LOG.warning("table %r: closing %s: %s", self._name, self._path, error)

    def _failure(self, what: str, error: Exception) -> TableError:
        if _NO_SPACE in str(error):
            self._full = True
            return self._full_error()
        text = f"table {self._name!r}: cannot {what} {self._path}: {error}"
        if _DAMAGE in str(error):
            return TableDamagedError(text)
        # RocksDB has no kind for this: a lock file that is held is told by its name alone.
        return TableBusyError(text) if "LOCK" in str(error) else TableError(text)

    def _full_error(self) -> TableFullError:
        return TableFullError(
            f"table {self._name!r}: no space left for {self._path}: make room, "
            f"it goes on when {FREE_BYTES_MIN // _MIB} MiB are free"
        )


def _batch(puts: list[tuple[bytes, bytes]], deletes: list[bytes]) -> WriteBatch:
    batch = WriteBatch(raw_mode=True)
    for key, value in puts:
        batch.put(key, value)
    for key in deletes:
        batch.delete(key)
    return batch


class RocksTableStore:
    """The tables of a process, in the first free slot directory of a state directory.

    Processes of one machine may share the state directory: each holds the lock of its slot, and
    a process that starts again finds the tables of the one before it.
    """

    def __init__(self, directory: str | Path, *, memory: TableMemory | None = None) -> None:
        self._root = Path(directory)
        self._memory = memory or TableMemory()
        self._lock, self._slot = _take_slot(self._root)
        for left in (left for end in _LEFT for left in self._slot.glob(f"*{end}")):
            shutil.rmtree(left, ignore_errors=True)

    @property
    def slot(self) -> Path:
        """The slot directory that this process holds."""
        return self._slot

    def open(self, name: str) -> RocksTable:
        """Open or make a table. Raises TableError when it is damaged or another holds it."""
        return RocksTable(name, self._path(name), self._memory)

    def wipe(self, name: str) -> None:
        """Delete a table that is closed."""
        path = self._path(name)
        gone = path.with_name(path.name + "~gone")
        try:
            shutil.rmtree(gone, ignore_errors=True)
            if path.exists():
                # The rename makes it one step: a table half deleted is never found.
                path.rename(gone)
                shutil.rmtree(gone)
        except OSError as error:
            raise TableError(f"table {name!r}: cannot delete {path}: {error}") from error

    def install(self, name: str, directory: str) -> None:
        """Replace a closed table by a checkpoint. Raises TableError when it is no valid one."""
        path = self._path(name)
        coming = path.with_name(path.name + "~coming")
        source = Path(directory)
        if not (source / "CURRENT").is_file():
            raise TableError(f"table {name!r}: {source} is no checkpoint of a table")
        shutil.rmtree(coming, ignore_errors=True)
        try:
            shutil.copytree(source, coming)
            RocksTable(name, coming, self._memory).close()
        except (OSError, TableError) as error:
            shutil.rmtree(coming, ignore_errors=True)
            raise TableError(f"table {name!r}: cannot install {source}: {error}") from error
        self.wipe(name)
        coming.rename(path)

    def close(self) -> None:
        """Give the slot back; the tables must be closed before."""
        os.close(self._lock)

    def _path(self, name: str) -> Path:
        quoted = "".join(chr(b) if b in _PLAIN else f"%{b:02X}" for b in name.encode())
        if not 0 < len(quoted) <= _NAME_BYTES_MAX or quoted.startswith("."):
            raise TableError(f"no table can be named {name!r}")
        return self._slot / quoted


def _take_slot(root: Path) -> tuple[int, Path]:
    """Lock the first free slot. Raises TableError when the directory cannot be used."""
    for number in range(SLOTS_MAX):
        slot = root / f"slot-{number}"
        try:
            make_private(slot)
            lock = os.open(slot.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise TableError(f"state directory {root} cannot be used: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return lock, slot
    raise TableError(f"state directory {root}: all {SLOTS_MAX} slots are held by other processes")


def _folder_bytes(path: Path) -> int:
    total = 0
    for entry in path.iterdir():
        try:
            total += entry.stat().st_size
        except FileNotFoundError:
            continue  # Compaction has just deleted it.
    return total
