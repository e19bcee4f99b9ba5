"""Limits on concurrency and rate of a worker, checked."""

from __future__ import annotations

import logging
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from perdure_actors.core.decision import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

SLOTS_DEFAULT: Final = 100
HISTORY_EVENTS_LEAST: Final = 1_000
HISTORY_BYTES_LEAST: Final = 1024 * 1024

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


def history_limits(config: Mapping[str, Any], limits: Limits | None) -> Limits:
    """The limits of hosts with what a worker's options say of histories.

    Raises ValueError for limits so low that ordinary runs would be ended.
    """
    limits = limits or Limits()
    events = config.get("max_history_events", limits.history_events_max)
    size = config.get("max_history_bytes", limits.history_bytes_max)
    if events < HISTORY_EVENTS_LEAST:
        raise ValueError(f"max_history_events is {events}: give at least {HISTORY_EVENTS_LEAST}")
    if size < HISTORY_BYTES_LEAST:
        raise ValueError(f"max_history_bytes is {size}: give at least {HISTORY_BYTES_LEAST}")
    return limits._replace(history_events_max=events, history_bytes_max=size)
