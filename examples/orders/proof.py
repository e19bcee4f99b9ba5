"""The proof of a demo: read from the shop's file and from the log itself, not from the engine.

The log is read by the rules of its records alone: which of them count is judged here anew, so
that a fault in the engine's own judgement would show.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from perdure._assembly import open_log
from perdure_schemas.avro import decode, decode_as
from perdure_schemas.events import (
    WorkflowCanceled,
    WorkflowCompleted,
    WorkflowContinuedAsNew,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from perdure_schemas.transition import EpochBump, Transition, TransitionBody
from perdure_topics.names import topic_name
from perdure_topics.ports import Log

TERMINAL = (
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowCanceled,
    WorkflowTerminated,
    WorkflowTimedOut,
    WorkflowContinuedAsNew,
)
READ_S = 10.0


@dataclass(frozen=True)
class Claim:
    """Something that must hold, and whether it did."""

    text: str
    holds: bool


def check_journal(journal: Path, *, failed: Sequence[str], needed_person: set[str]) -> list[Claim]:
    """What the shop's file says, against the orders that the client saw fail."""
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in lines:
        if line["done"]:
            keys[line["order"], line["activity"]].add(line["key"])
    charged = {order: found for (order, what), found in keys.items() if what == "charge"}
    refunded = {order for order, what in keys if what == "refund"}
    charges = sum(line["activity"] == "charge" for line in lines)
    doubled = {order for order, found in charged.items() if len(found) != 1}
    owed = set(failed) - refunded
    wrong = refunded - set(failed)
    return [
        Claim(
            f"{len(charged)} orders charged, each under exactly one key"
            f" ({charges} calls of the bank)",
            bool(charged) and not doubled,
        ),
        Claim(
            f"{len(failed)} failed orders, the charge of each refunded",
            not owed,
        ),
        Claim("no order refunded that did not fail", not wrong),
        Claim(
            f"{len(needed_person)} order waited for a person, and was refunded once retried",
            len(needed_person) == 1 and needed_person <= refunded & set(failed),
        ),
    ]


def check_log(data: Path, *, task_queue: str, orders: int) -> list[Claim]:
    """What the log says of its runs, once its engine has stopped."""
    log, close = open_log(f"file:{data}")
    try:
        started: Counter[str] = Counter()
        ended: Counter[str] = Counter()
        takeovers = 0
        for event in _events(log, task_queue):
            if isinstance(event, EpochBump):
                takeovers += 1
            elif isinstance(event[1], WorkflowStarted):
                started[event[0]] += 1
            elif isinstance(event[1], TERMINAL):
                ended[event[0]] += 1
    finally:
        close()
    return [
        Claim(
            f"{len(started)} runs in the log ({takeovers} take-overs), one start each",
            len(started) == orders and set(started.values()) == {1},
        ),
        Claim(
            f"{sum(ended.values())} terminal events, exactly one a run",
            ended.keys() == started.keys() and set(ended.values()) == {1},
        ),
    ]


def _events(log: Log, task_queue: str) -> Iterator[EpochBump | tuple[str, object]]:
    """Every take-over, and every event that counts with the run it is of."""
    topic = topic_name("events", "default", task_queue)
    info = log.topic(topic)
    assert info is not None, f"there is no topic {topic}"
    for partition in range(info.partitions):
        owner, pseq = (0, b""), 0
        body = b""
        for value in _records(log, topic, partition):
            record = decode(value)
            if isinstance(record, EpochBump) and record.epoch > owner[0]:
                owner, body = (record.epoch, record.nonce), b""
                yield record
            if not isinstance(record, Transition):
                continue
            if (record.epoch, record.nonce) != owner or record.pseq != pseq + 1:
                continue
            pseq = record.pseq
            body += record.body
            if record.part < record.parts:
                continue
            transition = decode_as(TransitionBody, body)
            body = b""
            for framed in transition.events:
                yield transition.run_id, decode(framed)


def _records(log: Log, topic: str, partition: int) -> Iterator[bytes]:
    """The records of a partition, from its first to its last."""
    bell = Event()
    tail = log.tail(on_ready=bell.set, committed=False)
    try:
        tail.assign(topic, partition, 0)
        offset, end = 0, log.offsets(topic, partition)[1]
        while offset < end:
            bell.clear()
            records = tail.take(topic, partition, 1_000)
            if not records and not bell.wait(READ_S):
                raise RuntimeError(f"{topic} partition {partition} cannot be read to {end}")
            for record in records:
                offset = record.offset + 1
                if record.value is not None:
                    yield record.value
    finally:
        tail.close()
