"""The room in memory that all partitions of a process share for runs: least recently used first.

A run that waits for nothing but time, a message or a person is idle, and so is one that has closed.
Idle runs leave first and only so many stay: what comes back to one of them is replayed. Runs that
wait for an activity or a child are busy and stay while there is room, because their next input is
near. Pinned runs, whose transitions are not accepted yet, never leave, and no run of a partition
leaves in the middle of its turn: whoever holds a run in a turn must be the only one to change it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

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


class InMemory(Protocol):
    """What the room knows of a run that is in it."""

    pinned: int
    """How many transitions of it are proposed and not yet accepted."""
    bytes: int
    """What it takes, by estimate."""


class Holder(Protocol):
    """A partition, as the room knows it."""

    is_held: bool
    """Whether none of its runs may leave now."""

    def forget(self, resident: Any) -> None:
        """Let a run leave memory."""


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
        self._busy: OrderedDict[InMemory, Holder] = OrderedDict()
        self._idle: OrderedDict[InMemory, Holder] = OrderedDict()
        self.bytes = 0
        """What the runs in memory take, by estimate."""

    def __len__(self) -> int:
        return len(self._busy) + len(self._idle)

    def add(self, resident: InMemory, holder: Holder) -> None:
        """Take a run in. Others leave for it when the turn is over."""
        resident.bytes = RUN_BYTES
        self.bytes += resident.bytes
        self._busy[resident] = holder

    def use(self, resident: InMemory) -> None:
        """Count a run as used just now."""
        runs = self._idle if resident in self._idle else self._busy
        runs.move_to_end(resident)

    def weigh(self, resident: InMemory, *, history_bytes: int, is_idle: bool) -> None:
        """Note what a run takes after a transition, and whether its next input is far."""
        size = RUN_BYTES + history_bytes
        self.bytes += size - resident.bytes
        resident.bytes = size
        was, now = (self._busy, self._idle) if is_idle else (self._idle, self._busy)
        holder = was.pop(resident, None)
        if holder is not None:
            now[resident] = holder

    def drop(self, resident: InMemory) -> None:
        """A run is in memory no more."""
        for runs in (self._busy, self._idle):
            # Not by its truth: a partition without runs is as false as none.
            if runs.pop(resident, None) is not None:
                self.bytes -= resident.bytes

    def make_room(self) -> None:
        """Let runs go until there is room: idle ones first, and those used longest ago."""
        while self._is_over() or len(self._idle) > self._idle_max:
            gone = next(self._may_leave(), None)
            if gone is None:
                return
            resident, holder = gone
            holder.forget(resident)

    def _is_over(self) -> bool:
        return len(self) > self._runs_max or self.bytes > self._bytes_max

    def _may_leave(self) -> Iterator[tuple[InMemory, Holder]]:
        for runs in (self._idle, self._busy) if self._is_over() else (self._idle,):
            for number, (resident, holder) in enumerate(runs.items()):
                if not resident.pinned and not holder.is_held:
                    yield resident, holder
                if number >= SCANNED_MAX:
                    break
