"""The load on Perdure, by its own client."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from benchmarks.app import FanOutWorkflow, OrderWorkflow, SequenceWorkflow
from benchmarks.peers.load import run_load
from perdure.client import Client


class _Perdure:
    def __init__(self, client: Client, queue: str) -> None:
        self._client = client
        self._queue = queue

    async def order(self, order_id: str, order: dict[str, Any]) -> None:
        run = self._client.execute_workflow
        await run(OrderWorkflow.run, order, id=order_id, task_queue=self._queue)

    async def fan_out(self, run_id: str, count: int) -> None:
        run = self._client.execute_workflow
        await run(FanOutWorkflow.run, args=[count, 0.0], id=run_id, task_queue=self._queue)

    async def sequence(self, run_id: str, count: int) -> None:
        run = self._client.execute_workflow
        await run(SequenceWorkflow.run, count, id=run_id, task_queue=self._queue)


async def _run(target: str, namespace: str, queue: str, plan: dict[str, Any]) -> None:
    client = await Client.connect(target, namespace=namespace)
    await run_load(_Perdure(client, queue), plan)
    await client.close()


if __name__ == "__main__":
    asyncio.run(_run(*sys.argv[1:4], json.loads(sys.argv[4])))
