"""The second look at the log: what stands there must be what its owner wrote, record for record."""

from __future__ import annotations

import pytest

from perdure_actors import table_layout
from perdure_actors.partition.recovery import TableDivergedError
from perdure_actors.partition.scrubber import Scrubber
from perdure_schemas.avro import encode
from perdure_topics.fold import Cursor
from perdure_topics.names import topic_name, topic_settings
from perdure_topics.ports import TopicSpec
from perdure_topics.simulated.simulated_log import FaultPlan, SimulatedBroker, SimulatedLog
from tests.unit.test_fold import bump, fold_all, record

TOPIC = topic_name("events", "sim", "q")
WRITTEN = (bump(1), record(1, -1, 3), record(2, 3, 5))
OTHERS = {
    "a record that counts differently": record(2, 3, 9),
    "a record that does not count": record(7, 3, 5),
    "another owner's bump": bump(2, b"b"),
}
"""What stands where the last record was written, after the log has lost that."""


class Owner:
    """An owner that wrote three records, and looks at the log again."""

    def __init__(self) -> None:
        self.broker = SimulatedBroker(1, FaultPlan())
        log = SimulatedLog(self.broker, "host")
        log.create_topics([TopicSpec(TOPIC, 1, 1, topic_settings("events"))])
        for envelope in WRITTEN:
            self.broker.write(TOPIC, 0, encode(envelope))
        tail = log.tail(on_ready=lambda: None, committed=False)
        self.trailing = Scrubber(tail, TOPIC, 0, table_layout.Verified())

    def look(self) -> table_layout.Verified:
        """Turn until the second look has come to what was written."""
        for turn in range(200):
            verified = self.trailing.step(len(WRITTEN) - 1, fold_all(*WRITTEN), turn * 1_000)
            if verified is not None:
                return verified
            self.broker.run_until(self.broker.now_ms + 100)
        raise AssertionError("the second look comes to no end")


def test_a_log_that_says_what_was_written_is_verified() -> None:
    verified = Owner().look()

    assert verified.next_offset == len(WRITTEN)
    assert verified.cursor == fold_all(*WRITTEN)
    assert verified.cursor != Cursor()


@pytest.mark.parametrize("other", OTHERS)
def test_a_log_that_says_something_else_at_the_same_offset_is_found(other: str) -> None:
    owner = Owner()
    owner.broker.truncate(TOPIC, 0, 1)
    owner.broker.write(TOPIC, 0, encode(OTHERS[other]))

    with pytest.raises(TableDivergedError, match="does not hold at offset 2"):
        owner.look()
