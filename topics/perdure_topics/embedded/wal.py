"""The look at a RocksDB directory before it opens: damage that would pass for a torn tail.

After a crash the last log record may be cut short, and RocksDB rightly drops it. But a flipped bit
in the length of a whole last record looks the same to it, and acknowledged data would be dropped
in silence. The checksum of a record covers its content and not its length, so the two are told
apart here: a whole record's checksum fits some length, a cut one's fits none.

Zeros in the middle of a file, and a file that is cut short before the next, pass for room that was
never written. What follows then has a number that is too high, which RocksDB does not look at.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING

from perdure_topics.ports import LogDamagedError

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK_BYTES = 32 * 1024
_HEADER_BYTES = 7
_RECYCLED_KINDS = frozenset({5, 6, 7, 8, 11, 131})
_PLAIN_KINDS = (1, 2, 3, 4)
_FIRST_KINDS = (1, 2)
_BATCH = Struct("<QI")
_BATCH_BYTES = _BATCH.size
_MASK = 0xFFFFFFFF


def _crc_table() -> tuple[int, ...]:
    table = []
    for n in range(256):
        crc = n
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _crc_table()


def check_directory(directory: Path) -> None:
    """Refuse a directory whose records are damaged where RocksDB does not look.

    Raises LogError that names the file and the place.
    """
    files = wal_files(directory)
    with suppress(OSError):
        if (manifest := manifest_of(directory)).is_file():
            files.append(manifest)
    for path in files:
        at = damaged_at(path)
        if at is not None:
            msg = (
                f"{path} is damaged at byte {at}: the head of a record there is not as written. "
                f"Nothing was changed. Restore {directory} from a copy, or check the disk"
            )
            raise LogDamagedError(msg)


def wal_files(directory: Path) -> list[Path]:
    """The files of the write-ahead log, oldest first."""
    files = [path for path in directory.glob("*.log") if path.stem.isdigit()]
    return sorted(files, key=lambda path: int(path.stem))


def manifest_of(directory: Path) -> Path:
    """The file that says which others belong to the log. Raises OSError without one."""
    name = (directory / "CURRENT").read_bytes().decode("ascii", "replace").strip()
    return directory / name.replace("/", "_").replace("\0", "_")


def check_numbers(directory: Path, needed: int) -> None:
    """Refuse log files, from the oldest that is needed on, in which entries are missing.

    Raises LogError that names the file and the place.
    """
    due: int | None = None
    for path in wal_files(directory):
        if int(path.stem) < needed:
            continue
        for at, number, count in batches(path):
            if due is not None and number != due:
                msg = (
                    f"{path} is damaged before byte {at}: entry {number} stands where {due} is "
                    f"due, so {abs(number - due)} entries are missing or doubled. Nothing was "
                    f"changed. Restore {directory} from a copy, or check the disk"
                )
                raise LogDamagedError(msg)
            due = number + count


def batches(path: Path) -> Iterator[tuple[int, int, int]]:
    """Where each batch of entries stands, the number of its first entry, and how many it has."""
    begun: tuple[int, bytes] | None = None
    """A batch whose head goes on in the next block."""
    with path.open("rb") as file:
        for start in range(0, path.stat().st_size, BLOCK_BYTES):
            block = file.read(BLOCK_BYTES)
            at = 0
            while at + _HEADER_BYTES <= len(block):
                length = int.from_bytes(block[at + 4 : at + 6], "little")
                kind = block[at + 6]
                after = at + _HEADER_BYTES + length
                if after > len(block) or (kind == 0 and length == 0):
                    break
                head = block[at + _HEADER_BYTES : min(after, at + _HEADER_BYTES + _BATCH_BYTES)]
                if kind in _FIRST_KINDS:
                    begun = (start + at, head)
                elif begun is not None:
                    begun = (begun[0], (begun[1] + head)[:_BATCH_BYTES])
                if begun is not None and len(begun[1]) == _BATCH_BYTES:
                    yield begun[0], *_BATCH.unpack(begun[1])
                    begun = None
                at = after


def damaged_at(path: Path) -> int | None:
    """Where damage is that RocksDB would pass over, or never come back from, if anywhere.

    Other damage is left to RocksDB's checksums.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        for start in range(0, size, BLOCK_BYTES):
            found = _look_at(file.read(BLOCK_BYTES), is_last=start + BLOCK_BYTES >= size)
            if found is not None:
                return start + found
    return None


def _look_at(block: bytes, *, is_last: bool) -> int | None:
    """Where in a block such damage is; no record crosses the end of a block."""
    at = 0
    while at + _HEADER_BYTES <= len(block):
        length = int.from_bytes(block[at + 4 : at + 6], "little")
        kind = block[at + 6]
        if kind == 0 and length == 0:
            return None  # Room taken in advance and never written.
        if kind in _RECYCLED_KINDS:
            # Files are never recycled here: this is a flipped bit, and RocksDB, which does not
            # check it, was seen to read it for ever.
            return at
        after = at + _HEADER_BYTES + length
        if after > len(block):
            return at if is_last and _is_whole(block[at:], kind) else None
        at = after
    return None


def _is_whole(record: bytes, kind: int) -> bool:
    stored = int.from_bytes(record[:4], "little")
    rotated = (stored - 0xA282EAD8) & _MASK
    wanted = (rotated >> 17 | rotated << 15) & _MASK
    content = record[_HEADER_BYTES:]
    return any(_fits(wanted, one, content) for one in {kind, *_PLAIN_KINDS})


def _fits(wanted: int, kind: int, content: bytes) -> bool:
    """Whether a checksum is that of the kind byte and some beginning of the content."""
    table = _CRC_TABLE
    crc = _MASK
    crc = crc >> 8 ^ table[(crc ^ kind) & 0xFF]
    inverted = wanted ^ _MASK
    if crc == inverted:
        return True
    for byte in content:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
        if crc == inverted:
            return True
    return False
