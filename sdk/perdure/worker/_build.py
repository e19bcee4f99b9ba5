"""A worker's parts, built from the options of its user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from typing import Any, NamedTuple

from perdure._batches.batch_workflow import Batch
from perdure._records.policies import milliseconds
from perdure._schedules.scheduler import Scheduler
from perdure.client import Client
from perdure.worker._interceptor import Interceptor, for_workflows
from perdure.worker._limits import local_slots_of, rates_of, slots_of
from perdure.worker._slot_suppliers import Loaded, ReserveContext, slots_from
from perdure.worker._tuning import (
    FixedSizeSlotSupplier,
    ResourceBasedSlotSupplier,
    SlotSupplier,
    WorkerTuner,
)
from perdure.workflow._interceptor_chain import PatchActivationInput, chains_of
from perdure_actors.definitions.watchdog import LIMIT_S
from perdure_actors.definitions.workflow_code import WorkflowCode
from perdure_actors.worker.activity_worker import ActivityWorkerSettings
from perdure_actors.worker.machine_load import MachineLoad
from perdure_actors.worker.slots import Slots


class Suppliers(NamedTuple):
    """Where the slots of a worker come from."""

    activity: SlotSupplier
    local_activity: SlotSupplier
    load: Loaded | None

    @property
    def activities_max(self) -> int:
        """How many activities its own threads are made for, where that is a fixed number."""
        supplier = self.activity
        return supplier.num_slots if isinstance(supplier, FixedSizeSlotSupplier) else 1

    def slots(self, context: ReserveContext) -> Slots:
        """The slots of a kind, on the loop that runs now."""
        is_local = context.slot_type == "local-activity"
        return slots_from(
            self.local_activity if is_local else self.activity, context, load=self._loaded
        )

    def _loaded(self) -> Loaded:
        assert self.load is not None, "made when a supplier asks for it"
        return self.load


def suppliers_of(
    tuner: WorkerTuner | None,
    executor: Executor | None,
    *,
    activities: int | None,
    local_activities: int | None,
    workflow_tasks: int | None,
) -> Suppliers:
    """The suppliers of a tuner, or of plain numbers.

    Raises ValueError for both, for a number below 1, or where the machine cannot be read.
    """
    if tuner is None:
        return Suppliers(
            FixedSizeSlotSupplier(slots_of(executor, activities)),
            FixedSizeSlotSupplier(local_slots_of(local_activities)),
            None,
        )
    if not isinstance(tuner, WorkerTuner):
        raise TypeError(f"{tuner!r} is no WorkerTuner")
    if not activities is local_activities is workflow_tasks is None:
        raise ValueError("give a tuner or max_concurrent_..., not both: the tuner says how many")
    activity = tuner._get_activity_task_slot_supplier()
    local = tuner._get_local_activity_task_slot_supplier()
    if isinstance(activity, FixedSizeSlotSupplier):
        slots_of(executor, activity.num_slots)
    by_resources = any(isinstance(one, ResourceBasedSlotSupplier) for one in (activity, local))
    return Suppliers(activity, local, MachineLoad() if by_resources else None)


def settings_of(config: Mapping[str, Any], identity: str, *, slots: int) -> ActivityWorkerSettings:
    """The settings of a worker for activities, of the arguments it was given.

    Raises ValueError for a rate or a duration that cannot be.
    """
    durations = (
        "graceful_shutdown_timeout",
        "max_heartbeat_throttle_interval",
        "default_heartbeat_throttle_interval",
    )
    return ActivityWorkerSettings(
        namespace=config["client"].namespace,
        task_queue=config["task_queue"],
        identity=identity,
        max_concurrent_activities=slots,
        **rates_of(
            config["max_activities_per_second"], config["max_task_queue_activities_per_second"]
        ),
        **all_seconds(**{name: config[name] for name in durations}),
    )


def all_seconds(**durations: timedelta) -> dict[str, float]:
    """Durations in seconds, by the settings' names. Raises ValueError for a negative one."""
    return {
        f"{name.removesuffix('_interval')}_s": milliseconds(duration, name) / 1000
        for name, duration in durations.items()
    }


def code_of(
    client: Client,
    workflows: Sequence[type],
    *,
    failures: Sequence[type[BaseException]],
    build_id: str | None,
    interceptors: Sequence[Interceptor],
    is_watched: bool,
    allows_patch: Callable[[PatchActivationInput], bool] | None,
) -> WorkflowCode | None:
    """The workflow code to host, if there is any. Raises ValueError beside an engine."""
    if not workflows:
        return None
    _check_hosting(client)
    classes, externs = for_workflows(interceptors)
    return WorkflowCode(
        # Each schedule and each batch is an actor.
        [*workflows, Scheduler, Batch],
        converter=client.values,
        failure_exception_types=failures,
        build_id=build_id or "",
        deadlock_timeout_s=LIMIT_S if is_watched else 0.0,
        codecs=client.worker_codecs,
        chains=chains_of(classes, externs=externs, allows_patch=allows_patch),
    )


def of_workers(interceptors: Sequence[Any]) -> list[Interceptor]:
    """Those of a client's interceptors that are a worker's as well."""
    return [one for one in interceptors if isinstance(one, Interceptor)]


def _check_hosting(client: Client) -> None:
    """Refuse workflows where an engine hosts them. Raises ValueError."""
    address = client.log.address
    if address.startswith(("http:", "https:")):
        raise ValueError(
            f"a worker with workflows cannot work on the engine at {address}, whose own process"
            " hosts the workflows: start it with the module that defines them,"
            " `perdure engine MODULE --data DIRECTORY --task-queue QUEUE`, and give this"
            " worker activities only; or connect its client to a Kafka broker, or to a directory"
            " (file:DIRECTORY) that no engine owns"
        )
