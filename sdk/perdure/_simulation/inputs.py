"""The input of simulated runs: the same for all, or drawn from Hypothesis strategies."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

POOL: Final = 200
SHRINK_TRIES: Final = 500
"""Runs that are spent on a simpler input."""


class Inputs:
    """Arguments by seed."""

    def __init__(self, args: Sequence[Any]) -> None:
        self._args = tuple(args)
        self._pool: list[tuple[Any, ...]] = []
        self._strategy = _strategy_of(self._args)

    def of(self, seed: int) -> tuple[Any, ...]:
        """The arguments of a seed's run: always the same ones."""
        if self._strategy is None:
            return self._args
        if not self._pool:
            self._pool = _draw(self._strategy)
        return self._pool[seed % len(self._pool)]

    def shrunk(
        self, args: tuple[Any, ...], breaks: Callable[[Sequence[Any]], bool]
    ) -> tuple[Any, ...]:
        """The simplest arguments that Hypothesis finds to break it, else those given."""
        if self._strategy is None:
            return args
        from hypothesis import HealthCheck, Phase, find, settings
        from hypothesis.errors import NoSuchExample

        known: dict[str, bool] = {}

        def does(values: Sequence[Any]) -> bool:
            """Hypothesis bounds what it draws, and not what it makes simpler of that."""
            key = repr(values)
            if key not in known:
                known[key] = len(known) < SHRINK_TRIES and breaks(values)
            return known[key]

        chosen = settings(
            max_examples=SHRINK_TRIES,
            database=None,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        try:
            found: tuple[Any, ...] = find(self._strategy, does, settings=chosen)
        except NoSuchExample:
            return args
        return found


def _strategy_of(args: tuple[Any, ...]) -> Any:
    """A strategy of all arguments; None where no argument is one."""
    if "hypothesis" not in sys.modules:
        return None
    from hypothesis import strategies

    if not any(isinstance(one, strategies.SearchStrategy) for one in args):
        return None
    return strategies.tuples(
        *(
            one if isinstance(one, strategies.SearchStrategy) else strategies.just(one)
            for one in args
        )
    )


def _draw(strategy: Any) -> list[tuple[Any, ...]]:
    from hypothesis import HealthCheck, Phase, given, settings

    drawn: list[tuple[Any, ...]] = []

    @settings(
        max_examples=POOL,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(values: tuple[Any, ...]) -> None:
        drawn.append(values)

    collect()
    return drawn
