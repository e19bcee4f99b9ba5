"""A program that writes to an embedded log until its disk loses power, and says what it knows.

Each line is a record that was acknowledged: topic, partition, value; or a topic that was made.
With a name of `PLANTS` it has a bug that acknowledges too early.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from perdure_topics.embedded import partition as embedded_partition
from perdure_topics.embedded import store
from perdure_topics.embedded.embedded_log import EmbeddedLog
from perdure_topics.names import topic_name, topic_settings
from perdure_topics.ports import TopicSpec
from tests.losing_disk import power_fails


def not_waiting(role: str) -> Callable[[], None]:
    def plant() -> None:
        made = embedded_partition.EmbeddedTopic.__init__

        def make(self: Any, name: str, row: Any) -> None:
            made(self, name, row)
            if name.endswith(role):
                self.synced = False

        embedded_partition.EmbeddedTopic.__init__ = make  # type: ignore[method-assign]

    return plant


def not_syncing() -> None:
    def sync(self: Any) -> None:
        self._opened().flush_wal(False)

    store.EmbeddedStore.sync = sync  # type: ignore[method-assign]


def topics_not_synced() -> None:
    def add_topics(self: Any, rows: Any) -> None:
        self.write((b"t" + name.encode(), store._encode(row)) for name, row in rows.items())

    store.EmbeddedStore.add_topics = add_topics  # type: ignore[method-assign]


PLANTS = {
    "commands acknowledged before their sync": not_waiting("commands"),
    "events acknowledged before their sync": not_waiting("events"),
    "a sync that does not reach the disk": not_syncing,
    "topics that are made before their sync": topics_not_synced,
}


def main(directory: str, seed: str, plant: str = "") -> None:
    if plant:
        PLANTS[plant]()
    lottery = random.Random(seed)
    log = EmbeddedLog.open(directory)
    said: list[str] = []
    made: list[str] = []
    wanted = lottery.choice((1, lottery.randrange(60)))

    def end() -> None:
        """The power fails, and what was known by then is said."""
        power_fails()
        known = [*(f"{name} -" for name in made), *said]
        sys.stdout.write("".join(f"{line}\n" for line in known))
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    def acknowledged() -> None:
        """On the log's own thread, so nothing can be synced between a report and the failure."""
        for report in appender.reports():
            assert report.offset is not None, report
            said.append(str(report.tag))
        if len(said) >= wanted:
            end()

    def make() -> None:
        queue = f"q{len(made) // 2}"
        names = [topic_name(role, "ns", queue) for role in ("events", "commands")]
        roles = zip(names, ("events", "commands"), strict=True)
        log.create_topics([TopicSpec(name, 2, 1, topic_settings(role)) for name, role in roles])
        made.extend(names)

    appender = log.appender(on_ready=acknowledged)
    make()
    sent = 0
    only = lottery.choice((None, 0, 1))
    if lottery.random() < 0.3:
        end()
    while True:
        if lottery.random() < 0.03:
            make()
        for _ in range(lottery.randrange(4)):
            name = lottery.choice(made) if only is None else made[only]
            partition, value = lottery.randrange(2), f"{sent}"
            appender.append(name, partition, value.encode(), tag=f"{name} {partition} {value}")
            sent += 1
        time.sleep(lottery.choice((0.0, 0.0005, 0.003)))


if __name__ == "__main__":
    main(*sys.argv[1:])
