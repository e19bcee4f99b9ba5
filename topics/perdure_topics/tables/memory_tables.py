"""Tables in memory, for simulations and unit tests: they lose, break and fill up as disks do."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from perdure_topics.ports import TableDamagedError, TableError, TableFullError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# How many of the last batches a crash may still take back.
UNSYNCED_MAX: Final = 256
_CHECKPOINT = "table.msgpack"


class _Content:
    """What a table holds: it outlives the table's being open."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.keys: list[bytes] = []
        # For each of the last batches, what its keys held before.
        self.unsynced: deque[dict[bytes, bytes | None]] = deque(maxlen=UNSYNCED_MAX)
        self.holder: MemoryTable | None = None
        self.damaged = False
        self.rotten = False
        """Damaged where only reading shows it: it opens like any other."""

    def set(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            if self.values.pop(key, None) is not None:
                del self.keys[bisect_left(self.keys, key)]
            return
        if key not in self.values:
            insort(self.keys, key)
        self.values[key] = value


class MemorySnapshot:
    """A table in memory as it was at one moment."""

    def __init__(self, rows: list[tuple[bytes, bytes]]) -> None:
        self._rows = rows
        self._keys = [key for key, _ in rows]

    def scan(self, start: bytes, end: bytes, *, limit: int) -> list[tuple[bytes, bytes]]:
        """Some keys from start up to but not including end, in order, with their values."""
        low, high = bisect_left(self._keys, start), bisect_left(self._keys, end)
        return self._rows[low : min(high, low + limit)]

    def close(self) -> None:
        """Let go of it."""
        self._rows, self._keys = [], []


class MemoryTable:
    """A sorted table in memory."""

    def __init__(self, name: str, content: _Content, store: MemoryTableStore) -> None:
        self._name = name
        self._content = content
        self._store = store

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        return self._held().values.get(key)

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """The keys from start up to but not including end, in order, with their values."""
        content = self._held()
        low = bisect_left(content.keys, start)
        high = max(low, bisect_left(content.keys, end))
        keys = content.keys[low:high]
        if reverse:
            keys.reverse()
        return iter([(key, content.values[key]) for key in keys[:limit]])

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes]) -> None:
        """Write all or nothing; a key both put and deleted is deleted."""
        content = self._held()
        if self._store.full:
            raise TableFullError(f"table {self._name!r}: no space left")
        batch: dict[bytes, bytes | None] = dict(puts)
        batch.update(dict.fromkeys(deletes))
        content.unsynced.append({key: content.values.get(key) for key in batch})
        for key, value in batch.items():
            content.set(key, value)

    def size_bytes(self) -> int:
        """How much room the keys and values take."""
        return sum(len(key) + len(value) for key, value in self._held().values.items())

    def snapshot(self) -> MemorySnapshot:
        """The table as it is now."""
        content = self._held()
        return MemorySnapshot([(key, content.values[key]) for key in content.keys])

    def checkpoint(self, directory: str) -> None:
        """Write a copy into a directory that does not exist yet."""
        content = self._held()
        try:
            Path(directory).mkdir(parents=True)
            (Path(directory) / _CHECKPOINT).write_bytes(msgspec.msgpack.encode(content.values))
        except OSError as error:
            raise TableError(f"table {self._name!r}: cannot checkpoint: {error}") from error

    def close(self) -> None:
        """Close the table; another may open it from now on."""
        if self._content.holder is self:
            self._content.holder = None

    def _held(self) -> _Content:
        if self._content.holder is not self:
            raise TableError(f"table {self._name!r} is closed")
        if self._content.damaged:
            raise TableError(f"table {self._name!r} is damaged")
        if self._content.rotten:
            raise TableDamagedError(f"table {self._name!r} is damaged in the middle")
        return self._content


class MemoryTableStore:
    """Tables in memory; they outlive their owner as files do, and break as files do."""

    def __init__(self) -> None:
        self._contents: dict[str, _Content] = {}
        self.full = False
        """While true no table takes anything, as on a full disk."""

    def open(self, name: str) -> MemoryTable:
        """Open or make a table. Raises TableError when it is damaged or another holds it."""
        content = self._contents.setdefault(name, _Content())
        if content.holder is not None:
            raise TableError(f"table {name!r} is held by another")
        if content.damaged:
            raise TableError(f"table {name!r} is damaged")
        content.holder = MemoryTable(name, content, self)
        return content.holder

    def wipe(self, name: str) -> None:
        """Delete a table that is closed."""
        self._closed(name)
        self._contents.pop(name, None)

    def install(self, name: str, directory: str) -> None:
        """Replace a closed table by a checkpoint. Raises TableError when it is no valid one."""
        self._closed(name)
        try:
            packed = (Path(directory) / _CHECKPOINT).read_bytes()
            values = msgspec.msgpack.decode(packed, type=dict[bytes, bytes])
        except (OSError, msgspec.MsgspecError) as error:
            raise TableError(f"table {name!r}: cannot install {directory}: {error}") from error
        content = _Content()
        content.values = values
        content.keys = sorted(values)
        self._contents[name] = content

    def close(self) -> None:
        """Nothing is held for anybody here."""

    def names(self) -> list[str]:
        """The tables there are."""
        return sorted(self._contents)

    def crash(self) -> None:
        """Close all tables as a killed process does: nothing is lost that was written."""
        for content in self._contents.values():
            content.holder = None

    def lose(self, name: str, batches: int) -> int:
        """Take back the last batches of a closed table, as a power failure does; says how many."""
        self._closed(name)
        content = self._contents.get(name)
        taken = 0
        while content is not None and content.unsynced and taken < batches:
            for key, value in content.unsynced.pop().items():
                content.set(key, value)
            taken += 1
        return taken

    def damage(self, name: str, *, within: bool = False) -> None:
        """Break a table: it can neither be opened nor read until it is wiped."""
        if name in self._contents:
            content = self._contents[name]
            content.damaged, content.rotten = not within, within

    def _closed(self, name: str) -> None:
        content = self._contents.get(name)
        if content is not None and content.holder is not None:
            raise TableError(f"table {name!r} is open")
