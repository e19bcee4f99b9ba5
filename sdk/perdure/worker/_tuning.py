"""Worker tuning by slot suppliers, under Temporal's names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Protocol, runtime_checkable

SLOTS_FIXED = 100
SLOTS_BY_RESOURCES = 500


@dataclass(frozen=True)
class FixedSizeSlotSupplier:
    """So many slots, and no more."""

    num_slots: int

    def __post_init__(self) -> None:
        """Raise ValueError for a number below 1."""
        if self.num_slots < 1:
            raise ValueError(f"num_slots is {self.num_slots}: give at least 1")


@dataclass(frozen=True)
class ResourceBasedTunerConfig:
    """How much of the machine may be in use, of 0 to 1, before no slot is given any more.

    In a container with limits it is of those. More than 0.8 of memory is not wise: nobody knows
    what the next task will take.
    """

    target_memory_usage: float
    target_cpu_usage: float

    def __post_init__(self) -> None:
        """Raise ValueError for shares that are none."""
        for name in ("target_memory_usage", "target_cpu_usage"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give more than 0, at most 1")


@dataclass(frozen=True)
class ResourceBasedSlotConfig:
    """How many slots of a kind there are whatever is in use, how many at most, and how soon."""

    minimum_slots: int | None = None
    """Given without a look at the machine; 1 unless given."""
    maximum_slots: int | None = None
    """500 unless given."""
    ramp_throttle: timedelta | None = None
    """How long to wait before the next one above the minimum, to see what the last one takes;
    50 ms unless given."""


@dataclass(frozen=True)
class ResourceBasedSlotSupplier:
    """Gives slots as long as less memory and CPU are in use than the targets. Needs Linux."""

    slot_config: ResourceBasedSlotConfig
    tuner_config: ResourceBasedTunerConfig


class SlotPermit:
    """What a supplier gives for a slot; inherit from it to keep something with it."""


class SlotReserveContext(Protocol):
    """Who asks for a slot."""

    slot_type: Literal["workflow", "activity", "local-activity"]
    """For what it is: "activity" or "local-activity". Nothing asks for a "workflow" here."""
    task_queue: str
    worker_identity: str
    worker_build_id: str
    is_sticky: bool
    """False: there are no sticky queues."""


@runtime_checkable
class WorkflowSlotInfo(Protocol):
    """What a slot of workflow tasks is used for."""

    workflow_type: str
    is_sticky: bool


@runtime_checkable
class ActivitySlotInfo(Protocol):
    """What a slot of activities is used for."""

    activity_type: str


@runtime_checkable
class LocalActivitySlotInfo(Protocol):
    """What a slot of local activities is used for."""

    activity_type: str


SlotInfo = WorkflowSlotInfo | ActivitySlotInfo | LocalActivitySlotInfo


@dataclass(frozen=True)
class SlotMarkUsedContext(Protocol):
    """A slot that is used from now on."""

    slot_info: SlotInfo
    permit: SlotPermit


@dataclass(frozen=True)
class SlotReleaseContext:
    """A slot that is not needed any more."""

    slot_info: SlotInfo | None
    """What it was used for; None when it was not."""
    permit: SlotPermit


class CustomSlotSupplier(ABC):
    """Decides by itself how many slots there are. Inherit from it.

    All of its methods are called on the event loop that the worker runs on, so they need no
    locks, and those that are not async must not wait. What they raise is logged; after an error
    of `reserve_slot` it is called again, a second later.

    Example:
        tuner = WorkerTuner.create_composite(
            workflow_supplier=FixedSizeSlotSupplier(10),
            activity_supplier=MySupplier(),
            local_activity_supplier=FixedSizeSlotSupplier(10),
        )
    """

    @abstractmethod
    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        """Wait until there is a slot, and give a permit for it.

        A worker asks for one slot ahead of each task. The wait is cancelled when it stops.
        """

    @abstractmethod
    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        """Give a permit at once, or None. Asked for tasks that are there when no slot is kept."""

    @abstractmethod
    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        """A permit is used for a task from now on."""

    @abstractmethod
    def release_slot(self, ctx: SlotReleaseContext) -> None:
        """A permit is not needed any more: its task has ended, or there was none."""


SlotSupplier = FixedSizeSlotSupplier | ResourceBasedSlotSupplier | CustomSlotSupplier


class WorkerTuner(ABC):
    """The suppliers of a worker's slots.

    Slots of workflows have no effect: the host of a partition runs the code of its workflows on
    one thread, one after the other.
    """

    @staticmethod
    def create_resource_based(
        *,
        target_memory_usage: float,
        target_cpu_usage: float,
        workflow_config: ResourceBasedSlotConfig | None = None,
        activity_config: ResourceBasedSlotConfig | None = None,
        local_activity_config: ResourceBasedSlotConfig | None = None,
    ) -> WorkerTuner:
        """Slots as long as less is in use than the targets; see ResourceBasedTunerConfig.

        Example:
            tuner = WorkerTuner.create_resource_based(target_memory_usage=0.8, target_cpu_usage=0.9)
        """
        targets = ResourceBasedTunerConfig(target_memory_usage, target_cpu_usage)
        workflow, activity, local = (
            ResourceBasedSlotSupplier(config or ResourceBasedSlotConfig(), targets)
            for config in (workflow_config, activity_config, local_activity_config)
        )
        return _Composite(workflow, activity, local)

    @staticmethod
    def create_fixed(
        *,
        workflow_slots: int | None = None,
        activity_slots: int | None = None,
        local_activity_slots: int | None = None,
    ) -> WorkerTuner:
        """So many slots of each kind; 100 unless given."""
        workflow, activity, local = (
            FixedSizeSlotSupplier(slots or SLOTS_FIXED)
            for slots in (workflow_slots, activity_slots, local_activity_slots)
        )
        return _Composite(workflow, activity, local)

    @staticmethod
    def create_composite(
        *,
        workflow_supplier: SlotSupplier,
        activity_supplier: SlotSupplier,
        local_activity_supplier: SlotSupplier,
    ) -> WorkerTuner:
        """A supplier for each kind; one supplier may be that of several."""
        return _Composite(workflow_supplier, activity_supplier, local_activity_supplier)

    @abstractmethod
    def _get_workflow_task_slot_supplier(self) -> SlotSupplier: ...

    @abstractmethod
    def _get_activity_task_slot_supplier(self) -> SlotSupplier: ...

    @abstractmethod
    def _get_local_activity_task_slot_supplier(self) -> SlotSupplier: ...


@dataclass(frozen=True)
class _Composite(WorkerTuner):
    """Suppliers that were given."""

    workflow: SlotSupplier
    activity: SlotSupplier
    local_activity: SlotSupplier

    def _get_workflow_task_slot_supplier(self) -> SlotSupplier:
        return self.workflow

    def _get_activity_task_slot_supplier(self) -> SlotSupplier:
        return self.activity

    def _get_local_activity_task_slot_supplier(self) -> SlotSupplier:
        return self.local_activity
