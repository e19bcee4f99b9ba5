"""How far the embedded log has been synced: a small file beside it, written after each sync.

RocksDB takes a log whose newest files are gone, cut short or older for a whole one: it has nothing
to hold them against. This file is that. It stands beside the log's directory and not in it, so a
directory that is gone, or was replaced by an older one, is noticed too.
"""

from __future__ import annotations

import os
import time
import zlib
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from perdure_topics.embedded.wal import manifest_of, wal_files
from perdure_topics.ports import LogDamagedError, LogEndLostError, LogError

if TYPE_CHECKING:
    from collections.abc import Callable

SLOT_BYTES: Final = 512
"""A mark is one sector: written whole or not at all. Two take turns, so one is always whole."""
LISTED_EVERY_S: Final = 0.25
KEPT_EVERY_S: Final = 1.0
WALS_MAX: Final = 16
_HEAD: Final = b"PDS1"


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """What a log must have, at least, when it is opened again."""

    cluster_id: str
    sequence: int
    """RocksDB's number of the last entry that was synced; every entry counts up by one."""
    at_ms: int
    manifest: int = 0
    manifest_bytes: int = 0
    wals: tuple[int, ...] = ()
    """The log files that were there, by number."""


class _Files(NamedTuple):
    """The end of a mark: which files there were."""

    manifest: int
    manifest_bytes: int
    wals: tuple[int, ...]


_NO_FILES: Final = _Files(0, 0, ())
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Mark).decode


