"""Workflows that tell topics of their own what they do."""

from __future__ import annotations

import asyncio

from perdure import workflow


@workflow.defn
class Telling:
    """Emits numbered records, with a pause before each."""

    @workflow.run
    async def run(self, topic: str, count: int, pause_ms: int) -> int:
        """Tell how far it is, so many times."""
        name = workflow.info().workflow_id
        for number in range(count):
            workflow.emit(topic, name, {"number": number}, headers={"from": name})
            await asyncio.sleep(pause_ms / 1000)
        return count


@workflow.defn
class Sizing:
    """Emits numbered records of these sizes."""

    @workflow.run
    async def run(self, topic: str, sizes: list[int]) -> None:
        """Emit them all at once."""
        name = workflow.info().workflow_id
        for number, size in enumerate(sizes):
            value = {"number": number, "pad": "x" * size}
            workflow.emit(topic, name, value, headers={"from": name})
