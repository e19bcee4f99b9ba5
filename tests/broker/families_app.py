"""Parents on one task queue and children on another, each a pure function of its input."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from perdure import workflow
from tests.broker.orders_app import link

KIDS = "kids"


@dataclass
class Family:
    """What a parent lets its children do: some one after the other, then some at once."""

    name: str
    rounds: int = 4
    width: int = 3
    nap_ms: int = 100


def family_outcome(family: Family) -> str:
    """What a parent returns."""
    value = family.name
    for number in range(family.rounds):
        values = [link(f"{value}/{n}", number) for n in range(family.width)]
        value = link("".join(values), number)
    return value


@workflow.defn
class Parent:
    """Each round's children begin with what the last round's returned."""

    @workflow.run
    async def run(self, family: Family) -> str:
        value = family.name
        for number in range(family.rounds):
            values = await asyncio.gather(
                *[
                    workflow.execute_child_workflow(
                        "Kid",
                        args=[f"{value}/{n}", number, family.nap_ms],
                        id=f"{family.name}-{number}-{n}",
                        task_queue=KIDS,
                        result_type=str,
                    )
                    for n in range(family.width)
                ]
            )
            value = link("".join(values), number)
        return value


@workflow.defn
class Kid:
    """Sleeps a little, and returns a link of the chain."""

    @workflow.run
    async def run(self, value: str, number: int, nap_ms: int) -> str:
        await workflow.sleep(nap_ms / 1000)
        return link(value, number)
