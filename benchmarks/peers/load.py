"""The load: the same work for every engine, from a client process of its own.

It speaks with whoever measures by lines: {"begin": NAME}, an answer, then {"end": NAME, "figures"}
and an answer. Peers' environments import this, so it needs nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

Figures = dict[str, float]


class Target(Protocol):
    """An engine as its lean client sees it."""

    async def order(self, order_id: str, order: dict[str, Any]) -> None:
        """One order workflow, from its start to its result."""

    async def fan_out(self, run_id: str, count: int) -> None:
        """One workflow of so many activities at once."""

    async def sequence(self, run_id: str, count: int) -> None:
        """One workflow of so many activities one after another."""


def order(number: int) -> dict[str, Any]:
    """An order of about 200 bytes."""
    return {
        "order_id": f"order-{number:08d}",
        "user_id": f"user-{number % 1000:06d}",
        "product_id": f"product-{number % 100:04d}",
        "quantity": 1 + number % 5,
        "amount_cents": 1999,
        "note": "leave it at the door, ring twice and wait a moment, thank you",
    }


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of all lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def _orders(target: Target, tag: str, count: int, in_flight: int) -> tuple[float, Figures]:
    """So many orders with so many in flight: the seconds they took, and their figures."""
    gate = asyncio.Semaphore(in_flight)
    took: list[float] = []

    async def one(number: int) -> None:
        async with gate:
            began = time.perf_counter()
            await target.order(f"{tag}-{number}", order(number))
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(count)))
    wall_s = time.perf_counter() - began
    return wall_s, {
        "p50 ms": 1000 * percentile(took, 0.5),
        "p99 ms": 1000 * percentile(took, 0.99),
        "workflows/s": count / wall_s,
        "count": count,
    }


async def _measured(name: str, work: Callable[[], Awaitable[Figures]]) -> None:
    await _say({"begin": name})
    try:
        figures = await work()
    except Exception as error:
        await _say({"end": name, "figures": {}, "error": f"{type(error).__name__}: {error}"})
        return
    await _say({"end": name, "figures": figures})


async def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def _warm(target: Target, tag: str, plan: dict[str, Any]) -> Figures:
    return (await _orders(target, f"{tag}-warm", plan["warm"], 20))[1]


async def _fan_out(target: Target, tag: str, plan: dict[str, Any]) -> Figures:
    began = time.perf_counter()
    await target.fan_out(f"{tag}-fan", plan["fan_out"])
    return {"s": time.perf_counter() - began, "count": 1}


async def _sequence(target: Target, tag: str, plan: dict[str, Any]) -> Figures:
    began = time.perf_counter()
    await target.sequence(f"{tag}-seq", plan["sequence"])
    return {"ms a step": 1000 * (time.perf_counter() - began) / plan["sequence"], "count": 1}


async def _idle(plan: dict[str, Any]) -> Figures:
    await asyncio.sleep(plan["idle_s"])
    return {"seconds": plan["idle_s"], "count": 1}


async def run_load(target: Target, plan: dict[str, Any]) -> None:
    """All measures of a plan, in its order."""
    tag = f"t{time.time_ns()}"

    async def orders(name: str, count: int, in_flight: int) -> Figures:
        return (await _orders(target, f"{tag}-{name}", count, in_flight))[1]

    await _measured("first result", lambda: orders("first", 1, 1))
    await _measured("warm", lambda: _warm(target, tag, plan))
    for in_flight, count in plan["in_flight"]:
        name = f"{in_flight} in flight"

        async def burst(n: int = in_flight, c: int = count, name: str = name) -> Figures:
            return await orders(name.replace(" ", "-"), c, n)

        await _measured(name, burst)
    await _measured("fan-out", lambda: _fan_out(target, tag, plan))
    await _measured("sequence", lambda: _sequence(target, tag, plan))
    if plan["idle_s"]:
        await asyncio.sleep(2.0)
        await _measured("idle", lambda: _idle(plan))
