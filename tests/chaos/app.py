"""What runs while things fail: each result a pure function of what was asked for."""

from __future__ import annotations

import asyncio

from perdure import workflow
from tests.broker.orders_app import Chain, forge, link
from tests.broker.talks_app import Counter, Ledger
from tests.chaos.wrong_clock import obey_files

__all__ = ["Chain", "Counter", "Kid", "Ledger", "Parent", "family_value", "forge"]

ROUNDS, WIDTH = 2, 3


def family_value(name: str) -> str:
    """What a parent returns."""
    value = name
    for number in range(ROUNDS):
        value = link("".join(link(f"{value}/{n}", number) for n in range(WIDTH)), number)
    return value


@workflow.defn
class Parent:
    """Each round's children begin with what the last round's returned."""

    @workflow.run
    async def run(self, name: str) -> str:
        value = name
        for number in range(ROUNDS):
            kids = [
                workflow.execute_child_workflow(
                    Kid.run, args=[f"{value}/{n}", number], id=f"{name}-{number}-{n}"
                )
                for n in range(WIDTH)
            ]
            value = link("".join(await asyncio.gather(*kids)), number)
        return value


@workflow.defn
class Kid:
    """Sleeps a little, and returns a link of the chain."""

    @workflow.run
    async def run(self, value: str, number: int) -> str:
        await workflow.sleep(0.1)
        return link(value, number)


obey_files()
