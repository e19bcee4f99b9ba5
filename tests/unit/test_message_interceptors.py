"""Interceptors of signals, queries and updates: what they see, change and pass on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perdure import client, workflow
from perdure.client import Client
from perdure.exceptions import ApplicationError
from perdure.worker import (
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)
from perdure_schemas.replies import UpdateAnswer
from tests.unit.test_interceptors import (
    SEEN,
    USER,
    Counting,
    Everywhere,
    InWorkflow,
    OutOfClient,
    convert,
    user_of,
)

pytestmark = pytest.mark.embedded


@workflow.defn
class Talking:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.is_done = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: self.is_done)
        child: str = await workflow.execute_child_workflow(Counting.run, 0, id="child")
        return [*self.heard, child]

    @workflow.signal
    async def hear(self, text: str) -> None:
        self.heard.append(text)

    @workflow.signal
    def stop(self) -> None:
        self.is_done = True

    @workflow.query
    def last(self, default: str) -> str:
        return self.heard[-1] if self.heard else default

    @workflow.update
    async def count(self, least: int) -> int:
        await workflow.wait_condition(lambda: len(self.heard) >= least)
        return len(self.heard)

    @count.validator
    def check(self, least: int) -> None:
        if least < 0:
            raise ApplicationError("too few")


class Listening(InWorkflow):
    async def handle_signal(self, input: HandleSignalInput) -> None:
        SEEN.append(f"signal {input.signal} {list(input.args)} for {user_of(input.headers)}")
        if input.signal == "heed":
            input.signal = "hear"
        await super().handle_signal(replace(input, args=[f"{arg}!" for arg in input.args]))

    async def handle_query(self, input: HandleQueryInput) -> Any:
        return f"{await super().handle_query(input)} as {user_of(input.headers)} asked"

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        SEEN.append(f"validates {input.id}")
        super().handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        SEEN.append(f"updates {input.id} for {user_of(input.headers)}")
        return 100 + await super().handle_update_handler(input)


class ListeningOut(OutOfClient):
    async def signal_workflow(self, input: client.SignalWorkflowInput) -> None:
        input.headers = {USER: convert.to_payload("signaller")}
        await super().signal_workflow(input)

    async def query_workflow(self, input: client.QueryWorkflowInput) -> Any:
        input.headers = {USER: convert.to_payload("asker")}
        return await super().query_workflow(input)

    async def start_workflow_update(
        self, input: client.StartWorkflowUpdateInput
    ) -> client.WorkflowUpdateHandle[Any]:
        input.headers = {USER: convert.to_payload("updater")}
        return await super().start_workflow_update(input)

    async def await_workflow_update(self, input: client.AwaitWorkflowUpdateInput) -> UpdateAnswer:
        SEEN.append(f"waits for {input.update_id}")
        return await super().await_workflow_update(input)


class Listeners(Everywhere):
    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:
        return ListeningOut(next)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        return Listening


async def test_messages_go_through(tmp_path: Path) -> None:
    SEEN.clear()
    user = await Client.connect(f"file:{tmp_path}", interceptors=[Listeners()])
    async with Worker(user, task_queue="q", workflows=[Talking, Counting]):
        handle = await user.start_workflow(Talking.run, id="w", task_queue="q")
        assert await handle.query(Talking.last, "nobody") == "nobody as asker asked"
        await handle.signal("hear", "one")
        assert await handle.execute_update(Talking.count, 1, id="u-1") == 101
        assert await handle.get_update_handle("u-1").result() == 101
        with pytest.raises(client.WorkflowUpdateFailedError):
            await handle.execute_update(Talking.count, -1, id="u-2")
        assert await handle.query(Talking.last, "nobody") == "one! as asker asked"
        await handle.signal(Talking.stop)
        assert await handle.result() == ["one!", ""]
    await user.close()

    assert [told for told in SEEN if "workflow" not in told] == [
        "signal hear ['one'] for signaller",
        "validates u-1",
        "updates u-1 for updater",
        "waits for u-1",
        "validates u-2",
        "signal stop [] for signaller",
    ]
