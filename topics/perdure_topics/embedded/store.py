"""What the embedded log keeps on disk: the keys, the RocksDB options, opening, reading, writing."""

from __future__ import annotations

import logging
import os
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Final, cast

import msgspec
from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

from perdure_topics.embedded.owner import in_use, kept_from_others, let_go, take
from perdure_topics.embedded.sync_mark import MarkFile, check_mark
from perdure_topics.embedded.wal import check_directory, check_numbers
from perdure_topics.forks import keep_in_forks
from perdure_topics.ports import (
    Headers,
    LogDamagedError,
    LogError,
    LogUnavailableError,
    StoredRecord,
)
from perdure_topics.private import make_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    _Pairs = Iterable[tuple[bytes, bytes]]

_LOG = logging.getLogger(__name__)
_MIB: Final = 1024 * 1024
FORMAT: Final = b"1"
READ_BYTES_MAX: Final = 8 * _MIB
# A log that ran out of space is reopened when there is this much again.
FREE_BYTES_MIN: Final = 16 * _MIB

_FORMAT_KEY: Final = b"m/format"
_CLUSTER_KEY: Final = b"m/cluster"
_PLACE: Final = Struct(">II")
_OFFSET: Final = Struct(">Q")
pack_offset = _OFFSET.pack


class TopicRow(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A topic as it stands on disk."""

    number: int
    topic_id: str
    partitions: int
    settings: dict[str, str]


class _Value(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record as it stands on disk; its key says topic, partition and offset."""

    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_value: Final = msgspec.msgpack.Decoder(_Value).decode
_decode_row: Final = msgspec.msgpack.Decoder(TopicRow).decode


def encode_value(
    timestamp_ms: int, key: bytes | None, value: bytes | None, headers: Headers
) -> bytes:
    """A record as the store keeps it."""
    return _encode((timestamp_ms, key, value, headers) if headers else (timestamp_ms, key, value))


def record_prefix(number: int, partition: int) -> bytes:
    """What the keys of a partition's records begin with."""
    return b"r" + _PLACE.pack(number, partition)


def start_key(number: int, partition: int) -> bytes:
    """Where the first offset of a partition stands; 0 when there is nothing."""
    return b"s" + _PLACE.pack(number, partition)


def commit_key(group: str, topic: str, partition: int) -> bytes:
    """Where the committed offset of a group stands."""
    return b"g" + _encode((group, topic, partition))


class EmbeddedStore:
    """One RocksDB database; any thread may use it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._unsynced = WriteOptions()
        self._unsynced.sync = False
        self._db: Rdict | None = None
        self._mark = MarkFile(directory)
        keep_in_forks(self)
        take(directory)
        try:
            self._open()
            self.cluster_id = self._identify()
            self._mark.open(self.cluster_id, self._opened().latest_sequence_number())
        except BaseException:
            self.close()
            raise

    def write(self, puts: Iterable[tuple[bytes, bytes]]) -> None:
        """Write all or nothing; it survives the end of this process, not yet a power failure."""
        batch = WriteBatch(raw_mode=True)
        put = batch.put
        for key, value in puts:
            put(key, value)
        self._opened().write(batch, self._unsynced)

    def sync(self) -> None:
        """Make all that was written survive a power failure. Other threads run meanwhile."""
        db = self._opened()
        written = db.latest_sequence_number()
        db.flush_wal(True)
        self._mark.write(written)

    def keep_mark(self) -> None:
        """Let the file beside the log survive a power failure too, now and then."""
        try:
            self._mark.keep()
        except OSError as error:
            raise LogError(f"{self._mark.path} cannot be synced: {error}") from error

    def cut(self, prefix: bytes, start: int, offset: int, key: bytes) -> None:
        """Delete the records from start up to offset and note the new start, all or nothing."""
        batch = WriteBatch(raw_mode=True)
        batch.delete_range(prefix + pack_offset(start), prefix + pack_offset(offset))
        batch.put(key, pack_offset(offset))
        self._opened().write(batch, self._unsynced)
        self.sync()

    def topics(self) -> dict[str, TopicRow]:
        """All topics by name."""
        options = ReadOptions()
        options.set_iterate_upper_bound(b"u")
        found: dict[str, TopicRow] = {}
        with self._reading("the topics"):
            iterator = self._opened().iter(options)
            iterator.seek(b"t")
            while iterator.valid():
                found[cast("bytes", iterator.key())[1:].decode()] = _decode_row(iterator.value())
                iterator.next()
            # An iterator ends at damage as it does at the end; only this tells them apart.
            iterator.status()
        return found

    def add_topics(self, rows: dict[str, TopicRow]) -> None:
        """Keep new topics."""
        self.write((b"t" + name.encode(), _encode(row)) for name, row in rows.items())
        self.sync()

    def number(self, key: bytes) -> int | None:
        """An offset that stands under a key of its own."""
        with self._reading("an offset"):
            value = self._opened().get(key)
        return None if value is None else _OFFSET.unpack(value)[0]

    def last(self, number: int, partition: int) -> tuple[int, int] | None:
        """Offset and time of a partition's last record."""
        prefix = record_prefix(number, partition)
        with self._reading("the end of a partition"):
            iterator = self._opened().iter(ReadOptions())
            iterator.seek_for_prev(prefix + b"\xff" * 8)
            if not iterator.valid():
                iterator.status()
                return None
            key = cast("bytes", iterator.key())
            if not key.startswith(prefix):
                return None
            offset: int = _OFFSET.unpack(key[len(prefix) :])[0]
            return offset, _decode_value(iterator.value()).timestamp_ms

    def timestamp_ms(self, prefix: bytes, offset: int) -> int | None:
        """When a record was appended; None when it is not there."""
        with self._reading("the time of a record"):
            value = self._opened().get(prefix + pack_offset(offset))
            return None if value is None else _decode_value(value).timestamp_ms

    def read(
        self, topic: str, partition: int, prefix: bytes, offset: int, count: int
    ) -> list[StoredRecord]:
        """Up to so many records from an offset on, without a gap.

        Raises LogError when one is missing or damaged, LogUnavailableError while the log is
        being reopened.
        """
        options = ReadOptions()
        options.set_iterate_upper_bound(prefix + pack_offset(offset + count))
        found: list[StoredRecord] = []
        size = 0
        due = offset
        with self._reading(f"{topic} partition {partition}"):
            from_key = prefix + pack_offset(offset)
            found_pairs = self._opened().items(from_key=from_key, read_opt=options)
            for key, value in cast("_Pairs", found_pairs):
                if _OFFSET.unpack(key[-8:])[0] != due:
                    break
                row = _decode_value(value)
                found.append(
                    StoredRecord(
                        topic, partition, due, row.key, row.value, row.headers, row.timestamp_ms
                    )
                )
                due += 1
                size += len(value)
                if size >= READ_BYTES_MAX:
                    return found
        if due < offset + count:
            msg = (
                f"{self.directory}: {topic} partition {partition} lacks the record at offset "
                f"{due}. Restore the directory from a copy, or check the disk"
            )
            raise LogDamagedError(msg)
        return found

    def has_space(self) -> bool:
        """Whether there is room enough to go on after the disk was full."""
        room = os.statvfs(self.directory)
        return room.f_bavail * room.f_frsize >= FREE_BYTES_MIN

    def suspend(self) -> None:
        """Close the database after a failed write; RocksDB takes nothing more until reopened."""
        db, self._db = self._db, None
        if db is not None:
            # A full disk fails the last flush, too; what was written is in the WAL.
            with suppress(Exception):
                db.close()

    def resume(self) -> None:
        """Open the database again. Raises LogError when that is not possible yet."""
        self._open()

    def close(self) -> None:
        """Let go of the directory."""
        db = self._db
        try:
            if db is not None:
                self.sync()
                self._mark.keep(now=True)
        finally:
            self._mark.close()
            self._db = None
            if db is not None:
                db.close()
            let_go(self.directory)

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """Say of any failure what was being read, and what to do."""
        try:
            yield
        except LogError:
            raise
        except Exception as error:
            if self._db is None:
                raise self._away() from error
            msg = (
                f"{self.directory}: {what} cannot be read: {error}. Restore the directory from "
                f"a copy, or check the disk"
            )
            raise LogDamagedError(msg) from error

    def _opened(self) -> Rdict:
        db = self._db
        if db is None:
            raise self._away()
        return db

    def _away(self) -> LogUnavailableError:
        return LogUnavailableError(f"the log in {self.directory} is closed or being reopened")

    def _open(self) -> None:
        try:
            make_private(self.directory)
        except OSError as error:
            msg = f"{self.directory} cannot be made: {error}. Choose another --data directory"
            raise LogError(msg) from error
        try:
            with kept_from_others(self.directory):
                create = not self._look()
        except OSError as error:
            raise self._open_error(error) from error
        try:
            self._db = Rdict(str(self.directory), _options(create=create))
        except Exception as error:
            raise self._open_error(error) from error

    def _look(self) -> bool:
        """Whether there is a log in the directory. RocksDB would delete files it does not know.

        Raises LogDamagedError when it is not all there.
        """
        directory = self.directory
        check_directory(directory)
        mark = self._mark.read()
        if mark is not None:
            check_mark(mark, directory, look=self._read_only)
        elif (directory / "CURRENT").exists():
            self._read_only()
        elif any(path.suffix in (".sst", ".log") for path in directory.iterdir()):
            raise self._open_error(FileNotFoundError(f"{directory / 'CURRENT'} is missing"))
        else:
            return False
        return True

    def _read_only(self) -> tuple[str, int, int]:
        """The log's id, the number of its last entry, and the oldest log file that it needs."""
        try:
            db = Rdict(
                str(self.directory), _options(create=False), access_type=AccessType.read_only()
            )
        except Exception as error:
            raise self._open_error(error) from error
        try:
            needed = int(db.property_value("rocksdb.min-log-number-to-keep") or 0)
            check_numbers(self.directory, needed)
            cluster_id: bytes = db.get(_CLUSTER_KEY) or b""
            return cluster_id.decode("ascii", "replace"), db.latest_sequence_number(), needed
        except LogError:
            raise
        except Exception as error:
            raise self._open_error(error) from error
        finally:
            db.close()

    def _open_error(self, error: Exception) -> LogError:
        if "lock" in str(error).lower() and "LOCK" in str(error):
            return in_use(self.directory)
        return LogDamagedError(
            f"{self.directory} cannot be opened: {error}. Nothing was changed. Restore it from a "
            f"copy, or check the disk"
        )

    def _identify(self) -> str:
        db = self._opened()
        with self._reading("the format"):
            found = db.get(_FORMAT_KEY)
            cluster_id: bytes | None = db.get(_CLUSTER_KEY)
        if found is None:
            cluster = uuid.uuid4().hex
            self.write([(_FORMAT_KEY, FORMAT), (_CLUSTER_KEY, cluster.encode())])
            self.sync()
            return cluster
        if found != FORMAT:
            msg = (
                f"{self.directory} is of format {found.decode('ascii', 'replace')}; this release "
                f"reads format {FORMAT.decode()}: use the release that wrote it, or a newer one"
            )
            raise LogError(msg)
        if cluster_id is None:
            msg = f"{self.directory} has no cluster id: it is damaged; restore it from a copy"
            raise LogError(msg)
        return cluster_id.decode()


def _options(*, create: bool) -> Options:
    blocks = BlockBasedOptions()
    blocks.set_block_cache(Cache(16 * _MIB))
    blocks.set_format_version(5)
    options = Options(raw_mode=True)
    options.create_if_missing(create)
    options.set_block_based_table_factory(blocks)
    options.set_write_buffer_size(16 * _MIB)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_max_background_jobs(2)
    options.set_max_open_files(256)
    options.set_keep_log_file_num(2)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    # The default drops all behind the first damaged batch in silence; this mode drops only a
    # record cut short at the very end, and refuses to open otherwise.
    options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    return options
