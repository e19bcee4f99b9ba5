"""The questions of a simulated world for the ends of partitions."""

from __future__ import annotations

from perdure_topics.ports import LogUnavailableError


class SimulatedEndProbe:
    """A question for the end of a partition."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.answer: tuple[int, int] | None = None
        self.is_unknown = False

    def end(self) -> int | None:
        """The offset after all that was appended, once answered; None until then."""
        span = self.span()
        return None if span is None else span[1]

    def span(self) -> tuple[int, int] | None:
        """The first offset that is there and the end, once answered; LogError when unknown."""
        if self.is_unknown:
            raise LogUnavailableError(f"end of {self.where}: nobody knows (simulated)")
        return self.answer
