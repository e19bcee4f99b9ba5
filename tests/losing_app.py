"""Workflows on an embedded log whose disk loses power, and what their client was told of them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

from perdure import workflow
from perdure.client import Client
from perdure.worker import Worker
from perdure_topics.task_queue_topics import create_topics
from tests.losing_disk import power_fails


@workflow.defn
class Total:
    """The sum of what it was sent, once that is 9 or more."""

    def __init__(self) -> None:
        self.total = 0

    @workflow.run
    async def run(self, first: int) -> int:
        self.total = first
        await workflow.wait_condition(lambda: self.total >= 9)
        return self.total

    @workflow.update
    def add(self, number: int) -> int:
        self.total += number
        return self.total

    @workflow.query
    def so_far(self) -> int:
        return self.total


async def main(directory: str, seed: str) -> None:
    lottery = random.Random(seed)
    said: dict[str, int] = {}
    client = await Client.connect(f"file:{directory}")
    create_topics(client.log, "default", "q", partitions=2)

    wanted = lottery.randrange(1, 90)

    def tell(name: str, total: int) -> None:
        """An answer has come; the power fails at the last one that is wanted."""
        said[name] = total
        nonlocal wanted
        wanted -= 1
        if wanted == 0:
            power_fails()
            sys.stdout.write("".join(f"{name} {total}\n" for name, total in said.items()))
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    async def one(name: str) -> None:
        total = lottery.randrange(5)
        handle = await client.start_workflow(Total.run, total, id=name, task_queue="q")
        tell(name, total)
        while total < 9:
            total = await handle.execute_update(Total.add, lottery.randrange(1, 4))
            tell(name, total)
        assert await handle.result() == total

    async with Worker(client, task_queue="q", workflows=[Total]):
        await asyncio.gather(*(one(f"run-{n}") for n in range(30)))


async def totals(directory: Path, names: list[str]) -> dict[str, int]:
    """What a worker and a client find of these runs afterwards."""
    client = await Client.connect(f"file:{directory}")
    try:
        async with Worker(client, task_queue="q", workflows=[Total]):
            handles = {name: client.get_workflow_handle(name, task_queue="q") for name in names}
            return {name: await handle.query(Total.so_far) for name, handle in handles.items()}
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
