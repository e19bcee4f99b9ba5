"""What the embedded log keeps through crashes, damage, full disks and time."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from perdure_topics.clock import ManualClock
from perdure_topics.embedded import commit
from perdure_topics.embedded import partition as embedded_partition
from perdure_topics.embedded.embedded_log import EmbeddedLog
from perdure_topics.names import topic_name, topic_settings
from perdure_topics.ports import LogError, LogFullError, PositionLostError, TopicSpec
from tests.embedded_rig import COMMANDS, EVENTS, REPLIES, crash_image, open_log, read_all, write
from tests.log_contract import collect_reports, no_bell, wait_for


def test_what_was_written_is_there_after_closing_and_opening(tmp_path):
    log = open_log(tmp_path)
    values = [b"%d" % n for n in range(100)]
    write(log, EVENTS, values)
    before = log.cluster_id, log.topic(EVENTS)
    log.close()
    log = open_log(tmp_path)
    assert (log.cluster_id, log.topic(EVENTS)) == before
    assert read_all(log, EVENTS) == values
    assert [report.offset for report in write(log, EVENTS, [b"next"])] == [100]
    log.close()


def test_old_records_come_from_the_store_and_new_ones_from_memory(tmp_path, monkeypatch):
    small = embedded_partition.Bounds(50, 10_000)
    monkeypatch.setattr(embedded_partition, "RECENT", small)
    log = open_log(tmp_path)
    values = [b"%d" % n for n in range(1000)]
    write(log, EVENTS, values)
    partition = log.place(EVENTS, 0)
    assert len(partition.read(log.store, 0, 2000)) > 800, "the window has not been cut"
    assert read_all(log, EVENTS) == values
    log.close()


WRITER = """
    import sys
    from perdure_topics.waker import Doorbell
    from tests.embedded_rig import EVENTS, COMMANDS, open_log
    log = open_log(sys.argv[1])
    bell = Doorbell()
    appender = log.appender(on_ready=bell.ring)
    sent = {EVENTS: 0, COMMANDS: 0}
    while True:
        for topic in sent:
            appender.append(topic, 0, b"%d" % sent[topic] + b"." * 200, tag=topic)
            sent[topic] += 1
        bell.wait(1)
        for report in appender.reports():
            print(report.tag, report.offset, flush=True)
