"""What a transition costs a host, by stage: python -m benchmarks.steps [--orders N] [--rounds N].

One process without a broker: a real host on a log in memory, and the worker's side of eager
activities beside it. Times are processor time of the one thread, each stage without the stages
within it; what is left over is the loop between them. Say figures of two trees as ratios of runs in
turns: the machine's own speed changes by more than what is looked for.
"""

from __future__ import annotations

import argparse
import gc
import logging
import statistics
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest.mock import patch

from benchmarks.app import OrderWorkflow
from benchmarks.peers.load import order
from perdure.cli import COLLECTOR
from perdure_actors.partition import inbox, transition
from perdure_actors.partition.eager_tasks import EagerTasks
from perdure_actors.partition.executor import Executor
from perdure_actors.partition.journal import Journal
from perdure_actors.partition.outbox import Outbox
from perdure_actors.partition.processor import PartitionProcessor
from perdure_actors.partition.run_cache import RunCache
from perdure_actors.partition.schema_framing import Framing
from perdure_actors.worker.attempt import Attempt
from perdure_actors.worker.eager_intake import EagerIntake
from perdure_schemas.commands import CompleteActivity
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_schemas.payloads import Payload
from perdure_topics.simulated.clients import SimulatedAppender
from perdure_topics.tables.memory_tables import MemoryTable
from tests.unit.host_world import HostWorld

ACTIVITIES: Final = ("charge_payment", "deduct_inventory", "send_notification")
IN_FLIGHT: Final = 50
BUDGET_US: Final = 150
"""What a transition is to cost, with its share of the activity."""
STAGES: Final[tuple[tuple[str, Any, str], ...]] = (
    ("decode", Framing, "decode"),
    ("decide", inbox.Inbox, "_decide"),
    ("decide", EagerTasks, "_decide"),
    ("run code", Executor, "feed"),
    ("rows", RunCache, "save"),
    ("encode", transition, "write"),
    ("encode", transition, "encode"),
    ("record", Journal, "append"),
    ("append", SimulatedAppender, "append"),
    ("accept", Journal, "accept"),
    ("write", MemoryTable, "write"),
    ("act", PartitionProcessor, "_act"),
    ("tasks", Outbox, "send"),
)


class Stages:
    """Processor time by stage, each without those within it."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._inner_s: list[float] = [0.0]

    def timed(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **more: Any) -> Any:
            self._inner_s.append(0.0)
            began_s = time.thread_time()
            try:
                return act(*args, **more)
            finally:
                took_s = time.thread_time() - began_s
                self.spent[name] += took_s - self._inner_s.pop()  # type: ignore[assignment]
                self.calls[name] += 1
                self._inner_s[-1] += took_s

        return timed

    @contextmanager
    def watching(self) -> Iterator[None]:
        with ExitStack() as stack:
            for name, place, method in STAGES:
                act = getattr(place, method)
                stack.enter_context(patch.object(place, method, self.timed(name, act)))
            yield


class Orders:
    """A host, and whoever starts orders and runs their activities."""

    def __init__(self) -> None:
        self.intake = EagerIntake(ACTIVITIES)
        self.world = HostWorld([OrderWorkflow], eager=self.intake)
        self.intake.publish(1 << 30)
        self.world.run()
        self.host_s = 0.0
        self._converter = DefaultPayloadConverter()
        self._begun = 0

    def run(self, count: int) -> None:
        """Run so many orders to their end, some at once."""
        over = self.closed + count
        left = count
        while self.closed < over:
            for _ in range(min(left, IN_FLIGHT)):
                left -= 1
                self._begun += 1
                told = self._converter.to_payloads([order(self._begun)])
                self.world.start("OrderWorkflow", f"order-{self._begun}", input=told)
            self._turn_until(over - left)

    def _turn_until(self, closed: int) -> None:
        while self.closed < closed:
            self.world.broker.run_until(self.world.broker.now_ms + 5)
            began_s = time.thread_time()
            self.world.host.step()
            self.host_s += time.thread_time() - began_s
            for offer in self.intake.take():
                self._end(offer)

    def _end(self, offer: Any) -> None:
        task = offer.task
        attempt = Attempt(task, taken_ms=0, mailbox=offer.mailbox)
        outcome = CompleteActivity(
            workflow_id=task.workflow_id,
            run_id=task.run_id,
            activity_id=task.activity_id,
            attempt=task.attempt,
            token=task.token,
            result=Payload(data=b'{"ok":1}'),
        )
        assert self.intake.post(attempt, outcome, len(b'{"ok":1}')), "the mailbox is full"

    @property
    def closed(self) -> int:
        """How many transitions closed a run; four transitions make an order."""
        return self.transitions // 4

    @property
    def transitions(self) -> int:
        """How many records with a run are accepted."""
        return self.world.host.counts()["activations"]


def main(argv: list[str] | None = None) -> int:
    """Print the budget of a transition."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.add_argument("--orders", type=int, default=500, help="in a round (default 500)")
    parser.add_argument("--rounds", type=int, default=5, help="the median counts (default 5)")
    options = parser.parse_args(argv)
    logging.disable(logging.CRITICAL)
    orders = Orders()
    orders.run(100)
    whole = [plain_round(orders, options.orders) for _ in range(options.rounds)]
    stages = Stages()
    before, began_s = orders.transitions, orders.host_s
    with stages.watching():
        orders.run(options.orders)
    count = orders.transitions - before
    print_budget(stages, count, orders.host_s - began_s, statistics.median(whole))
    ours, pythons = collector_us(orders, options.orders)
    print(
        f"collecting garbage as `perdure worker` does {ours:.1f} µs, as Python does {pythons:.1f}"
    )
    kept = blocks_kept(orders, options.orders)
    print(f"memory blocks that stay, a transition: {kept:.1f} (the log in memory keeps them)")
    return 0


