"""Header names that are no text: Faust's client reads them, and what stands beside them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("faust", reason="the extra `insights` is not installed")

from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from perdure_views.header_names import Records
from tests.broker.odd_headers import NoText

GZIP = 1


def batch(first: int, count: int, odd: set[int], *, compression: int = 0) -> bytes:
    """A batch of records, as a producer that has its own way with names writes it."""
    builder = _DefaultRecordBatchBuilderPy(
        magic=2,
        compression_type=compression,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1_000_000,
    )
    for number in range(count):
        offset = first + number
        name = NoText("x") if offset in odd else "name"
        builder.append(number, 1_000, b"k%d" % offset, b"v%d" % offset, [(name, b"h"), ("z", None)])
    made = bytearray(builder.build())
    made[:8] = first.to_bytes(8, "big")
    return bytes(made)


def read(records: Any, *, from_offset: int = 0) -> list[tuple[int, bytes, list[str]]]:
    """What a consumer makes of what it fetched."""
    found = PartitionRecords(TopicPartition("t", 0), records, [], from_offset, None, None, True, 0)
    return [(one.offset, one.value, [name for name, _ in one.headers]) for one in found]


@pytest.mark.parametrize("compression", [0, GZIP])
def test_they_are_escaped_and_nothing_is_missed_or_doubled(compression: int) -> None:
    odd = {3, 4, 6, 9}
    batches = [(0, 3), (3, 5), (8, 2), (10, 1)]
    data = b"".join(batch(*one, odd, compression=compression) for one in batches)
    with pytest.raises(UnicodeDecodeError):
        read(MemoryRecords(data))

    assert read(Records(data)) == [
        (offset, b"v%d" % offset, ["\\xff\\xfe" if offset in odd else "name", "z"])
        for offset in range(11)
    ]
    # A fetch from the middle of a batch is given all of it.
    data = b"".join(batch(*one, odd, compression=compression) for one in batches[1:])
    assert [offset for offset, _, _ in read(Records(data), from_offset=4)] == list(range(4, 11))


def test_other_batches_are_read_as_ever() -> None:
    data = batch(0, 50, set())

    assert read(Records(data)) == read(MemoryRecords(data))
    assert read(Records(data[:-1])) == []
