"""Contexts, slots, metrics and connections as the type checker sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import Any, assert_type

from perdure import workflow
from perdure.client import Client, ServiceClient, WorkflowHandle
from perdure.converter import (
    ActivitySerializationContext,
    CompositePayloadConverter,
    DataConverter,
    EncodingPayloadConverter,
    TransferTypeConverter,
    WorkflowSerializationContext,
    transfer_type_convertible,
)
from perdure.runtime import BufferedMetricUpdate, MetricBuffer
from perdure.service import ConnectConfig
from perdure.testing import TimeSkippingConfig, WorkflowEnvironment
from perdure.worker import (
    CustomSlotSupplier,
    FixedSizeSlotSupplier,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
    Worker,
    WorkerTuner,
)

CONTEXT = WorkflowSerializationContext("n", "w")
MINUTE = timedelta(minutes=1)


class Supplier(CustomSlotSupplier):
    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        assert_type(ctx.task_queue, str)
        return SlotPermit()

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        return None

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        assert_type(ctx.permit, SlotPermit)

    def release_slot(self, ctx: SlotReleaseContext) -> None: ...


class Cents(TransferTypeConverter["Money", int]):
    @property
    def transfer_type(self) -> type[int]:
        return int

    def to_transfer_type(self, value: Money) -> int:
        return value.cents

    def from_transfer_type(self, value: int, type_hint: type[Money]) -> Money:
        return type_hint()


@transfer_type_convertible(Cents)
class Money:
    cents = 1


def right(client: Client, converter: DataConverter, composite: CompositePayloadConverter) -> None:
    assert_type(converter.with_context(CONTEXT), DataConverter)
    assert_type(composite.with_context(CONTEXT), CompositePayloadConverter)
    assert_type(composite.get_converters_with_context(CONTEXT), list[EncodingPayloadConverter])
    assert_type(Money(), Money)
    fixed = FixedSizeSlotSupplier(1)
    tuner = WorkerTuner.create_composite(
        workflow_supplier=fixed, activity_supplier=Supplier(), local_activity_supplier=fixed
    )
    Worker(client, task_queue="q", activities=[], tuner=tuner)
    assert_type(client.service_client, ServiceClient)
    Client(client.service_client, namespace="other")
    assert_type(MetricBuffer(1).retrieve_updates(), Sequence[BufferedMetricUpdate])


async def right_in_tests(handle: WorkflowHandle[Any, Any]) -> None:
    assert_type(await ServiceClient.connect(ConnectConfig("h:1")), ServiceClient)
    env = await WorkflowEnvironment.start_time_skipping_v2(ts_config=TimeSkippingConfig())
    assert_type(await env.fast_forward(handle, MINUTE), bool)


async def right_in_workflows() -> None:
    group = workflow.create_event_group("g")
    await workflow.sleep(1, event_groups=[group])
    assert_type(workflow.extern_functions(), Mapping[str, Callable[..., Any]])
    assert_type(workflow.new_random(), Random)


def wrong(client: Client) -> None:
    Worker(client, task_queue="q", activities=[], tuner=3)  # type: ignore[arg-type]
    WorkerTuner.create_resource_based(0.5, 0.5)  # type: ignore[call-arg]
    WorkflowSerializationContext("n")  # type: ignore[call-arg]
    ActivitySerializationContext("n", "a", "t", "q", "w", "W")  # type: ignore[call-arg]
    MetricBuffer("many")  # type: ignore[arg-type]
