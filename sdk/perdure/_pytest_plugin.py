"""The pytest plugin: the fixture `simulate`, and the options of simulations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from perdure._simulation.simulation import SimulationReport

MARK = "simulate"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --simulate-seeds and --simulate-seed."""
    group = parser.getgroup("perdure")
    group.addoption(
        "--simulate-seeds",
        type=int,
        default=None,
        help="Runs of each simulation, instead of its own.",
    )
    group.addoption(
        "--simulate-seed", type=int, default=None, help="Only this seed, as a story says."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line(
        "markers",
        f"{MARK}(seeds=200, faults=...): options of `simulate` in a test of a workflow.",
    )


@pytest.fixture
def simulate(request: pytest.FixtureRequest) -> Callable[..., SimulationReport]:
    """`perdure.testing.simulate`, with the options of the test's mark and of the command line.

    Example:
        @pytest.mark.simulate(seeds=200)
        def test_orders(simulate):
            simulate(OrderWorkflow, Order("o-1"), activities=shop, invariants=[one_charge])
    """
    from perdure.testing import simulate as run

    mark = request.node.get_closest_marker(MARK)
    options: dict[str, Any] = {} if mark is None else dict(mark.kwargs)
    if mark is not None and mark.args:
        raise pytest.UsageError(f"@pytest.mark.{MARK} takes names: seeds=200, faults=...")
    if (seeds := request.config.getoption("--simulate-seeds")) is not None:
        options["seeds"] = seeds
    if (seed := request.config.getoption("--simulate-seed")) is not None:
        options["seeds"] = [seed]
    options["again"] = f"pytest '{request.node.nodeid}' --simulate-seed {{seed}}"

    def simulated(workflow: Any, *args: Any, **given: Any) -> SimulationReport:
        return run(workflow, *args, **{**given, **options})

    return simulated
