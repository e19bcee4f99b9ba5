"""Slot suppliers: adapters from those of users to the slots of a worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

from perdure.worker._tuning import (
    SLOTS_BY_RESOURCES,
    CustomSlotSupplier,
    FixedSizeSlotSupplier,
    ResourceBasedSlotSupplier,
    SlotInfo,
    SlotPermit,
    SlotReleaseContext,
    SlotSupplier,
)
from perdure_actors.replay.raised import is_for_others
from perdure_actors.worker.machine_load import Load
from perdure_actors.worker.slots import FixedSlots, Slots
from perdure_actors.worker.task_rate import FOREVER_MS

logger = logging.getLogger("perdure.worker")
RAMP_MS: Final = 50
LOOK_AGAIN_MS: Final = 100
"""How soon a machine that had no room is looked at again."""
CUSTOM_MOST: Final = 1000
"""How many slots a supplier of a user may give at once; threads are made for no more."""
AFTER_ERROR_S: Final = 1.0


class Loaded(Protocol):
    """What knows how much is in use."""

    def now(self) -> Load:
        """What is in use now."""


@dataclass
class ReserveContext:
    """Who asks for a slot."""

    slot_type: Literal["workflow", "activity", "local-activity"]
    task_queue: str
    worker_identity: str
    worker_build_id: str = ""
    is_sticky: bool = False


@dataclass(frozen=True)
class MarkUsedContext:
    """A slot that is used from now on."""

    slot_info: SlotInfo
    permit: SlotPermit


@dataclass
class ActivityUse:
    """What a slot is used for."""

    activity_type: str


class ResourceSlots:
    """Gives permits while less is in use than the targets. Called on one thread."""

    def __init__(self, supplier: ResourceBasedSlotSupplier, load: Loaded) -> None:
        config = supplier.slot_config
        self._targets = supplier.tuner_config
        self._load = load
        self._least = 1 if config.minimum_slots is None else config.minimum_slots
        self._most = SLOTS_BY_RESOURCES if config.maximum_slots is None else config.maximum_slots
        if not 0 <= self._least <= self._most or self._most < 1:
            raise ValueError(
                f"minimum_slots {self._least} and maximum_slots {self._most}: give at least 1"
                " slot at most, and no more at least than at most"
            )
        ramp = config.ramp_throttle
        self._ramp_ms = RAMP_MS if ramp is None else int(ramp.total_seconds() * 1000)
        self._used = 0
        self._last_ms = -FOREVER_MS

    @property
    def most(self) -> int:
        """How many there are on an idle machine."""
        return self._most

    def open(self, wake: Callable[[], None]) -> None:
        """Nothing wakes: the machine is looked at again."""

    def free(self, now_ms: int) -> int:
        """What is left of the least, and otherwise one at a time."""
        if self._used < self._least:
            return self._least - self._used
        return 1 if self._may_grow(now_ms) else 0

    def take(self, activity_type: str, now_ms: int) -> object | None:
        """A permit, if there is room for one more."""
        if self._used >= self._least and not self._may_grow(now_ms):
            return None
        self._used += 1
        self._last_ms = now_ms
        return self

    def _may_grow(self, now_ms: int) -> bool:
        if self._used >= self._most or now_ms - self._last_ms < self._ramp_ms:
            return False
        memory, cpu = self._load.now()
        targets = self._targets
        return memory < targets.target_memory_usage and cpu < targets.target_cpu_usage

    def release(self, permit: object) -> None:
        """One less is used."""
        self._used -= 1

    def next_ms(self, now_ms: int) -> int:
        """When the last permit has shown what it takes, or the machine may have changed."""
        ramp_ends_ms = self._last_ms + self._ramp_ms
        return ramp_ends_ms if now_ms < ramp_ends_ms else now_ms + LOOK_AGAIN_MS

    def close(self) -> None:
        """There is nothing to let go of."""


class _Permit(NamedTuple):
    permit: SlotPermit
    use: ActivityUse


class CustomSlots:
    """Permits of a user's supplier, which is called on the worker's own loop alone."""

    def __init__(
        self, supplier: CustomSlotSupplier, context: ReserveContext, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._supplier = supplier
        self._context = context
        self._loop = loop
        self._home = threading.get_ident()
        self._wake: Callable[[], None] = _nothing
        self._kept: list[SlotPermit] = []
        """At most one: what was reserved before there was a task for it."""
        self._lock = threading.Lock()
        self._reserving: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def most(self) -> int:
        """Nobody knows how many the supplier gives; more than this do not run at once."""
        return CUSTOM_MOST

    def open(self, wake: Callable[[], None]) -> None:
        """Reserve the first slot."""
        self._wake = wake
        self._post(self._reserve)

    def free(self, now_ms: int) -> int:
        """What is kept."""
        return len(self._kept)

    def take(self, activity_type: str, now_ms: int) -> object | None:
        """The permit that is kept, or one that is there at once."""
        with self._lock:
            permit = self._kept.pop() if self._kept else None
        if permit is None and threading.get_ident() == self._home:
            permit = self._called("try_reserve_slot", self._context)
        if permit is None:
            return None
        use = ActivityUse(activity_type)
        self._post(self._called, "mark_slot_used", MarkUsedContext(use, permit))
        self._post(self._reserve)
        return _Permit(permit, use)

    def release(self, permit: object) -> None:
        """The task has ended."""
        assert isinstance(permit, _Permit), "it is what was taken"
        self._post(self._called, "release_slot", SlotReleaseContext(permit.use, permit.permit))

    def next_ms(self, now_ms: int) -> int:
        """It wakes when there is one."""
        return FOREVER_MS

    def close(self) -> None:
        """Wait for no more slots, and give back what is kept."""
        self._post(self._end)

    def _post(self, call: Callable[..., Any], *args: Any) -> None:
        if threading.get_ident() == self._home:
            call(*args)
            return
        # The worker's loop may be gone before the last local activity of its host.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *args)

    def _reserve(self) -> None:
        if not self._is_closed and self._reserving is None and not self._kept:
            self._reserving = self._loop.create_task(self._reserved())
            self._reserving.add_done_callback(self._settled)

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._reserving = None
        if not task.cancelled():
            self._wake()
            # It may have been taken before this was called.
            self._reserve()

    async def _reserved(self) -> None:
        while True:
            try:
                permit = await self._supplier.reserve_slot(self._context)
                if permit is None:
                    raise TypeError("reserve_slot returned None; it gives a SlotPermit")
            except BaseException as error:
                if is_for_others(error):
                    raise
                logger.exception("reserve_slot of a slot supplier failed; it is called again")
                await asyncio.sleep(AFTER_ERROR_S)
            else:
                with self._lock:
                    self._kept.append(permit)
                return

    def _called(self, method: str, context: Any) -> Any:
        try:
            return getattr(self._supplier, method)(context)
        except KeyboardInterrupt:
            raise
        except BaseException:
            logger.exception("%s of a slot supplier failed", method)
            return None

    def _end(self) -> None:
        self._is_closed = True
        if self._reserving is not None:
            self._reserving.cancel()
        while self._kept:
            self._called("release_slot", SlotReleaseContext(None, self._kept.pop()))


def _nothing() -> None:
    """Nobody waits yet."""


def slots_from(
    supplier: SlotSupplier, context: ReserveContext, *, load: Callable[[], Loaded]
) -> Slots:
    """The slots of a supplier, on the loop that runs now.

    Raises TypeError for something else than a supplier.
    """
    if isinstance(supplier, FixedSizeSlotSupplier):
        return FixedSlots(supplier.num_slots)
    if isinstance(supplier, ResourceBasedSlotSupplier):
        return ResourceSlots(supplier, load())
    if isinstance(supplier, CustomSlotSupplier):
        return CustomSlots(supplier, context, asyncio.get_running_loop())
    raise TypeError(f"{supplier!r} is no slot supplier")
