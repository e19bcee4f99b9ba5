"""Limits on concurrency and rate of a worker, checked."""

from __future__ import annotations

import logging
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Final

SLOTS_DEFAULT: Final = 100

logger = logging.getLogger("perdure.worker")


def slots_of(executor: Executor | None, given: int | None) -> int:
    """How many activities run at once; fewer threads than that are warned of.

    Raises ValueError for a number below 1.
    """
    slots = SLOTS_DEFAULT if given is None else given
    if slots < 1:
        raise ValueError(f"max_concurrent_activities is {slots}: give at least 1")
    threads = executor._max_workers if isinstance(executor, ThreadPoolExecutor) else slots
    if threads < slots:
        logger.warning(
            "activity_executor has %d threads for max_concurrent_activities=%d: plain activities"
            " beyond its threads wait while their start-to-close timeouts run",
            threads,
            slots,
        )
    return slots


def local_slots_of(given: int | None) -> int:
    """How many local activities run at once. Raises ValueError for a number below 1."""
    if given is not None and given < 1:
        raise ValueError(f"max_concurrent_local_activities is {given}: give at least 1")
    return given or SLOTS_DEFAULT


def rates_of(worker: float | None, queue: float | None) -> dict[str, Any]:
    """How many activities begin in a second, by the settings' names.

    Raises ValueError for a number that is not above 0.
    """
    rates = {
        "max_activities_per_second": worker,
        "max_task_queue_activities_per_second": queue,
    }
    for name, rate in rates.items():
        if rate is not None and not rate > 0:
            raise ValueError(f"{name} is {rate}: give a number above 0, or none for no limit")
    return rates
