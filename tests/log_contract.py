"""What every log keeps: the tests an adapter's own test module takes over by subclassing.

An adapter's module gives the fixture `make_log`: each call opens the same log once more, as
another process would (or gives the same object again where only one may have it open). A log
whose time is turned by hand overrides `wait`, too, and steps its world there.
"""

from __future__ import annotations

import uuid
from contextlib import suppress

import pytest

from perdure_topics.names import topic_settings
from perdure_topics.ports import LogFullError, PositionLostError, StoredRecord, Tail, TopicSpec
from tests.log_rig import (
    Contract,
    Holder,
    MakeLog,
    Wait,
    collect,
    collect_group,
    collect_reports,
    new_topic,
    no_bell,
    settle,
    wait_for,
)

__all__ = [
    "GroupContract",
    "Holder",
    "MakeLog",
    "ReadingContract",
    "Wait",
    "WritingContract",
    "collect",
    "collect_group",
    "collect_reports",
    "new_topic",
    "no_bell",
    "settle",
    "wait_for",
]


class WritingContract(Contract):
    """What a writer may rely on."""

    def test_records_get_dense_offsets_from_zero_and_reports_in_order(self, make_log, wait):
        log = make_log()
        topic = new_topic(log)
        reports = self.write(log, wait, topic, 1, [b"%d" % n for n in range(50)])
        assert [report.tag for report in reports] == list(range(50))
        assert [report.offset for report in reports] == list(range(50))
        assert {report.error for report in reports} == {None}

    def test_a_record_comes_back_as_it_was_written(self, make_log, wait):
        log = make_log()
        topic = new_topic(log, self.host_role)
        headers = (("trace", b"\x00\xff"), ("trace", b""))
        appender = log.appender(on_ready=no_bell)
        appender.append(topic, 2, b"\x00value\xff", key=b"\xffkey", headers=headers, tag="mine")
        appender.append(topic, 2, b"", tag=None)
        reports = collect_reports(appender, wait, 2)
        tail = log.tail(on_ready=no_bell, committed=False)
        tail.assign(topic, 2, 0)
        first, second = collect(tail, wait, topic, 2, 2)
        assert first[:7] == (
            topic,
            2,
            0,
            b"\xffkey",
            b"\x00value\xff",
            headers,
            reports[0].timestamp_ms,
        )
        assert second[:6] == (topic, 2, 1, None, b"", ())
        tail.close()
        appender.close()

    def test_times_are_the_logs_own_and_never_go_back(self, make_log, wait):
        log = make_log()
        topic = new_topic(log)
        reports = [self.write(log, wait, topic, 0, [b"x"])[0] for _ in range(10)]
        times = [report.timestamp_ms for report in reports]
        assert times == sorted(times)
        assert times[0] > 0

    def test_every_writer_keeps_its_order_among_others(self, make_log, wait):
        log = make_log()
        topic = new_topic(log)
        writers = [log.appender(on_ready=no_bell) for _ in range(3)]
        for at in range(100):
            for who, writer in enumerate(writers):
                writer.append(topic, 0, b"%d" % who, tag=at)
        offsets: list[int] = []
        for writer in writers:
            reports = collect_reports(writer, wait, 100)
            assert [report.tag for report in reports] == list(range(100))
            mine = [report.offset for report in reports if report.offset is not None]
            assert mine == sorted(mine)
            offsets += mine
            writer.close()
        assert sorted(offsets) == list(range(300))

    def test_a_burst_of_many_sizes_keeps_its_order_in_each_partition(self, make_log, wait):
        log = make_log()
        topic = new_topic(log)
        appender = log.appender(on_ready=no_bell)
        for at in range(1_200):
            value = b"%d " % at + b"x" * (300_000 if at % 200 == 7 else at % 50)
            appender.append(topic, at % 3, value, tag=at)
        reports = collect_reports(appender, wait, 1_200)
        appender.close()
        tail = log.tail(on_ready=no_bell, committed=False)
        for partition in range(3):
            tags = list(range(partition, 1_200, 3))
            mine = [report for report in reports if report.tag in tags]
            assert [report.tag for report in mine] == tags
            assert [report.offset for report in mine] == list(range(400))
            tail.assign(topic, partition, 0)
            records = collect(tail, wait, topic, partition, 400)
            assert [int((record.value or b"").split()[0]) for record in records] == tags
        tail.close()

    def test_a_record_too_large_for_its_topic_is_refused_and_the_next_one_lands(
        self, make_log, wait
    ):
        log = make_log()
        topic = new_topic(log)
        appender = log.appender(on_ready=no_bell)
        with pytest.raises(LogFullError):
            appender.append(topic, 0, b"x" * 3 * 1024 * 1024)
        appender.append(topic, 0, b"small", tag="small")
        assert collect_reports(appender, wait, 1)[0].offset == 0
        appender.close()

    def test_close_with_time_to_flush_writes_what_was_queued(self, make_log, wait):
        log = make_log()
        topic = new_topic(log)
        appender = log.appender(on_ready=no_bell)
        for _ in range(200):
            appender.append(topic, 3, b"x")
        appender.close(flush_s=10)
        tail = log.tail(on_ready=no_bell, committed=True)
        tail.assign(topic, 3, 0)
        assert len(collect(tail, wait, topic, 3, 200)) == 200
        tail.close()

    def test_a_topic_tells_its_settings_and_is_made_once(self, make_log, wait):
        log = make_log()
        assert log.topic(f"nobody.made{uuid.uuid4().hex}.commands") is None
        topic = new_topic(log, self.host_role, partitions=3)
        info = wait(lambda: log.topic(topic))
        assert (info.name, info.partitions) == (topic, 3)
        assert info.topic_id
        for name, value in topic_settings(self.host_role).items():
            assert info.settings[name] == value
        log.create_topics([TopicSpec(topic, 5, 1, topic_settings(self.host_role))])
        again = log.topic(topic)
        assert again == info
        assert topic in log.topic_names()
        assert log.cluster_id
        assert log.broker_count() >= 1

    def test_a_bell_rings_for_reports_and_for_records(self, make_log, wait):
        log = make_log()
        topic = new_topic(log)
        rung: list[str] = []
        tail = log.tail(on_ready=lambda: rung.append("tail"), committed=False)
        tail.assign(topic, 0, 0)
        rung.clear()
        appender = log.appender(on_ready=lambda: rung.append("appender"))
        appender.append(topic, 0, b"x")
        assert wait(lambda: {"tail", "appender"} <= set(rung))
        appender.close()
        tail.close()


