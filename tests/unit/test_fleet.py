"""A fleet of processes: started, started again when one dies, and stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perdure.cli.supervisor import command_of_one

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["worker", "app", "--processes", "4", "--verbose"],
        ["worker", "--processes=4", "app", "--verbose"],
        ["worker", "app", "--verbose"],
    ],
)
def test_a_process_of_the_fleet_starts_none_of_its_own(arguments: list[str]) -> None:
    assert command_of_one(arguments)[3:] == ["worker", "app", "--verbose"]


# A member says that it runs, and waits to be told to stop.
MEMBER = """
import os, pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
pathlib.Path(sys.argv[1], str(os.getpid())).touch()
signal.pause()
"""
FLEET = """
import sys
from perdure.cli.supervisor import run_fleet
sys.exit(run_fleet([sys.executable, "-c", *sys.argv[1:]], 3))
"""


def test_a_fleet_starts_again_what_dies_and_stops_as_one(tmp_path: Path) -> None:
    fleet = subprocess.Popen([sys.executable, "-c", FLEET, MEMBER, str(tmp_path)], cwd=ROOT)
    try:
        first = members(tmp_path, 3)
        os.kill(first[0], signal.SIGKILL)
        again = members(tmp_path, 4)

        fleet.send_signal(signal.SIGTERM)

        assert fleet.wait(20) == 0
        assert len(set(again)) == 4
        assert not any(is_alive(pid) for pid in again)
    finally:
        fleet.kill()
        fleet.wait()


def members(folder: Path, count: int) -> list[int]:
    """The processes that said they run, once there are so many."""
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        found = sorted(int(path.name) for path in folder.iterdir())
        if len(found) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not {count} processes in {folder}")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
