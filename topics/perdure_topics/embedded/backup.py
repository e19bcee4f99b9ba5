"""Copies of an embedded log while its engine runs, and a look at a whole log before it is used.

All records of a log stand in one order in one write-ahead log, so what a reader of its files sees
is everything up to some moment, in every topic: what was acknowledged before it began is there.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from rocksdict import AccessType, Rdict, WriteBatch

from perdure_schemas.avro import UnreadableRecordError
from perdure_topics.embedded.embedded_log import DIRECTORY, EmbeddedLog
from perdure_topics.embedded.store import _options
from perdure_topics.fold import Cursor, Stale, fold_record
from perdure_topics.names import role_of
from perdure_topics.ports import LogError
from perdure_topics.private import make_private

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG: Final = DIRECTORY
BATCH_BYTES: Final = 4 * 1024 * 1024
TRIES: Final = 5
PAUSE_S: Final = 0.2
READ_A_TIME: Final = 1_000


class CheckedPartition(NamedTuple):
    """What a partition of events holds, as a fold finds it."""

    topic: str
    partition: int
    start: int
    end: int
    accepted_pseq: int
    stale: int


def copy_log(data: Path, to: Path) -> int:
    """Copy the log of a data directory, whoever runs on it; how many entries were copied.

    Raises LogError when there is no log, the place is taken, or the files cannot be read.
    """
    source, target = data / LOG, to / LOG
    if not (source / "CURRENT").is_file():
        raise LogError(f"{data} holds no embedded log: give the directory of `--data`")
    if to.exists() and any(to.iterdir()):
        raise LogError(f"{to} is not empty: a backup goes into a directory of its own")
    coming = to.with_name(f"{to.name}~coming")
    shutil.rmtree(coming, ignore_errors=True)
    make_private(coming)
    try:
        copied = _copy(source, coming / LOG)
        shutil.rmtree(to, ignore_errors=True)
        coming.rename(to)
    except BaseException:
        shutil.rmtree(coming, ignore_errors=True)
        raise
    assert (target / "CURRENT").is_file(), "the copy is where it was to go"
    return copied


def _copy(source: Path, target: Path) -> int:
    for left in range(TRIES - 1, -1, -1):
        try:
            return _copy_once(source, target)
        except Exception as error:
            # Its owner may have put files together, and deleted what was about to be opened.
            shutil.rmtree(target, ignore_errors=True)
            if not left:
                raise LogError(f"{source} cannot be copied: {error}") from error
            time.sleep(PAUSE_S)
    raise AssertionError("the last try returns or raises")


def _copy_once(source: Path, target: Path) -> int:
    options = _options(create=False)
    # All of them: a file that is open stays readable though its owner deletes it.
    options.set_max_open_files(-1)
    db = Rdict(str(source), options, access_type=AccessType.read_only())
    try:
        copy = Rdict(str(target), _options(create=True))
        try:
            copied = 0
            for batch, count in _batches(db):
                copy.write(batch)
                copied += count
            copy.flush(True)
            copy.flush_wal(True)
        finally:
            copy.close()
    finally:
        db.close()
    return copied


def _batches(db: Rdict) -> Iterator[tuple[WriteBatch, int]]:
    """All entries, some MiB at a time."""
    cursor = db.iter()
    cursor.seek_to_first()
    batch, size, count = WriteBatch(raw_mode=True), 0, 0
    while cursor.valid():
        key, value = cursor.key(), cursor.value()
        batch.put(key, value)
        size += len(key) + len(value)
        count += 1
        if size >= BATCH_BYTES:
            yield batch, count
            batch, size, count = WriteBatch(raw_mode=True), 0, 0
        cursor.next()
    # An iterator ends at damage as it does at the end; only this tells them apart.
    cursor.status()
    yield batch, count


def check_log(data: Path) -> list[CheckedPartition]:
    """Read all events of a log that nobody runs on, and fold them.

    Raises LogError for a log that is in use or damaged, or holds what this release cannot read.
    """
    log = EmbeddedLog.open(data)
    try:
        topics = [name for name in log.topic_names() if role_of(name) == "events"]
        places = [
            (name, number)
            for name in topics
            if (info := log.topic(name)) is not None
            for number in range(info.partitions)
        ]
        return [_check_partition(log, *place) for place in places]
    finally:
        log.close()


def _check_partition(log: EmbeddedLog, topic: str, number: int) -> CheckedPartition:
    start, end = log.offsets(topic, number)
    place = log.place(topic, number)
    cursor, stale, expected = Cursor(), 0, start
    while expected < end:
        count = min(READ_A_TIME, end - expected)
        for record in log.store.read(topic, number, place.prefix, expected, count):
            try:
                cursor, verdict = fold_record(cursor, record)
            except UnreadableRecordError as error:
                raise LogError(f"{topic}-{number}, offset {record.offset}: {error}") from error
            stale += isinstance(verdict, Stale)
            expected += 1
    return CheckedPartition(topic, number, start, end, cursor.pseq, stale)


def restore_log(backup: Path, data: Path) -> list[CheckedPartition]:
    """Put a copy into a data directory that has no log, once all of it was read and folded.

    Raises LogError when there is a log already, when somebody runs on it, or the copy is damaged.
    """
    if (data / LOG).exists():
        raise LogError(
            f"{data} holds a log already. Stop what runs on it, and move it away: a restore never"
            " writes over a log"
        )
    for left in ("tables", "checkpoints", f"{LOG}-synced"):
        if (data / left).exists():
            raise LogError(
                f"{data / left} is left of another log: move it away. Tables are made anew from"
                " the log, and one that knows more than the copy would be refused"
            )
    make_private(data)
    coming = data / f"{LOG}~coming"
    shutil.rmtree(coming, ignore_errors=True)
    try:
        copy_log(backup, coming)
        found = check_log(coming)
        (coming / LOG).rename(data / LOG)
    finally:
        shutil.rmtree(coming, ignore_errors=True)
    return found