class ReadingContract(Contract):
    """What a reader of hand-assigned partitions may rely on."""

    def test_a_tail_reads_from_any_offset_and_goes_on_with_what_comes(self, make_log, wait):
        log = make_log()
        topic = new_topic(log)
        self.write(log, wait, topic, 0, [b"%d" % n for n in range(20)])
        tail = log.tail(on_ready=no_bell, committed=True)
        tail.assign(topic, 0, 15)
        got = collect(tail, wait, topic, 0, 5)
        assert [record.offset for record in got] == [15, 16, 17, 18, 19]
        self.write(log, wait, topic, 0, [b"new"])
        got = collect(tail, wait, topic, 0, 1)
        assert [(record.offset, record.value) for record in got] == [(20, b"new")]
        tail.close()

    def test_assigning_again_moves_and_unassigning_stops(self, make_log, wait):
        log = make_log()
        topic = new_topic(log)
        self.write(log, wait, topic, 0, [b"%d" % n for n in range(10)])
        self.write(log, wait, topic, 1, [b"other"])
        tail = log.tail(on_ready=no_bell, committed=True)
        tail.assign(topic, 0, 0)
        tail.assign(topic, 1, 0)
        assert len(collect(tail, wait, topic, 0, 10)) == 10
        tail.assign(topic, 0, 7)
        assert [record.offset for record in collect(tail, wait, topic, 0, 3)] == [7, 8, 9]
        tail.unassign(topic, 0)
        self.write(log, wait, topic, 0, [b"unseen"])
        assert [record.value for record in collect(tail, wait, topic, 1, 1)] == [b"other"]
        assert tail.take(topic, 0, 100) == []
        tail.close()

    def test_take_gives_no_more_than_asked_and_loses_nothing(self, make_log, wait):
        log = make_log()
        topic = new_topic(log)
        self.write(log, wait, topic, 0, [b"%d" % n for n in range(300)])
        tail = log.tail(on_ready=no_bell, committed=True)
        tail.assign(topic, 0, 0)
        got: list[StoredRecord] = []

        def all_of_them() -> bool:
            some = tail.take(topic, 0, 7)
            assert len(some) <= 7
            got.extend(some)
            return len(got) >= 300

        wait(all_of_them)
        assert [record.offset for record in got] == list(range(300))
        tail.close()

    def test_a_probe_tells_the_end_at_or_after_it_was_asked(self, make_log, wait):
        log = make_log()
        topic = new_topic(log)
        tail = log.tail(on_ready=no_bell, committed=False)
        tail.assign(topic, 0, 0)
        probe = tail.probe_end(topic, 0)
        assert wait(lambda: probe.end() is not None)
        assert probe.end() == 0
        self.write(log, wait, topic, 0, [b"a", b"b", b"c"])
        later = tail.probe_end(topic, 0)
        assert wait(lambda: later.end() is not None)
        assert later.end() == 3
        tail.close()

    def test_a_position_is_behind_what_was_taken_and_never_before_what_was_not(
        self, make_log, wait
    ):
        log = make_log()
        topic = new_topic(log)
        tail = log.tail(on_ready=no_bell, committed=True)
        assert tail.position(topic, 0) == -1
        self.write(log, wait, topic, 0, [b"%d" % n for n in range(10)])
        tail.assign(topic, 0, 4)
        assert tail.position(topic, 0) == 4
        seen: list[int] = []

        def all_of_them() -> bool:
            assert tail.position(topic, 0) == 4 + len(seen)
            seen.extend(record.offset for record in tail.take(topic, 0, 1))
            return len(seen) == 6

        assert wait(all_of_them)
        assert tail.position(topic, 0) == 10
        tail.assign(topic, 0, 7)
        assert tail.position(topic, 0) == 7
        assert len(collect(tail, wait, topic, 0, 3)) == 3
        assert tail.position(topic, 0) == 10
        tail.unassign(topic, 0)
        assert tail.position(topic, 0) == -1
        tail.close()

    def test_deleted_records_are_lost_to_readers_below_and_not_above(self, make_log, wait):
        log = make_log()
        topic = new_topic(log, self.host_role)
        self.write(log, wait, topic, 0, [b"%d" % n for n in range(10)])
        self.cut(log, topic, 0, 6)
        tail = log.tail(on_ready=no_bell, committed=False)
        tail.assign(topic, 0, 6)
        assert [record.offset for record in collect(tail, wait, topic, 0, 4)] == [6, 7, 8, 9]
        tail.assign(topic, 0, 5)
        assert wait(lambda: self._is_lost(tail, topic)), "reading below the log's start"
        tail.close()

    def test_a_position_past_the_end_is_lost(self, make_log, wait):
        log = make_log()
        topic = new_topic(log)
        self.write(log, wait, topic, 0, [b"only"])
        tail = log.tail(on_ready=no_bell, committed=False)
        tail.assign(topic, 0, 1000)
        assert wait(lambda: self._is_lost(tail, topic))
        tail.close()

    def test_two_readers_do_not_disturb_each_other(self, make_log, wait):
        log, other = make_log(), make_log()
        topic = new_topic(log)
        self.write(log, wait, topic, 0, [b"%d" % n for n in range(30)])
        tails = [one.tail(on_ready=no_bell, committed=True) for one in (log, other)]
        for tail in tails:
            tail.assign(topic, 0, 0)
        for tail in tails:
            assert len(collect(tail, wait, topic, 0, 30)) == 30
            tail.close()

    @staticmethod
    def _is_lost(tail: Tail, topic: str) -> bool:
        try:
            tail.take(topic, 0, 100)
        except PositionLostError:
            return True
        return False


