"""Activities that are classes, for mypy only: pyright does not see through a class to its calls."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from perdure import workflow

MINUTE = timedelta(minutes=1)


class Stamp:
    async def __call__(self, paper: str) -> int:
        return len(paper)


async def right() -> None:
    assert_type(
        await workflow.execute_activity_class(Stamp, "x", start_to_close_timeout=MINUTE), int
    )


async def wrong() -> None:
    start = workflow.start_activity_class
    start(Stamp, 1, start_to_close_timeout=MINUTE)  # type: ignore[arg-type]