def plain_round(orders: Orders, count: int) -> float:
    """The host's µs a transition, nothing watched."""
    before, began_s = orders.transitions, orders.host_s
    orders.run(count)
    return (orders.host_s - began_s) / (orders.transitions - before) * 1e6


def collector_us(orders: Orders, count: int) -> tuple[float, float]:
    """What the collector costs a transition as a worker sets it, and as Python does, in turns."""
    pythons = gc.get_threshold()
    began_s, spent_s = 0.0, Counter[bool]()
    is_ours = False

    def watch(phase: str, _: dict[str, int]) -> None:
        nonlocal began_s
        if phase == "start":
            began_s = time.thread_time()
        else:
            spent_s[is_ours] += time.thread_time() - began_s  # type: ignore[assignment]

    transitions = Counter[bool]()
    gc.callbacks.append(watch)
    try:
        for is_ours in (True, False) * 3:
            if is_ours:
                gc.freeze()
            else:
                gc.unfreeze()
            gc.set_threshold(*(COLLECTOR if is_ours else pythons))
            before = orders.transitions
            orders.run(count)
            transitions[is_ours] += orders.transitions - before
    finally:
        gc.callbacks.remove(watch)
        gc.unfreeze()
        gc.set_threshold(*pythons)
    return (
        spent_s[True] / transitions[True] * 1e6,
        spent_s[False] / transitions[False] * 1e6,
    )


def blocks_kept(orders: Orders, count: int) -> float:
    """How many blocks of memory are there after a round that were not before, a transition."""
    gc.collect()
    before, blocks = orders.transitions, sys.getallocatedblocks()
    orders.run(count)
    gc.collect()
    return (sys.getallocatedblocks() - blocks) / (orders.transitions - before)


def print_budget(stages: Stages, count: int, host_s: float, whole_us: float) -> None:
    """The table, in shares of what was watched: watching has its price."""
    flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
    built = "PGO" if "--enable-optimizations" in flags else "no PGO"
    print(f"Python {sys.version.split()[0]} ({built}), {count} transitions watched")
    print(f"{'stage':10} {'share':>6} {'µs':>7} {'calls':>6}")
    rest_s = host_s
    for name in dict.fromkeys(name for name, _, _ in STAGES):
        spent_s = stages.spent[name]
        rest_s -= spent_s
        share = spent_s / host_s
        calls = stages.calls[name] / count
        print(f"{name:10} {share:6.1%} {share * whole_us:7.1f} {calls:6.2f}")
    print(f"{'the rest':10} {rest_s / host_s:6.1%} {rest_s / host_s * whole_us:7.1f}")
    print(f"{'a host':10} {1:6.0%} {whole_us:7.1f}        budget {BUDGET_US}")


if __name__ == "__main__":
    sys.exit(main())