class GroupContract(Contract):
    """What members of a consumer group may rely on."""

    def test_shares_are_even_and_a_leaver_hands_over(self, make_log, wait):
        log, other = make_log(), make_log()
        topic, group = new_topic(log, "commands"), uuid.uuid4().hex
        first = Holder(log.member(group, topic, on_ready=no_bell))
        settle(wait, [first], [4])
        second = Holder(other.member(group, topic, on_ready=no_bell))
        settle(wait, [first, second], [2, 2])
        assert not first.held & second.held
        # What did not have to move was not taken away in between.
        assert first.kinds.count("assigned") == 4
        first.member.close()
        settle(wait, [second], [4])
        second.member.close()

    def test_a_new_group_reads_from_the_earliest_and_a_known_one_goes_on(self, make_log, wait):
        log = make_log()
        topic, group = new_topic(log, "tasks", partitions=2), uuid.uuid4().hex
        self.write(log, wait, topic, 0, [b"%d" % n for n in range(10)])
        self.write(log, wait, topic, 1, [b"other"])
        reader = log.group_reader(group, topic, on_ready=no_bell)
        holder = Holder(reader)
        settle(wait, [holder], [2])
        assert reader.redelivery_end(0) == 10
        got = collect_group(reader, wait, 11)
        assert [r.offset for r in got if r.partition == 0] == list(range(10))
        reader.commit(0, 4)
        reader.commit(1, 1)
        reader.close()
        again = log.group_reader(group, topic, on_ready=no_bell)
        holder = Holder(again)
        settle(wait, [holder], [2])
        got = collect_group(again, wait, 6)
        assert [(r.partition, r.offset) for r in got] == [(0, n) for n in range(4, 10)]
        assert again.redelivery_end(0) == 10
        self.write(log, wait, topic, 0, [b"new"])
        (new,) = collect_group(again, wait, 1)
        assert new.offset == 10 >= again.redelivery_end(0)
        again.close()

    def test_a_paused_partition_gives_nothing_until_it_is_resumed(self, make_log, wait):
        log = make_log()
        topic, group = new_topic(log, "tasks", partitions=2), uuid.uuid4().hex
        reader = log.group_reader(group, topic, on_ready=no_bell)
        settle(wait, [Holder(reader)], [2])
        reader.pause(0)
        self.write(log, wait, topic, 0, [b"a", b"b"])
        self.write(log, wait, topic, 1, [b"c"])
        assert [record.value for record in collect_group(reader, wait, 1)] == [b"c"]
        assert reader.take(100) == []
        reader.resume(0)
        assert [record.value for record in collect_group(reader, wait, 2)] == [b"a", b"b"]
        reader.close()

    def test_every_record_goes_to_one_member_and_none_is_lost_in_a_handover(self, make_log, wait):
        log, other = make_log(), make_log()
        topic, group = new_topic(log, "tasks"), uuid.uuid4().hex
        for partition in range(4):
            self.write(log, wait, topic, partition, [b"%d" % partition] * 5)
        readers = [log.group_reader(group, topic, on_ready=no_bell)]
        holders = [Holder(readers[0])]
        settle(wait, holders, [4])
        got = collect_group(readers[0], wait, 20)
        for partition in range(4):
            readers[0].commit(partition, 5)
        readers.append(other.group_reader(group, topic, on_ready=no_bell))
        holders.append(Holder(readers[1]))
        settle(wait, holders, [2, 2])
        for partition in range(4):
            self.write(log, wait, topic, partition, [b"late"])

        def all_late() -> bool:
            for reader, holder in zip(readers, holders, strict=True):
                holder.look()
                got.extend(reader.take(100))
            return len(got) >= 24

        assert wait(all_late)
        assert len({(r.partition, r.offset) for r in got}) == len(got) == 24
        for reader in readers:
            reader.close()

    def test_a_member_that_does_not_let_go_holds_nobody_up(self, make_log, wait):
        log, other = make_log(), make_log()
        topic, group = new_topic(log, "commands"), uuid.uuid4().hex
        stubborn = log.member(group, topic, on_ready=no_bell)
        # Its changes must be taken, or a client-driven group protocol cannot go on.
        assert wait(lambda: [change.kind for change in stubborn.changes()] == ["assigned"] * 4)
        second = Holder(other.member(group, topic, on_ready=no_bell))

        def both() -> bool:
            with suppress(Exception):
                stubborn.changes()
            return len(second.look()) == 2

        assert wait(both)
        second.member.close()
        stubborn.close()
