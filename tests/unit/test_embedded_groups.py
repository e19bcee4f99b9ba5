"""Members of the embedded log's groups: one whose owner stands still owns nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure_topics.embedded.embedded_log import EmbeddedLog
from perdure_topics.embedded.groups import Group
from perdure_topics.embedded.readers import EmbeddedMember
from tests.embedded_rig import COMMANDS, open_log
from tests.log_rig import no_bell

GROUP = "ns.q.hosts"


class Hosts:
    """Two hosts of one queue, on a clock that is turned by hand."""

    def __init__(self, log: EmbeddedLog) -> None:
        self.now_s = 1_000.0
        topic, store, committer = log._find(COMMANDS), log._store, log._committer
        self.group = group = Group(GROUP, topic, store, committer, clock=lambda: self.now_s)
        self.first = EmbeddedMember(group, on_ready=no_bell)
        self.second = EmbeddedMember(group, on_ready=no_bell)
        self.owned: dict[EmbeddedMember, set[int]] = {self.first: set(), self.second: set()}

    def pass_s(self, seconds: float, *turning: EmbeddedMember, step_s: float = 0.25) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += step_s
            for member in turning:
                for change in member.changes():
                    if change.kind == "assigned":
                        self.owned[member].add(change.partition)
                    else:
                        self.owned[member].discard(change.partition)
                        member.release(change.partition)
            self.group.expire()

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.owned[self.first]), len(self.owned[self.second])


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    log = open_log(tmp_path)
    made = Hosts(log)
    made.pass_s(3, made.first, made.second)
    assert made.counts == (1, 1)
    yield made
    log.close()


def test_a_host_that_stands_still_loses_its_partitions_and_gets_its_share_back(
    hosts: Hosts,
) -> None:
    hosts.pass_s(29, hosts.second)
    assert hosts.counts == (1, 1)

    hosts.pass_s(3, hosts.second)
    assert hosts.counts == (1, 2), "the first has not heard of it yet"

    hosts.pass_s(3, hosts.first, hosts.second)
    assert hosts.counts == (1, 1)
    assert not hosts.owned[hosts.first] & hosts.owned[hosts.second]


def test_where_no_other_turns_it_keeps_them(hosts: Hosts) -> None:
    hosts.pass_s(120)

    hosts.pass_s(1, hosts.first, hosts.second)
    assert hosts.counts == (1, 1)


def test_a_process_that_was_stopped_has_no_host_that_stands_still(hosts: Hosts) -> None:
    hosts.pass_s(20, hosts.second)
    hosts.pass_s(600, step_s=600)

    hosts.pass_s(1, hosts.first, hosts.second)
    assert hosts.counts == (1, 1)
