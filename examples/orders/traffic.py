"""Orders that flow, one a second, on the broker or engine of the environment: until it is ended."""

from __future__ import annotations

import asyncio
import os

from examples.orders.app import dev
from perdure.client import Client


async def main() -> None:
    target = os.environ.get("PERDURE_ENGINE") or os.environ.get("PERDURE_BROKER", "localhost:9092")
    await dev(await Client.connect(target))


if __name__ == "__main__":
    asyncio.run(main())
