"""Runs whose log is cut while they are there, and where a log begins."""

from __future__ import annotations

from perdure import workflow
from perdure.client import Client
from perdure_topics.names import topic_name


@workflow.defn
class Quick:
    @workflow.run
    async def run(self, what: str) -> str:
        return what


@workflow.defn
class Waits:
    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: len(self.told) >= 2)
        return self.told

    @workflow.signal
    def tell(self, what: str) -> None:
        self.told.append(what)


async def heads(client: Client, task_queue: str) -> list[int]:
    """The first offset of each events partition."""
    topic = topic_name("events", client.namespace, task_queue)
    info = client.log.topic(topic)
    assert info is not None
    return [client.log.offsets(topic, number)[0] for number in range(info.partitions)]
