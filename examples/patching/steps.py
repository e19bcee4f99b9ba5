"""What all three versions of the workflow call."""

from __future__ import annotations

from datetime import timedelta

from perdure import activity

MINUTE = timedelta(minutes=1)


@activity.defn
async def weigh(order: str) -> int:
    """Weigh an order, in grams."""
    return 100 * len(order)


@activity.defn
async def pack(order: str) -> None:
    """Pack an order."""
    activity.logger.info("packing %s", order)


@activity.defn
async def ship(order: str) -> str:
    """Give an order to the carrier."""
    return f"track-{order}"
