"""A run that is told things, counts them by a child, and says what it heard: nothing twice."""

from __future__ import annotations

import asyncio

from perdure import workflow


@workflow.defn
class Ledger:
    """Signals and updates each name an entry; every tenth is handed to a child."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.counted: list[str] = []
        self.is_over = False

    @workflow.run
    async def run(self) -> dict[str, list[str]]:
        await workflow.wait_condition(lambda: self.is_over)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return {"entries": self.entries, "counted": self.counted}

    @workflow.signal
    async def note(self, entry: str) -> None:
        self.entries.append(entry)
        if len(self.entries) % 10 == 0:
            child = f"{workflow.info().workflow_id}-{len(self.entries)}"
            self.counted.append(
                await workflow.execute_child_workflow("Counter", entry, id=child, result_type=str)
            )

    @workflow.update
    async def book(self, entry: str) -> int:
        await asyncio.sleep(0.02)
        self.entries.append(entry)
        return len(self.entries)

    @workflow.query
    def heard(self) -> list[str]:
        return self.entries

    @workflow.signal
    def close(self) -> None:
        self.is_over = True


@workflow.defn
class Counter:
    @workflow.run
    async def run(self, entry: str) -> str:
        await workflow.sleep(0.05)
        return f"counted {entry}"
