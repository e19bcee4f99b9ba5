"""Lists look up the task queues of a namespace once a second, and miss none that was used."""

from __future__ import annotations

import pytest

from perdure.client import _task_queues as queue_names
from perdure.client._task_queues import QueueNames
from perdure_topics.names import topic_name
from tests.unit.memory_log import MemoryLog


async def test_names_are_looked_up_once_a_while_and_used_ones_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = MemoryLog()
    names = QueueNames(log, "ns")

    def make(queue: str) -> None:
        log.topics[topic_name("commands", "ns", queue)] = [[]]

    monkeypatch.setattr(queue_names, "LATELY_S", 600.0)
    make("first")
    assert await names.lately(()) == ["first"]
    make("other")
    assert await names.lately(()) == ["first"]
    assert await names.lately(["mine"]) == ["first", "mine"]
    assert await names.now() == ["first", "other"]

    make("third")
    monkeypatch.setattr(queue_names, "LATELY_S", -1.0)
    assert await names.lately(()) == ["first", "other", "third"]
