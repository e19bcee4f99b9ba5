"""What lists and counts need of a partition: its table, its time, and what was listed lately."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perdure_actors.visibility.row_cache import Listed
    from perdure_topics.ports import Table


class Timed(Protocol):
    """Whoever knows what time it is."""

    def now_ms(self) -> int:
        """Recorded time, in ms."""


class Indexed(Protocol):
    """A partition whose runs have index rows."""

    task_queue: str
    partition: int
    table: Table
    listed: Listed

    @property
    def world(self) -> Timed:
        """Its time."""

    def unserved(self, task_queue: str) -> str:
        """Why nobody takes tasks there: no_worker, no_queue, or empty where somebody does."""