class MarkFile:
    """The file of marks. Any thread may write; the newest mark wins."""

    def __init__(self, directory: Path) -> None:
        self.path = directory.with_name(f"{directory.name}-synced")
        self._directory = directory
        self._lock = Lock()
        self._file = -1
        self._turn = 0
        self._newest: Mark | None = None
        self._listed_at = self._kept_at = float("-inf")
        self._files = self._coming = _NO_FILES

    def read(self) -> Mark | None:
        """The newest mark, None when there is none. Raises LogError when the file is damaged."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            msg = f"{self.path} cannot be read: {error}. Check who may read it, and the disk"
            raise LogError(msg) from error
        slots = [content[at : at + SLOT_BYTES] for at in (0, SLOT_BYTES)]
        found = [mark for slot in slots if (mark := _unpack(slot)) is not None]
        if not found and content.strip(b"\0"):
            msg = (
                f"{self.path}, which says how far the log beside it was synced, is damaged. Check "
                f"the disk. If the log is known to be whole, move this file away: it is made anew"
            )
            raise LogDamagedError(msg)
        return max(found, key=lambda mark: mark.sequence, default=None)

    def open(self, cluster_id: str, sequence: int) -> None:
        """Begin to write marks, the first of a log that was found whole."""
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.ftruncate(self._file, 2 * SLOT_BYTES)
            self._newest = Mark(cluster_id, sequence, _now_ms())
            self._put(self._newest)
            self._put(self._newest)
            os.fsync(self._file)
            _sync_directory(self.path.parent)
        except OSError as error:
            self.close()
            msg = f"{self.path} cannot be written: {error}. Check the disk and who may write there"
            raise LogError(msg) from error

    def write(self, sequence: int) -> None:
        """Say that all entries up to this number are synced. Only after their sync."""
        with self._lock:
            newest = self._newest
            if newest is None or self._file < 0 or sequence <= newest.sequence:
                return
            now = time.monotonic()
            if now - self._listed_at >= LISTED_EVERY_S:
                self._listed_at = now
                # What was listed a while ago is synced by now; the newest list may not be.
                self._files, self._coming = self._coming, _list(self._directory)
            self._newest = Mark(newest.cluster_id, sequence, _now_ms(), *self._files)
            self._put(self._newest)

    def keep(self, *, now: bool = False) -> None:
        """Make the marks survive a power failure, at times: it takes as long as a sync."""
        at = time.monotonic()
        if self._file >= 0 and (now or at - self._kept_at >= KEPT_EVERY_S):
            self._kept_at = at
            os.fdatasync(self._file)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _put(self, mark: Mark) -> None:
        self._turn ^= 1
        os.pwrite(self._file, _pack(mark), self._turn * SLOT_BYTES)


def check_mark(mark: Mark, directory: Path, *, look: Callable[[], tuple[str, int, int]]) -> None:
    """Hold a log against its mark before RocksDB opens it, which deletes what it does not know.

    `look` gives the cluster id, the number of the last entry and of the oldest log file that is
    needed. Raises LogEndLostError with what is lost and what to do.
    """
    try:
        manifest = manifest_of(directory)
        size = manifest.stat().st_size
    except OSError as error:
        gone = f"{error.filename} cannot be read ({error.strerror})"
        raise _lost(mark, directory, gone, have=0) from error
    number = _number(manifest.name)
    if number < mark.manifest or (number == mark.manifest and size < mark.manifest_bytes):
        older = f"{manifest} is older than, or cut short of, the one it had then"
        raise _lost(mark, directory, older)
    cluster_id, sequence, needed = look()
    if cluster_id != mark.cluster_id:
        other = f"it is another log ({cluster_id or 'a new one'}; it was {mark.cluster_id})"
        raise _lost(mark, directory, other)
    missing = [
        path.name
        for wal in mark.wals
        if wal >= needed and not (path := directory / f"{wal:06d}.log").exists()
    ]
    if missing and sequence >= mark.sequence:
        raise _lost(mark, directory, f"{', '.join(missing)} is missing from its middle")
    if sequence < mark.sequence:
        short = "its newest file is cut short, missing or older"
        raise _lost(mark, directory, short, have=sequence)


def _lost(mark: Mark, directory: Path, why: str, *, have: int | None = None) -> LogEndLostError:
    synced = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(mark.at_ms / 1000))
    count = "entries"
    if have is not None:
        last = f"its last {mark.sequence - have} of" if have else "all its"
        count = f"{last} {mark.sequence} entries"
    parent = directory.parent
    return LogEndLostError(
        f"{directory} has lost {count} (records and positions of groups) that were synced and "
        f"acknowledged up to {synced}: {why}. Nothing was changed, and the tables are kept. "
        f"Restore {parent} as a whole from a copy that has them, and check the disk. To go on "
        f"without what is lost, move {directory}-synced, {parent / 'tables'} and "
        f"{parent / 'checkpoints'} away: tables are made anew from the log, and what only the lost "
        f"entries said (starts, messages, results) has not happened then and may be done again"
    )


def _list(directory: Path) -> _Files:
    """The manifest, its size, and the log files of a directory."""
    try:
        manifest = manifest_of(directory)
        size = manifest.stat().st_size
        wals = sorted(map(_number, (path.name for path in wal_files(directory))))
    except OSError:
        return _NO_FILES
    return _Files(_number(manifest.name), size, tuple(wals[-WALS_MAX:]))


def _number(name: str) -> int:
    digits = "".join(sign for sign in name if sign.isdigit())
    return int(digits or 0)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _pack(mark: Mark) -> bytes:
    body = _encode(mark)
    head = _HEAD + len(body).to_bytes(2, "big")
    return (head + body + zlib.crc32(body).to_bytes(4, "big")).ljust(SLOT_BYTES, b"\0")


def _unpack(slot: bytes) -> Mark | None:
    """A mark that is whole, None for anything else."""
    length = int.from_bytes(slot[4:6], "big")
    body, crc = slot[6 : 6 + length], slot[6 + length : 10 + length]
    if slot[:4] != _HEAD or len(crc) < 4 or zlib.crc32(body) != int.from_bytes(crc, "big"):
        return None
    try:
        return _decode(body)
    except msgspec.MsgspecError:
        return None


def _sync_directory(path: Path) -> None:
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
