"""The look at a RocksDB directory before it opens: damage that would pass for a torn tail.

After a crash the last log record may be cut short, and RocksDB rightly drops it. But a flipped bit
in the length of a whole last record looks the same to it, and acknowledged data would be dropped
in silence. The checksum of a record covers its content and not its length, so the two are told
apart here: a whole record's checksum fits some length, a cut one's fits none.
"""

from __future__ import annotations

from pathlib import Path

from perdure_topics.ports import LogError

BLOCK_BYTES = 32 * 1024
_HEADER_BYTES = 7
_RECYCLED_KINDS = frozenset({5, 6, 7, 8, 11, 131})
_PLAIN_KINDS = (1, 2, 3, 4)
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
    current = directory / "CURRENT"
    files = [path for path in directory.glob("*.log") if path.name[:1].isdigit()]
    if current.is_file():
        manifest = directory / current.read_bytes().decode("ascii", "replace").strip()
        if manifest.is_file():
            files.append(manifest)
    for path in sorted(files):
        at = damaged_at(path)
        if at is not None:
            msg = (
                f"{path} is damaged at byte {at}: the head of a record there is not as written. "
                f"Nothing was changed. Restore {directory} from a copy, or check the disk"
            )
            raise LogError(msg)


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
