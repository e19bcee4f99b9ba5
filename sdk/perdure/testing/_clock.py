"""A clock that skips to the next deadline when nothing else is to be done.

Hosts tell after each turn whether they have anything to do. Time leaps only while somebody waits
for a result or sleeps, no activity is under way, and every host has read all that there is.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from perdure._simulation.idleness import is_idle, next_due_ms
from perdure_topics.clock import SystemClock
from perdure_topics.names import topic_name

if TYPE_CHECKING:
    from perdure_actors.host.host import Host
    from perdure_actors.partition.processor import PartitionProcessor
    from perdure_topics.ports import Log


class SkippingClock:
    """The machine's clock, and what was skipped."""

    def __init__(self) -> None:
        self._system = SystemClock()
        self._skipped_ms = 0

    def wall_ms(self) -> int:
        """Milliseconds since 1970, as the environment has them."""
        return self._system.wall_ms() + self._skipped_ms

    def monotonic_ms(self) -> int:
        """Milliseconds that never go back."""
        return self._system.monotonic_ms() + self._skipped_ms

    def skip(self, passed_ms: int) -> None:
        """Leap ahead."""
        self._skipped_ms += max(passed_ms, 0)


class _Turn(msgspec.Struct):
    """What a host said after its last turn."""

    ring: Callable[[], None]
    is_idle: bool = False
    due_ms: int | None = None
    read: list[tuple[str, int, int]] = []
    """Topic, partition and offset up to which commands are read."""


class _Sleeper(msgspec.Struct, eq=False):
    until_ms: int
    wake: Callable[[], None]


class TimeKeeper:
    """Decides when time leaps, and how far. Hosts call it on their threads."""

    def __init__(self, log: Log, clock: SkippingClock) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._turns: dict[int, _Turn] = {}
        self._waiting = 0
        self._sleepers: list[_Sleeper] = []
        self._held = 0
        self._clients: list[Callable[[], bool]] = []

    # What hosts say.

    def stepping(self, key: object) -> None:
        """A host takes a turn."""
        with self._lock:
            turn = self._turns.get(id(key))
            if turn is not None:
                turn.is_idle = False

    def turned(self, key: object, host: Host, wait_ms: int, ring: Callable[[], None]) -> None:
        """A host has taken a turn."""
        turn = _Turn(ring)
        if wait_ms > 0 and host.is_settled:
            shards = [slot.shard for slot in host.slots.values() if slot.shard is not None]
            # One that waits for a codec has something in hand, whatever its shard says.
            is_waiting = any(slot.turn is not None for slot in host.slots.values())
            turn.is_idle = not is_waiting and all(is_idle(shard) for shard in shards)
            due = [at for shard in shards if (at := next_due_ms(shard)) is not None]
            turn.due_ms = min(due, default=None)
            turn.read = [
                (_commands_of(shard), shard.partition, shard.journal.upto) for shard in shards
            ]
        with self._lock:
            self._turns[id(key)] = turn
            self._leap()

    def left(self, key: object) -> None:
        """A host has ended."""
        with self._lock:
            self._turns.pop(id(key), None)

    # What tests ask.

    @contextmanager
    def awaiting(self) -> Iterator[None]:
        """Time may leap while the block waits."""
        self._change(waiting=1)
        try:
            yield
        finally:
            self._change(waiting=-1)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Time goes by itself in the block, whoever waits."""
        self._change(held=1)
        try:
            yield
        finally:
            self._change(held=-1)

    def hold(self, *, begin: bool) -> None:
        """Let time go by itself until that ends, whoever waits."""
        self._change(held=1 if begin else -1)

    @contextmanager
    def leaping(self) -> Iterator[None]:
        """Time leaps while the block waits, though it is held."""
        with self._lock:
            held, self._held = self._held, 0
        with self.awaiting():
            try:
                yield
            finally:
                self._change(held=held)

    def wall_ms(self) -> int:
        """The environment's time."""
        return self._clock.wall_ms()

    async def sleep(self, duration_ms: int) -> None:
        """Wait until so much time has passed, by leaps where nothing else is to be done."""
        loop = asyncio.get_running_loop()
        over = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(over.set)

        sleeper = _Sleeper(self._clock.wall_ms() + duration_ms, wake)
        with self._lock:
            self._sleepers.append(sleeper)
            self._leap()
        self._ring()
        try:
            async with asyncio.timeout(duration_ms / 1000):
                await over.wait()
        except TimeoutError:
            # The machine's own time was faster.
            pass
        finally:
            with self._lock:
                if sleeper in self._sleepers:
                    self._sleepers.remove(sleeper)

    def watch(self, is_behind: Callable[[], bool]) -> None:
        """Let no time leap while a client has answers that it has not read: it may wait no more."""
        with self._lock:
            self._clients.append(is_behind)

    def _change(self, *, waiting: int = 0, held: int = 0) -> None:
        with self._lock:
            self._waiting += waiting
            self._held += held
        self._ring()

    def _ring(self) -> None:
        """Have every host take a turn, and say anew what it has to do."""
        for turn in list(self._turns.values()):
            turn.ring()

    # Leaping; under the lock.

    def _leap(self) -> None:
        now_ms = self._clock.wall_ms()
        target_ms = self._target_ms()
        if target_ms is None:
            return
        self._clock.skip(target_ms - now_ms)
        for sleeper in [one for one in self._sleepers if one.until_ms <= target_ms]:
            self._sleepers.remove(sleeper)
            sleeper.wake()
        for turn in self._turns.values():
            turn.is_idle = False
            turn.ring()

    def _target_ms(self) -> int | None:
        """The time to leap to; None while time goes by itself."""
        if self._held and not self._sleepers:
            return None
        if not self._waiting and not self._sleepers:
            return None
        if not all(turn.is_idle for turn in self._turns.values()) or self._is_unread():
            return None
        if any(is_behind() for is_behind in self._clients):
            return None
        dues = [turn.due_ms for turn in self._turns.values() if turn.due_ms is not None]
        dues += [sleeper.until_ms for sleeper in self._sleepers]
        return min(dues, default=None)

    def _is_unread(self) -> bool:
        """Whether a host has something to read that it has not seen yet."""
        return any(
            self._log.offsets(topic, partition)[1] > upto + 1
            for turn in self._turns.values()
            for topic, partition, upto in turn.read
        )


def _commands_of(shard: PartitionProcessor) -> str:
    return topic_name("commands", shard.services.namespace, shard.task_queue)
