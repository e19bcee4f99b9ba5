"""What the embedded log makes of torn and damaged files: it refuses, or has everything."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

import pytest

from perdure_topics.embedded.embedded_log import EmbeddedLog
from perdure_topics.ports import LogDamagedError, LogError, LogFullError
from tests.embedded_rig import (
    EVENTS,
    crash_image,
    newest_wal,
    open_log,
    read_all,
    write,
)
from tests.log_rig import collect_reports, no_bell, wait_for


def test_a_torn_tail_costs_exactly_the_record_that_was_not_whole(tmp_path):
    """A crash of the machine before the sync: the last record is cut, and no mark covers it."""
    log = open_log(tmp_path / "live")
    values = [b"value %d" % n for n in range(5)]
    write(log, EVENTS, values[:4])
    whole = newest_wal(tmp_path / "live").stat().st_size
    mark = (tmp_path / "live" / "log-synced").read_bytes()
    write(log, EVENTS, values[4:])
    crash_image(tmp_path / "live", tmp_path / "kept")
    log.close()
    (tmp_path / "kept" / "log-synced").write_bytes(mark)
    size = newest_wal(tmp_path / "kept").stat().st_size
    assert size > whole
    for cut in range(whole, size + 1):
        crash_image(tmp_path / "kept", tmp_path / "cut")
        os.truncate(newest_wal(tmp_path / "cut"), cut)
        log = open_log(tmp_path / "cut")
        assert read_all(log, EVENTS) == (values if cut == size else values[:4]), cut
        expected = 5 if cut == size else 4
        assert [report.offset for report in write(log, EVENTS, [b"next"])] == [expected]
        log.close()


def survives(directory: Path, values: list[bytes]) -> bool:
    """Whether a damaged log refuses or still has everything; a silent loss is False."""
    try:
        log = EmbeddedLog.open(directory)
    except LogError as error:
        return str(directory) in str(error)
    try:
        return bool(log.topic(EVENTS)) and read_all(log, EVENTS) == values
    except LogError:
        return True
    finally:
        log.close()


def flip(path: Path, at: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def test_a_flipped_bit_in_the_last_record_is_never_taken_for_a_torn_tail(tmp_path):
    log = open_log(tmp_path / "live")
    values = [b"value %d" % n for n in range(5)]
    write(log, EVENTS, values[:4])
    whole = newest_wal(tmp_path / "live").stat().st_size
    write(log, EVENTS, values[4:])
    crash_image(tmp_path / "live", tmp_path / "kept")
    log.close()
    for at in range(whole, whole + 7):
        for bit in range(8):
            crash_image(tmp_path / "kept", tmp_path / "flipped")
            flip(newest_wal(tmp_path / "flipped"), at, bit)
            assert survives(tmp_path / "flipped", values), (at - whole, bit)


def test_a_flipped_bit_in_the_head_of_any_manifest_record_is_refused_or_harmless(tmp_path):
    log = open_log(tmp_path / "live")
    values = [b"value %d" % n for n in range(5)]
    write(log, EVENTS, values)
    log.close()
    open_log(tmp_path / "live").close()
    (manifest,) = (tmp_path / "live" / "log").glob("MANIFEST-*")
    content = manifest.read_bytes()
    at = 0
    while at < len(content):
        length = int.from_bytes(content[at + 4 : at + 6], "little")
        for bit in range(8):
            # RocksDB reads one flip of the kind, the byte behind the length, for ever.
            for byte in (at + 4, at + 6):
                crash_image(tmp_path / "live", tmp_path / "flipped")
                flip(tmp_path / "flipped" / "log" / manifest.name, byte, bit)
                kept = survives(tmp_path / "flipped", values)
                assert kept, (byte, bit)
        at += 7 + length
    assert at == len(content)


@pytest.mark.seeds(2, fresh=1)
def test_a_flipped_bit_anywhere_is_refused_or_harmless(tmp_path, seed):
    lottery = random.Random(seed)
    log = open_log(tmp_path / "live")
    values = [b"value %d" % n + b"." * lottery.randrange(300) for n in range(200)]
    write(log, EVENTS, values[:100])
    if seed % 2:
        # Half of it in a table file, half in the WAL.
        log.close()
        log = open_log(tmp_path / "live")
    write(log, EVENTS, values[100:])
    crash_image(tmp_path / "live", tmp_path / "kept")
    log.close()
    files = [
        path.relative_to(tmp_path / "kept")
        for path in (tmp_path / "kept" / "log").iterdir()
        if path.stat().st_size and path.name != "LOCK"
    ]
    for _ in range(40):
        crash_image(tmp_path / "kept", tmp_path / "flipped")
        name = lottery.choice(sorted(files))
        path = tmp_path / "flipped" / name
        at, bit = lottery.randrange(path.stat().st_size), lottery.randrange(8)
        flip(path, at, bit)
        kept = survives(tmp_path / "flipped", values)
        assert kept, (name, at, bit)


def damage_met(directory: Path, values: list[bytes]) -> str:
    """What a damaged log says when it is opened and read; empty when it has everything."""
    try:
        log = EmbeddedLog.open(directory)
    except LogDamagedError as error:
        return str(error)
    try:
        assert read_all(log, EVENTS) == values
    except LogDamagedError as error:
        return str(error)
    finally:
        log.close()
    return ""


def test_damage_in_a_table_file_is_said_as_other_damage_is(tmp_path):
    log = open_log(tmp_path / "live")
    values = [b"value %d" % n + b"." * 300 for n in range(300)]
    write(log, EVENTS, values)
    log.close()
    (table,) = (tmp_path / "live" / "log").glob("*.sst")
    said = 0
    for at in range(0, table.stat().st_size, table.stat().st_size // 40):
        crash_image(tmp_path / "live", tmp_path / "flipped")
        flip(tmp_path / "flipped" / "log" / table.name, at, at % 8)
        error = damage_met(tmp_path / "flipped", values)
        if error:
            said += 1
            assert str(tmp_path / "flipped" / "log") in error
            assert "Restore" in error
            assert "check the disk" in error
    assert said > 10


def test_a_log_found_damaged_at_work_takes_nothing_more_and_says_why(tmp_path, caplog):
    log = open_log(tmp_path)
    values = [b"value %d" % n + b"." * 300 for n in range(300)]
    write(log, EVENTS, values)
    log.close()
    log = open_log(tmp_path)
    (table,) = (tmp_path / "log").glob("*.sst")
    table.write_bytes(b"\xff" * table.stat().st_size)
    with pytest.raises(LogDamagedError, match="Restore the directory from a copy"):
        read_all(log, EVENTS)
    # Whatever RocksDB itself meets while it moves data about.
    log.store._opened().compact_range(None, None)
    appender = log.appender(on_ready=no_bell)
    with suppress(LogFullError):
        appender.append(EVENTS, 0, b"next", tag="next")
    (report,) = collect_reports(appender, wait_for, 1)
    assert report.offset is None
    assert "Restore the directory from a copy" in (report.error or "")
    with pytest.raises(LogError, match="Restore the directory from a copy"):
        appender.append(EVENTS, 0, b"next")
    assert "Nothing is taken any more" in caplog.text
    assert "space" not in caplog.text
    log.close()
