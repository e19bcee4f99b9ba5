"""How much memory and CPU is in use where this process runs: of its cgroup, else of the machine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SAMPLE_S = 0.1
"""A share of CPU is that of the time between two samples, which are at least so far apart."""
SMOOTHING = 0.5
"""How much the newest sample of CPU counts."""


class Load(NamedTuple):
    """What is in use, as shares of what there is: 0 to 1."""

    memory: float
    cpu: float


class MachineLoad:
    """Samples when it is asked, at most so often. Usable from any thread.

    Raises ValueError where there is no /proc to read, which only Linux has.
    """

    def __init__(
        self,
        *,
        proc: Path = Path("/proc"),
        cgroups: Path = Path("/sys/fs/cgroup"),
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (proc / "meminfo").exists():
            raise ValueError(
                f"slots by resources read {proc}/meminfo, which this system does not have: give"
                " a fixed number of slots, or a CustomSlotSupplier"
            )
        self._proc = proc
        self._groups = _own_groups(proc, cgroups)
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._at_s = monotonic_s()
        self._busy_s, self._cores = self._cpu()
        self._load = Load(self._memory(), 0.0)

    def now(self) -> Load:
        """What is in use; a sample that is young enough is given again."""
        with self._lock:
            at_s = self._monotonic_s()
            passed_s = at_s - self._at_s
            if passed_s >= SAMPLE_S:
                busy_s, self._cores = self._cpu()
                share = (busy_s - self._busy_s) / (passed_s * self._cores)
                self._at_s, self._busy_s = at_s, busy_s
                cpu = SMOOTHING * min(max(share, 0.0), 1.0) + (1 - SMOOTHING) * self._load.cpu
                self._load = Load(self._memory(), cpu)
            return self._load

    def _memory(self) -> float:
        """What the tightest limit leaves of itself: a container is killed by its own."""
        kilobytes = _table(self._proc / "meminfo")
        shares = [1 - kilobytes["MemAvailable:"] / kilobytes["MemTotal:"]]
        for group in self._groups:
            limit = _text(group / "memory.max")
            if limit.isdigit():
                # File pages that nobody has used lately are given back before anyone is killed.
                cached = _table(group / "memory.stat").get("inactive_file", 0)
                shares.append((int(_text(group / "memory.current")) - cached) / int(limit))
        return max(shares)

    def _cpu(self) -> tuple[float, float]:
        """Seconds that were worked so far, and by how many cores at once that may be."""
        for group in self._groups:
            quota, _, period = _text(group / "cpu.max").partition(" ")
            if quota.isdigit():
                microseconds = _table(group / "cpu.stat")["usage_usec"]
                return microseconds / 1e6, int(quota) / int(period)
        times = list(map(int, _text(self._proc / "stat").splitlines()[0].split()[1:9]))
        # Idle, and waiting for a disk.
        idle = times[3] + times[4]
        return (sum(times) - idle) / os.sysconf("SC_CLK_TCK"), os.cpu_count() or 1


def _own_groups(proc: Path, cgroups: Path) -> list[Path]:
    """The cgroup of this process and those that hold it, as the second version has them."""
    for line in _text(proc / "self" / "cgroup").splitlines():
        if line.startswith("0::"):
            own = cgroups / line[3:].lstrip("/")
            above = [path for path in own.parents if path.is_relative_to(cgroups)]
            return [path for path in (own, *above) if path.is_dir()]
    return []


def _text(path: Path) -> str:
    """What a file says; empty for one that is not there, as in the topmost group."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _table(path: Path) -> dict[str, int]:
    """A name and a number on each line."""
    return {name: int(value) for name, value, *_ in map(str.split, _text(path).splitlines())}
