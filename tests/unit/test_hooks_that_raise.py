"""Converters, codecs and interceptors that raise anything: the host goes on beside them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from perdure import workflow
from perdure.api.common.v1 import Payload
from perdure.client import Client
from perdure.converter import (
    DataConverter,
    DefaultPayloadConverter,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
)
from perdure.exceptions import PerdureError
from perdure.service import RPCError
from perdure.worker import (
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    Interceptor,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

pytestmark = pytest.mark.embedded


class PanicError(BaseException):
    """As the panics of extensions are: no Exception."""


RAISED: dict[str, BaseException] = {
    "panic": PanicError("in a hook"),
    "cancelled": asyncio.CancelledError(),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "generator exit": GeneratorExit(),
    "value": ValueError("in a hook"),
}
JUNK = "junk"
now: dict[str, str] = {}
"""Which hooks fail now, and how."""


def hook(place: str) -> bool:
    """Raise what is asked of a place, on a host's thread; whether it should return junk."""
    how = now.get(place)
    with workflow.unsafe.sandbox_unrestricted():
        is_client = threading.current_thread() is threading.main_thread()
    if how is None or is_client:
        return False
    if how != JUNK:
        raise RAISED[how]
    return True


class Converter(DefaultPayloadConverter):
    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        junk: Any = [3] * len(values)
        return junk if hook("writing") else super().to_payloads(values)

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        return [object()] if hook("reading") else super().from_payloads(payloads, type_hints)


class Codec(PayloadCodec, WithSerializationContext):
    def with_context(self, context: SerializationContext) -> Any:
        return 3 if hook("context") else self

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        junk: Any = 3
        return junk if hook("encoding") else list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        junk: Any = None
        return junk if hook("decoding") else list(payloads)


class Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: Any) -> None:
        hook("interceptor's init")
        super().init(outbound)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        hook("interceptor")
        return await super().execute_workflow(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        hook("interceptor")
        return await super().handle_query(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        hook("interceptor")
        await super().handle_signal(input)


class Intercepting(Interceptor):
    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        return Inbound


@workflow.defn
class Hooked:
    def __init__(self) -> None:
        self.is_over = False

    @workflow.run
    async def run(self, text: str) -> str:
        await workflow.wait_condition(lambda: self.is_over)
        return text

    @workflow.signal
    def end(self, _text: str) -> None:
        self.is_over = True

    @workflow.query
    def said(self, text: str) -> str:
        return text


@pytest.mark.parametrize(
    "place",
    [
        "writing",
        "reading",
        "context",
        "encoding",
        "decoding",
        "interceptor",
        "interceptor's init",
    ],
)
async def test_a_hook_that_raises_costs_its_own_run_and_no_other(
    place: str, tmp_path: Path
) -> None:
    converter = DataConverter(payload_converter_class=Converter, payload_codec=Codec())
    client = await Client.connect(f"file:{tmp_path}", data_converter=converter)
    try:
        worker = Worker(client, task_queue="q", workflows=[Hooked], interceptors=[Intercepting()])
        async with worker:
            for number, how in enumerate((*RAISED, JUNK)):
                asked = await client.start_workflow(
                    Hooked.run, "a", id=f"asked-{number}", task_queue="q"
                )
                assert await asked.query(Hooked.said, "before") == "before"
                now[place] = how
                with suppress(PerdureError, RuntimeError):
                    assert await asked.query(Hooked.said, "b") == "b", (place, how)
                await client.start_workflow(Hooked.run, "b", id=f"new-{number}", task_queue="q")
                with suppress(RPCError):
                    await asked.signal(Hooked.end, "over")
                now.clear()
                other = await client.start_workflow(
                    Hooked.run,
                    "fine",
                    id=f"other-{number}",
                    task_queue="q",
                    start_signal="end",
                    start_signal_args=["over"],
                )
                assert await asyncio.wait_for(other.result(), 10) == "fine"
            assert worker.is_running
    finally:
        now.clear()
        await client.close()
