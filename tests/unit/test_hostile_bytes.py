"""Foreign bytes give UnreadableRecordError, soon and in bounded memory, and nothing else."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure_schemas import avro
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.events import ActivityHeartbeat, TimerFired
from perdure_schemas.payloads import Record
from perdure_schemas.replies import Accepted
from perdure_schemas.transition import TransitionBody
from tests.histories.golden_records import full
from tests.unit.records import records

FRAMED = list(avro.framed_records())
START = avro.encode(StartWorkflow(workflow_id="w", workflow_type="W"))
# Its last field is an array of payloads, its last byte that array's end.
BEAT = avro.encode(ActivityHeartbeat(activity_id="1", attempt=1))
BODY = avro.encode(TransitionBody())


def varint(value: int) -> bytes:
    z = value << 1 if value >= 0 else ((-value) << 1) - 1
    out = bytearray()
    while z > 127:
        out.append((z & 0x7F) | 0x80)
        z >>= 7
    return bytes([*out, z])


HOSTILE = {
    "nothing": b"",
    "no frame": b"hello, world",
    "another magic": b"\xc3\x02" + START[2:],
    "half a frame": START[:7],
    "an unknown fingerprint": START[:2] + b"\0" * 8 + START[10:],
    "a fingerprint the wrong way round": START[:2] + START[2:10][::-1] + START[10:],
    "only the frame": START[:10],
    "trailing bytes": START + b"\0",
    "a bomb of 2^24 items": BEAT[:-1] + varint(2**24),
    "a bomb of 2^40 items": BEAT[:-1] + varint(2**40),
    "a bomb of 2^62 items": BEAT[:-1] + varint(2**62),
    "a bomb of -2^63 items": BEAT[:-1] + varint(-(2**63)) + varint(1),
    "a counted bomb": BEAT[:-1] + varint(-(2**24)) + varint(2**30),
    "a bomb of byte strings": BODY[:-1] + varint(2**24),
    "more items than bytes": BEAT[:-1] + varint(4) + b"\0" * 3,
    "a block without an end": BEAT[:-1] + varint(1) + b"\0\0\0",
    "a thousand blocks without an end": BEAT[:-1] + (varint(1) + b"\0\0\0") * 1000,
    "a length beyond the end": START[:10] + varint(2**40) + b"w",
    "a short length beyond the end": START[:10] + varint(60) + b"w",
    "a negative length": START[:10] + varint(-1) + b"w",
    "a hugely negative length": START[:10] + varint(-(2**63)) + b"w",
    "a number of eleven bytes": START[:10] + b"\xff" * 10 + b"\1",
    "a number of a million bytes": START[:10] + b"\xff" * 1_000_000,
    "a number of 65 bits": START[:10] + b"\xff" * 9 + b"\3",
    "a number without an end": START[:10] + b"\x80",
    "a text that is no UTF-8": START[:10] + varint(2) + b"\xff\xfe" + START[12:],
    "a text of half characters": START[:10] + varint(3) + b"\xed\xa0\x80" + START[12:],
    "a cut record": START[:-5],
    "too large": START + b"\0" * avro.RECORD_BYTES_MAX,
}  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_are_refused_at_once(data: bytes) -> None:
    began = time.perf_counter()

    with pytest.raises(avro.UnreadableRecordError) as caught:
        avro.decode(data)

    assert time.perf_counter() - began < 1
    assert len(str(caught.value)) < 300


def test_none_is_no_record() -> None:
    with pytest.raises(avro.UnreadableRecordError, match="not a framed Avro record"):
        avro.decode(None)


def test_a_newer_releases_record_says_which_side_to_upgrade() -> None:
    with pytest.raises(avro.UnknownSchemaError, match=r"written by a newer release.*upgrade"):
        avro.decode(HOSTILE["an unknown fingerprint"])


def test_a_command_may_be_smaller_than_a_record() -> None:
    data = avro.encode(StartWorkflow(workflow_id="w" * 2000, workflow_type="W"))

    with pytest.raises(avro.UnreadableRecordError, match="at most 1000 are read"):
        avro.decode(data, bytes_max=1000)


@pytest.mark.parametrize("branch", [1, 3, 4, 0x7F, 0x80, 0xFF])
def test_a_union_branch_that_is_not_there_is_refused(branch: int) -> None:
    # reply stands behind workflow_id, workflow_type, input, request_id and first_sent_ms.
    at = 10 + 2 + 2 + 1 + 1 + 1
    assert START[at : at + 2] == b"\0\0"

    with pytest.raises(avro.UnreadableRecordError, match="union branch"):
        avro.decode(START[:at] + bytes([branch]) + START[at + 1 :])


def test_a_boolean_that_is_neither_is_refused() -> None:
    data = avro.encode(Accepted(started=True))
    assert data.endswith(b"\1")

    with pytest.raises(avro.UnreadableRecordError, match="boolean"):
        avro.decode(data[:-1] + b"\2")


def test_every_cut_of_every_record_is_refused() -> None:
    for cls in FRAMED:
        data = avro.encode(full(cls))
        step = max(1, len(data) // 200)
        for end in range(0, len(data), step):
            with pytest.raises(avro.UnreadableRecordError):
                avro.decode(data[:end])


@settings(max_examples=300)
@given(st.sampled_from(FRAMED).flatmap(records), st.data())
def test_a_changed_record_is_refused_or_is_a_record(record: Record, data: st.DataObject) -> None:
    good = bytearray(avro.encode(record))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(avro.FRAME_BYTES, max(avro.FRAME_BYTES, len(good) - 1)))
        good[at : at + 1] = data.draw(st.binary(max_size=3))

    _read(bytes(good))


def _read(data: bytes) -> None:
    """Any bytes are refused in the one way, or are a record that can be written again."""
    try:
        found = avro.decode(data)
    except avro.UnreadableRecordError:
        return
    assert avro.decode(avro.encode(found)) == found or found != found  # noqa: PLR0124 - a NaN


def test_random_bytes_behind_every_frame(seed: int) -> None:
    lottery = random.Random(seed)
    for cls in FRAMED:
        frame = avro.frame(json.loads(avro.schema_text(cls.__name__)))
        for _ in range(40):
            size = lottery.choice([0, 1, 5, 30, 300, 3000])
            alphabet = lottery.choice([range(256), (0, 1, 2, 4, 0x80, 0xFF), range(0, 24, 2)])
            data = bytes(lottery.choices(alphabet, k=size))
            _read(frame + data)


CHILD = """
import resource, sys, time
from perdure_schemas import avro
from perdure_schemas.transition import TransitionBody
from perdure_schemas.events import ActivityHeartbeat
import tests.unit.test_hostile_bytes as hostile
beat = hostile.BEAT[:-1]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + {spare} * 1024 * 1024
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
began = time.perf_counter()
refused = 0
for data in [*hostile.HOSTILE.values(), beat + hostile.varint(349_000) + bytes(1_047_000)]:
    try:
        avro.decode(data)
    except avro.UnreadableRecordError:
        refused += 1
assert refused == len(hostile.HOSTILE) + 1, refused
assert time.perf_counter() - began < 10
# The most objects that a command of the largest size can hold: a payload takes three bytes.
most = beat + hostile.varint(349_000) + bytes(349_000 * 3) + b"\\0"
assert len(most) <= avro.COMMAND_BYTES_MAX
assert len(avro.decode(most, bytes_max=avro.COMMAND_BYTES_MAX).details) == 349_000
print("held")
"""


def test_hostile_bytes_take_bounded_memory_and_time() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(spare=128)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert (done.stdout, done.returncode) == ("held\n", 0), done.stderr[-2000:]


def test_nothing_here_reads_deep() -> None:
    # A record cannot nest itself, so a hundred thousand zeros are a hundred thousand zeros.
    with pytest.raises(avro.UnreadableRecordError):
        avro.decode(avro.encode(TimerFired(timer_id="")) + b"\2" * 100_000)
