"""The watchdog: code that does not yield is interrupted, and never anything else."""

from __future__ import annotations

import time
import timeit
from collections.abc import Iterator

import pytest

from perdure import workflow
from perdure_actors.replay.blocked import BlockedError
from perdure_actors.watchdog import Watchdog
from perdure_schemas.events import WorkflowStarted
from tests.unit.player import CONVERTER, FACTS, START_MS, coroutine

LIMIT_S = 0.1


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    watchdog = Watchdog(limit_s=LIMIT_S, stuck_limit_s=0.2)
    yield watchdog
    watchdog.close()


@workflow.defn
class Spinning:
    @workflow.run
    async def run(self, is_sly: bool) -> None:
        try:
            while True:
                pass
        except BaseException:
            if not is_sly:
                raise
        end = 0
        while True:
            end += 1


@pytest.mark.parametrize("is_sly", [False, True])
def test_code_that_never_yields_is_interrupted_and_named(watchdog: Watchdog, is_sly: bool) -> None:
    run = coroutine(Spinning)
    started = WorkflowStarted(workflow_type="Spinning", input=CONVERTER.to_payloads([is_sly]))

    with (
        pytest.raises(BlockedError, match="Spinning order-1 did not yield") as blocked,
        watchdog.watching(f"Spinning {FACTS.workflow_id}"),
    ):
        run.advance(started, seq=1, time_ms=START_MS)

    assert blocked.value.cause == "deadlock"
    assert "in Spinning.run" in blocked.value.stack_trace
    # Nothing is left pending for the host's own code.
    end = time.monotonic() + 3 * LIMIT_S
    while time.monotonic() < end:
        pass


def test_quick_code_is_left_alone(watchdog: Watchdog) -> None:
    for _ in range(1000):
        with watchdog.watching("quick"):
            pass


def test_code_stuck_in_c_is_reported_while_it_is_stuck() -> None:
    reported: list[tuple[str, float]] = []
    watchdog = Watchdog(
        limit_s=0.05,
        stuck_limit_s=0.1,
        on_stuck=lambda label: reported.append((label, time.monotonic())),
    )

    with pytest.raises(BlockedError), watchdog.watching("stuck run"):
        time.sleep(0.8)

    back = time.monotonic()
    watchdog.close()
    ((label, at),) = reported
    assert label == "stuck run"
    assert at < back


def test_no_limit_means_no_watch() -> None:
    watchdog = Watchdog(limit_s=0)
    with watchdog.watching("long"):
        time.sleep(0.05)
    assert watchdog._thread is None


def test_watching_costs_little(watchdog: Watchdog) -> None:
    def watched() -> None:
        with watchdog.watching("quick"):
            pass

    assert min(timeit.repeat(watched, number=2000, repeat=5)) / 2000 < 10e-6