"""


@pytest.mark.parametrize("round_", range(3))
def test_acknowledged_records_survive_sigkill(tmp_path, round_):
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)]
    acked = {EVENTS: -1, COMMANDS: -1}
    until = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout or ():
            if not line.endswith("\n"):
                break  # The kill cut it.
            topic, offset = line.split()
            acked[topic] = int(offset)
            until = until or time.monotonic() + 0.3
            if time.monotonic() > until:
                child.send_signal(signal.SIGKILL)
                # What it had said before is read to the end.
                until = float("inf")
    assert min(acked.values()) > 0
    log = open_log(tmp_path)
    for topic, last in acked.items():
        values = read_all(log, topic)
        assert len(values) > last
        assert values == [b"%d" % n + b"." * 200 for n in range(len(values))]
    log.close()


def test_a_second_opener_is_told_what_to_do(tmp_path):
    log = open_log(tmp_path)
    with pytest.raises(LogError, match="perdure engine") as caught:
        EmbeddedLog.open(tmp_path)
    assert str(tmp_path) in str(caught.value)
    code = (
        "import sys\nfrom perdure_topics.embedded.embedded_log import EmbeddedLog\n"
        "from perdure_topics.ports import LogError\n"
        "try: EmbeddedLog.open(sys.argv[1])\nexcept LogError as error: print(error)"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "in use by another process" in other.stdout
    log.close()
    open_log(tmp_path).close()


def test_a_writer_that_queues_too_much_is_told_so(tmp_path, monkeypatch):
    log = open_log(tmp_path)
    monkeypatch.setattr(commit, "QUEUE_BYTES_MAX", 1000)
    appender = log.appender(on_ready=no_bell)
    with pytest.raises(LogFullError, match="queued"):
        appender.append(COMMANDS, 0, b"." * 2000)
    appender.append(COMMANDS, 0, b"fits", tag="fits")
    assert [report.offset for report in collect_reports(appender, wait_for, 1)] == [0]
    appender.close()
    log.close()


def test_a_place_that_does_not_exist_is_an_error(tmp_path):
    log = open_log(tmp_path)
    appender = log.appender(on_ready=no_bell)
    with pytest.raises(LogError, match="no topic"):
        appender.append("nobody.made.commands", 0, b"x")
    with pytest.raises(LogError, match="partitions 0 to 1"):
        appender.append(COMMANDS, 2, b"x")
    with pytest.raises(LogError, match="topic name"):
        log.create_topics([TopicSpec("a/b", 1, 1, {})])
    with pytest.raises(LogError, match="partitions"):
        log.create_topics([TopicSpec("ns.zero.commands", 0, 1, {})])
    appender.close()
    log.close()


def test_records_past_their_retention_are_deleted_and_offsets_go_on(tmp_path):
    clock = ManualClock()
    log = open_log(tmp_path, clock=clock)
    write(log, COMMANDS, [b"old", b"old"])
    write(log, EVENTS, [b"kept for ever"])
    clock.advance(int(topic_settings("commands")["retention.ms"]) + 1)
    write(log, COMMANDS, [b"new"])
    log._retain(clock.wall_ms())
    tail = log.tail(on_ready=no_bell, committed=True)
    tail.assign(COMMANDS, 0, 0)
    with pytest.raises(PositionLostError):
        tail.take(COMMANDS, 0, 10)
    assert read_all(log, COMMANDS, start=2) == [b"new"]
    clock.advance(int(topic_settings("commands")["retention.ms"]) + 1)
    log._retain(clock.wall_ms())
    tail.close()
    log.close()
    log = open_log(tmp_path, clock=clock)
    assert [report.offset for report in write(log, COMMANDS, [b"next"])] == [3]
    assert read_all(log, EVENTS) == [b"kept for ever"]
    log.close()


def test_times_do_not_go_back_with_the_clock_nor_over_a_restart(tmp_path):
    clock = ManualClock()
    log = open_log(tmp_path, clock=clock)
    first = write(log, EVENTS, [b"a"])[0].timestamp_ms
    clock.skew_ms = -3_600_000
    assert write(log, EVENTS, [b"b"])[0].timestamp_ms == first
    log.close()
    log = open_log(tmp_path, clock=clock)
    assert write(log, EVENTS, [b"c"])[0].timestamp_ms == first
    log.close()


def test_replies_live_in_memory_and_no_offset_is_used_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded_partition, "RING", embedded_partition.Bounds(10, 10_000))
    log = open_log(tmp_path)
    reports = write(log, REPLIES, [b"%d" % n for n in range(100)])
    assert [report.offset for report in reports] == list(range(100))
    tail = log.tail(on_ready=no_bell, committed=True)
    tail.assign(REPLIES, 0, 0)
    with pytest.raises(PositionLostError):
        tail.take(REPLIES, 0, 10)
    start = log.place(REPLIES, 0).start
    assert start >= 80
    assert read_all(log, REPLIES, start=start)[-1] == b"99"
    tail.close()
    log.close()
    log = open_log(tmp_path)
    assert write(log, REPLIES, [b"after"])[0].offset not in {None, *range(100)}
    log.close()


def test_group_offsets_survive_sigkill_once_they_rode_in_a_batch(tmp_path):
    log = open_log(tmp_path / "live")
    tasks = topic_name("tasks", "ns", "q")
    write(log, tasks, [b"%d" % n for n in range(10)])
    reader = log.group_reader("workers", tasks, on_ready=no_bell)
    reader.commit(0, 7)
    write(log, tasks, [b"10"])
    crash_image(tmp_path / "live", tmp_path / "image")
    log.close()
    log = open_log(tmp_path / "image")
    again = log.group_reader("workers", tasks, on_ready=no_bell)
    assert [record.offset for record in again.take(100)] == [7, 8, 9, 10]
    again.close()
    log.close()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own with a few megabytes, and a way to make it larger."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")

    def grow():
        remount = ["mount", "-o", "remount,size=200m", str(disk)]
        subprocess.run(remount, check=True, capture_output=True)

    yield disk, grow
    subprocess.run(["umount", "-l", str(disk)], check=True, capture_output=True)


def test_a_full_disk_stops_the_log_until_there_is_space_and_loses_nothing(small_disk, caplog):
    disk, grow = small_disk
    log = open_log(disk / "data")
    lottery = random.Random(1)
    acked: list[bytes] = []
    appender = log.appender(on_ready=no_bell)
    failed = None
    while failed is None:
        value = lottery.randbytes(50_000)
        try:
            appender.append(EVENTS, 0, value, tag=value)
        except LogFullError as error:
            failed = str(error)
            break
        for report in collect_reports(appender, wait_for, 1):
            if report.offset is None:
                failed = report.error
            else:
                assert report.offset == len(acked)
                acked.append(value)
    assert failed is not None
    assert str(disk) in failed
    assert "No space" in failed
    with pytest.raises(LogFullError, match="space"):
        appender.append(EVENTS, 0, b"x")
    appender.close()
    grow()
    appender = log.appender(on_ready=no_bell)

    def taken() -> bool:
        try:
            appender.append(EVENTS, 0, b"after", tag="after")
        except LogFullError:
            return False
        return True

    assert wait_for(taken)
    offset = collect_reports(appender, wait_for, 1)[0].offset
    assert offset is not None
    values = read_all(log, EVENTS)
    assert values[: len(acked)] == acked
    assert values[offset] == b"after"
    assert len(values) - len(acked) <= 2, "at most the one whose fate was unknown"
    assert any("takes records again" in record.message for record in caplog.records)
    appender.close()
    log.close()
    log = open_log(disk / "data")
    assert read_all(log, EVENTS) == values
    log.close()
