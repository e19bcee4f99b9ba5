"""The load on Restate, over its ingress, by a lean client."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from benchmarks.peers.http_client import LeanHttp
from benchmarks.peers.load import run_load


class _Restate:
    def __init__(self, host: str, port: int) -> None:
        self._http = LeanHttp(host, port)

    async def order(self, order_id: str, order: dict[str, Any]) -> None:
        await self._http.post(f"/OrderWorkflow/{order_id}/run", order)

    async def fan_out(self, run_id: str, count: int) -> None:
        await self._http.post(f"/FanOutWorkflow/{run_id}/run", count)

    async def sequence(self, run_id: str, count: int) -> None:
        await self._http.post(f"/SequenceWorkflow/{run_id}/run", count)


if __name__ == "__main__":
    asyncio.run(run_load(_Restate("127.0.0.1", int(sys.argv[1])), json.loads(sys.argv[2])))
