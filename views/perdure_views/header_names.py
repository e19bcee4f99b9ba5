"""Header names that are no text, as Faust's client meets them: escaped, so that it reads on.

A name is bytes to Kafka, and to aiokafka it is UTF-8 or the end of the consumer: its C code raises
in the middle of a batch, and so does it each time that the batch is fetched again. There is no
setting for it. So batches are read as ever, and one that raises is read once more by aiokafka's
own Python, which is slower and can be told to escape.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from aiokafka.consumer import fetcher
from aiokafka.record import default_records, memory_records

_fast: Final[Any] = memory_records.MemoryRecords
_slow: Final[Any] = memory_records._MemoryRecordsPy
_SlowBatch: Final[Any] = default_records._DefaultRecordBatchPy


def take_any_header_names() -> None:
    """Have the consumers of this process read records whatever the names of their headers are."""
    fetcher.MemoryRecords = Records


class Records:
    """What was fetched of a partition, batch by batch."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._read = _fast(data)
        self._count = 0

    def size_in_bytes(self) -> int:
        """How much was fetched."""
        size: int = self._read.size_in_bytes()
        return size

    def has_next(self) -> bool:
        """Whether there is another batch."""
        found: bool = self._read.has_next()
        return found

    def next_batch(self) -> Any:
        """The next batch."""
        batch = self._read.next_batch()
        number, self._count = self._count, self._count + 1
        return None if batch is None else _Batch(batch, self._data, number)


class _Batch:
    """A batch that is read again where it raises."""

    def __init__(self, batch: Any, data: bytes, number: int) -> None:
        self._batch = batch
        self._data = data
        self._number = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        taken = 0
        try:
            for record in self._batch:
                yield record
                taken += 1
        except UnicodeDecodeError:
            yield from list(self._escaped())[taken:]

    def _escaped(self) -> Iterator[Any]:
        batches = _slow(self._data)
        for _ in range(self._number):
            batches.next_batch()
        # The batch itself, as it was fetched: what it inherits reads it from its first byte.
        batch = _EscapingBatch(batches._next_slice)
        return iter(batch)


class _EscapingBatch(_SlowBatch):  # type: ignore[misc]
    """A batch whose header names are escaped where they are no text."""

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: Any = _Escaping(self._buffer)


class _Escaping(bytearray):
    """Bytes that can be decoded whatever they are."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _Escaping(found) if isinstance(place, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "") -> str:
        return super().decode(encoding, errors or "backslashreplace")
