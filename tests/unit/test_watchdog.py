"""The watchdog: code that does not yield is interrupted, and never anything else."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
import timeit
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import workflow
from perdure_actors.definitions.last_resort import is_available
from perdure_actors.definitions.watchdog import Watchdog
from perdure_actors.replay.blocked import BlockedError
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

    # By processor time: others on the machine do not count.
    times = timeit.repeat(watched, number=2000, repeat=5, timer=time.thread_time)
    assert min(times) / 2000 < 10e-6


def ended(code: str) -> tuple[int, str]:
    """How a process of its own that runs some code ends, and what it says of it."""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr


STUCK = """
import ctypes, re, threading, time
from perdure_actors.definitions.last_resort import LastResort
resort = LastResort(threading.get_ident(), cpu_s={cpu_s}, wall_s={wall_s})
resort.renew()
resort.begin("order 100%s")
{code}
"""
HELD_BY_A_REGEX = 're.match("(a+)+$", "a" * 45 + "b")'
HELD_BY_A_WAIT = "ctypes.PyDLL(None).sleep(50)"


@pytest.mark.skipif(not is_available(), reason="the system has no timers that call functions")
@pytest.mark.timeout(90)
class TestLastResort:
    def test_code_that_holds_the_interpreter_ends_its_process(self) -> None:
        status, said = ended(STUCK.format(cpu_s=0.5, wall_s=50, code=HELD_BY_A_REGEX))

        assert status == 70
        assert "workflow 'order 100%s' is stuck" in said

    def test_code_that_waits_with_the_interpreter_ends_its_process(self) -> None:
        status, _ = ended(STUCK.format(cpu_s=50, wall_s=0.5, code=HELD_BY_A_WAIT))

        assert status == 70

    def test_the_first_block_of_all_may_hold_the_interpreter(self) -> None:
        code = f"""
import re
from perdure_actors.definitions import watchdog
watchdog.LIMIT_S, watchdog.HELD_LIMIT_S = 0.1, 0.5
dog = watchdog.Watchdog(limit_s=1.0, stuck_limit_s=0.4)
with dog.watching("order 1"):
    {HELD_BY_A_REGEX}
"""
        status, said = ended(code)

        assert status == 70
        assert "workflow 'order 1' is stuck" in said

    def test_whoever_renews_it_in_time_goes_on(self) -> None:
        code = """
until = time.thread_time() + 2
while time.thread_time() < until:
    resort.renew()
resort.end()
resort.close()
"""
        assert ended(STUCK.format(cpu_s=1, wall_s=50, code=code)) == (0, "")

    def test_a_watchdog_renews_it_and_takes_it_back(self) -> None:
        code = """
import time
from perdure_actors.definitions import watchdog
watchdog.LIMIT_S, watchdog.HELD_LIMIT_S = 0.1, 0.5
dog = watchdog.Watchdog(limit_s=1.0, stuck_limit_s=0.4)
until = time.thread_time() + 3
while time.thread_time() < until:
    with dog.watching("quick"):
        pass
dog.close()
"""
        assert ended(code) == (0, "")


def test_a_module_that_takes_its_time_is_imported(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "a_module_that_takes_its_time.py").write_text("import time; time.sleep(0.5)")
    monkeypatch.syspath_prepend(tmp_path)
    watchdog = Watchdog(limit_s=0.1, stuck_limit_s=5)
    try:
        with watchdog.watching("an import"):
            importlib.import_module("a_module_that_takes_its_time")
    finally:
        watchdog.close()


STOPPED = """
import os, signal, time
from perdure_actors.replay.blocked import BlockedError
from perdure_actors.definitions.watchdog import Watchdog

dog = Watchdog(limit_s=2.0, stuck_limit_s=0.1, on_stuck=lambda label: print("stuck"))
try:
    with dog.watching("a run"):
        os.kill(os.getpid(), signal.SIGSTOP)
        # It goes on until the watchdog has looked at it.
        goes_on_s = time.monotonic()
        while dog._looked_s < goes_on_s:
            time.sleep(0.01)
    print("fine")
except BlockedError as error:
    print(error)
dog.close()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="nothing can be stopped here")
def test_a_process_that_was_stopped_has_not_failed_to_yield() -> None:
    process = subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)

    # How long it is stopped is the fault itself.
    time.sleep(3.5)
    process.send_signal(signal.SIGCONT)

    said, _ = process.communicate(timeout=40)
    assert said == "fine\n"


PROFILED = """
import sys, time
from perdure_actors.definitions.watchdog import Watchdog
from perdure_actors.replay.blocked import BlockedError

def nothing(*_):
    pass

dog = Watchdog(limit_s=0.05)
try:
    with dog.watching("a run"):
        while True:
            time.sleep(0.001)
except BlockedError:
    dog.close()
sys.setprofile(nothing)
nothing()
sys.setprofile(None)
print("done")
"""


def test_a_program_can_be_profiled_after_an_interruption() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROFILED], capture_output=True, text=True, timeout=30, check=False
    )

    assert done.stdout == "done\n", done.stderr
