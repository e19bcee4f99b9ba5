"""The room in memory that all partitions of a process share for runs: least recently used first.

A run that waits for nothing but time, a message or a person is idle, and so is one that has closed.
Idle runs leave first and only so many stay: what comes back to one of them is replayed. Runs that
wait for an activity or a child are busy and stay while there is room, because their next input is
near. Pinned runs, whose transitions are not accepted yet, never leave.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUNS_MAX: Final = 20_000
"""Runs in memory, whatever their size."""
IDLE_RUNS_MAX: Final = 1_000
BYTES_MAX: Final = 1024 * 1024 * 1024
"""The most that runs take where there is plenty of memory."""
SHARE_OF_MEMORY: Final = 4
"""Runs take at most one part in so many of what this process may have."""
RUN_BYTES: Final = 20_480
"""What a run takes with its code live, its history apart; measured on small ones."""
SCANNED_MAX: Final = 256
"""Pinned runs that are passed over in one search for one that may leave."""
_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")


def bytes_for_runs() -> int:
    """How much memory runs may take in this process: by its container's limit or the machine's."""
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = _CGROUP_LIMIT.read_text().strip()
    except OSError:
        limit = ""
    if limit.isdigit():
        have = min(have, int(limit))
    return min(BYTES_MAX, have // SHARE_OF_MEMORY)


class CachedRun(Protocol):
    """What the room knows of a run that is in it."""

    pinned: int
    """How many transitions of it are proposed and not yet accepted."""
    bytes: int
    """What it takes, by estimate."""


class RunMemory:
    """Which runs of a process are in memory, over all of its partitions. One thread uses it.

    Args:
        runs_max: Runs in memory at most.
        bytes_max: What they may take, in bytes by estimate; 0 takes a part of what there is.
        idle_max: Idle runs among them.
    """

    def __init__(
        self, *, runs_max: int = RUNS_MAX, bytes_max: int = 0, idle_max: int = IDLE_RUNS_MAX
    ) -> None:
        self._runs_max = runs_max
        self._bytes_max = bytes_max or bytes_for_runs()
        self._idle_max = min(idle_max, runs_max)
        self._busy: OrderedDict[CachedRun, Callable[[Any], None]] = OrderedDict()
        self._idle: OrderedDict[CachedRun, Callable[[Any], None]] = OrderedDict()
        self.bytes = 0
        """What the runs in memory take, by estimate."""

    def __len__(self) -> int:
        return len(self._busy) + len(self._idle)

    def add(self, resident: CachedRun, forget: Callable[[Any], None]) -> None:
        """Take a run in; `forget` lets go of it when it must leave. Others may leave for it."""
        resident.bytes = RUN_BYTES
        self.bytes += resident.bytes
        self._busy[resident] = forget
        self._make_room(resident)

    def use(self, resident: CachedRun) -> None:
        """Count a run as used just now."""
        runs = self._idle if resident in self._idle else self._busy
        runs.move_to_end(resident)

    def weigh(self, resident: CachedRun, *, history_bytes: int, is_idle: bool) -> None:
        """Note what a run takes after a transition, and whether its next input is far."""
        size = RUN_BYTES + history_bytes
        self.bytes += size - resident.bytes
        resident.bytes = size
        was, now = (self._busy, self._idle) if is_idle else (self._idle, self._busy)
        forget = was.pop(resident, None)
        if forget is not None:
            now[resident] = forget
        elif is_idle:
            self._idle.move_to_end(resident)
        self._make_room(resident)

    def drop(self, resident: CachedRun) -> None:
        """A run is in memory no more."""
        if self._busy.pop(resident, None) or self._idle.pop(resident, None):
            self.bytes -= resident.bytes

    def _make_room(self, wanted: CachedRun) -> None:
        """Let runs go until there is room; not the one that is wanted now.

        The next to ask for that one must not get a second one.
        """
        while (
            len(self._idle) > self._idle_max
            or len(self) > self._runs_max
            or self.bytes > self._bytes_max
        ):
            gone = next(self._may_leave(wanted), None)
            if gone is None:
                return
            forget = self._idle.get(gone) or self._busy[gone]
            forget(gone)

    def _may_leave(self, wanted: CachedRun) -> Iterator[CachedRun]:
        over = len(self) > self._runs_max or self.bytes > self._bytes_max
        for runs in (self._idle, self._busy) if over else (self._idle,):
            for number, resident in enumerate(runs):
                if not resident.pinned and resident is not wanted:
                    yield resident
                if number >= SCANNED_MAX:
                    break
