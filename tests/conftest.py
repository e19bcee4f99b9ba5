"""What holds for every test: no silent skip, seeds that are printed and may be chosen.

PERDURE_NO_SKIP=1 makes a skip a failure. SEEDS=3,17 runs tests that take `seed` with just these.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Generator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

NO_SKIP: Final = os.environ.get("PERDURE_NO_SKIP") == "1"
LOTTERY: Final = "PERDURE_TEST_LOTTERY"
"""What the fresh seeds of this run are drawn from."""
# Two cores shared with brokers: an example's wall time says nothing here.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault(LOTTERY, str(random.SystemRandom().randrange(10**9)))
    config.addinivalue_line(
        "markers", "seeds(fixed, fresh=0): how many seeds a test that takes `seed` gets"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that takes `seed` its seeds: SEEDS, or the fixed ones and some fresh ones."""
    if "seed" not in metafunc.fixturenames:
        return
    chosen = os.environ.get("SEEDS", "").strip()
    if chosen:
        seeds = [int(seed) for seed in chosen.split(",")]
    else:
        marker = metafunc.definition.get_closest_marker("seeds")
        fixed = marker.args[0] if marker else 5
        fresh = marker.kwargs.get("fresh", 0) if marker else 0
        # The same in every process that collects: pytest-xdist asks for that.
        lottery = random.Random(f"{os.environ[LOTTERY]} {metafunc.definition.nodeid}")
        seeds = [*range(fixed), *(lottery.randrange(10**6, 10**9) for _ in range(fresh))]
    metafunc.parametrize("seed", seeds, ids=[f"seed={seed}" for seed in seeds])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares a fixture: a file's tests, and all that look into a browser.

    With `--dist loadgroup`, two processes then do not start the same servers twice.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            is_browser = item.get_closest_marker("browser") is not None
            item.add_marker(pytest.mark.xdist_group("browser" if is_browser else str(item.path)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, pytest.TestReport]:
    """Turn a skip into a failure where nothing may be skipped."""
    report: pytest.TestReport = yield
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"PERDURE_NO_SKIP=1, but: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, Any, pytest.CollectReport]:
    """The same for a module that skips itself while it is collected."""
    report: pytest.CollectReport = yield
    if NO_SKIP and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"PERDURE_NO_SKIP=1, but: {_reason(report)}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what did not run and why, and how a failed seed is run again."""
    skipped = terminalreporter.getreports("skipped")
    if skipped:
        terminalreporter.section("not run here, and why")
        for reason, count in Counter(_reason(report) for report in skipped).most_common():
            terminalreporter.line(f"{count} x {reason}")
    failed = [report.nodeid for report in terminalreporter.getreports("failed")]
    seeded = sorted({node for node in failed if "[" in node and "seed=" in node})
    if seeded:
        terminalreporter.section("failed seeds")
        for node in seeded:
            seed = node.rpartition("seed=")[2].split("]")[0].split("-")[0]
            terminalreporter.line(f"SEEDS={seed} pytest '{node.partition('[')[0]}'")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    # A skip's report is (path, line, reason); whatever else it is reads as it stands.
    found = report.longrepr
    return str(found[2] if isinstance(found, tuple) else found).removeprefix("Skipped: ")
