"""Payloads as user code meets them: raw values handed through, and headers of interceptors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.api.common.v1 import Payload
from perdure.client import Client, OutboundInterceptor, StartWorkflowInput
from perdure.client import Interceptor as ClientInterceptor
from perdure.common import RawValue
from perdure.converter import CompositePayloadConverter, DataConverter, default
from perdure.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    StartActivityInput,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from tests.unit.test_waiting import MINUTE

HEADER = "user"
SEEN: list[str] = []


@activity.defn
async def double(number: int) -> int:
    return 2 * number


@activity.defn(dynamic=True)
async def any_activity(args: Sequence[RawValue]) -> RawValue:
    return args[-1]


@workflow.defn(dynamic=True)
class Forwarding:
    """Hands on what it was given, without knowing what it is."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> RawValue:
        raw = await workflow.execute_activity(
            "double", args=args, result_type=RawValue, start_to_close_timeout=MINUTE
        )
        assert isinstance(raw.payload, Payload)
        assert raw.payload.metadata["encoding"] == b"json/plain"
        read = workflow.payload_converter().from_payload
        assert read(raw.payload, int) == 14
        made = RawValue(workflow.payload_converter().to_payload("last"))
        last: RawValue = await workflow.execute_activity(
            "other", args=[raw, made], result_type=RawValue, start_to_close_timeout=MINUTE
        )
        assert read(last.payload, str) == "last"
        return raw


class Headers(ClientInterceptor, Interceptor):
    """As Temporal's sample of context propagation: written and read by each place's converter."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _FromClient(next)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _IntoActivity(next)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        return _IntoWorkflow


class _FromClient(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> Any:
        payload = default().payload_converter.to_payload("ada")
        input.headers = {**input.headers, HEADER: payload}
        return await super().start_workflow(input)


class _IntoWorkflow(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self.next.init(_FromWorkflow(outbound))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        found = workflow.payload_converter().from_payload(input.headers[HEADER], str)
        assert found == "ada"
        return await self.next.execute_workflow(input)


class _FromWorkflow(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> Any:
        payload = workflow.payload_converter().to_payload("grace")
        input.headers = {**input.headers, HEADER: payload}
        return self.next.start_activity(input)


class _IntoActivity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        SEEN.append(activity.payload_converter().from_payload(input.headers[HEADER], str))
        return await self.next.execute_activity(input)


class OwnConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        default_one = default().payload_converter
        assert isinstance(default_one, CompositePayloadConverter)
        super().__init__(*default_one.converters.values())


@pytest.mark.embedded
@pytest.mark.parametrize(
    "converter", [DataConverter(), DataConverter(payload_converter_class=OwnConverter)]
)
async def test_raw_values_and_headers_go_all_the_way(
    tmp_path: Path, converter: DataConverter
) -> None:
    SEEN.clear()
    client = await Client.connect(
        f"file:{tmp_path}", data_converter=converter, interceptors=[Headers()]
    )
    worker = Worker(
        client, task_queue="q", workflows=[Forwarding], activities=[double, any_activity]
    )
    async with asyncio.timeout(60), worker:
        result = await client.execute_workflow("Any", 7, id="w", task_queue="q")
    await client.close()

    assert result == 14
    assert SEEN == ["grace", "grace"]
