"""Who asks is known everywhere, and no signature says so (python -m examples.context.app).

A context variable is put into a header by the client, taken up in the workflow, handed on to
activities, and is a context variable again in their code.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from perdure import activity, client, worker, workflow
from perdure.api.common.v1 import Payload
from perdure.converter import PayloadConverter

USER: ContextVar[str] = ContextVar("user", default="nobody")
HEADER = "user"
QUEUE = "letters"
convert = PayloadConverter.default


def with_user(headers: Mapping[str, Payload]) -> Mapping[str, Payload]:
    return {**headers, HEADER: convert.to_payload(USER.get())}


def take_user(headers: Mapping[str, Payload]) -> None:
    if HEADER in headers:
        USER.set(convert.from_payload(headers[HEADER], str))


class FromClient(client.OutboundInterceptor):
    async def start_workflow(
        self, input: client.StartWorkflowInput
    ) -> client.WorkflowHandle[Any, Any]:
        input.headers = with_user(input.headers)
        return await super().start_workflow(input)


class IntoWorkflow(worker.WorkflowInboundInterceptor):
    def init(self, outbound: worker.WorkflowOutboundInterceptor) -> None:
        super().init(FromWorkflow(outbound))

    async def execute_workflow(self, input: worker.ExecuteWorkflowInput) -> Any:
        take_user(input.headers)
        return await super().execute_workflow(input)


class FromWorkflow(worker.WorkflowOutboundInterceptor):
    def start_activity(self, input: worker.StartActivityInput) -> workflow.ActivityHandle[Any]:
        input.headers = with_user(input.headers)
        return super().start_activity(input)


class IntoActivity(worker.ActivityInboundInterceptor):
    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:
        take_user(input.headers)
        return await super().execute_activity(input)


class UserContext(client.Interceptor, worker.Interceptor):
    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:
        return FromClient(next)

    def intercept_activity(
        self, next: worker.ActivityInboundInterceptor
    ) -> worker.ActivityInboundInterceptor:
        return IntoActivity(next)

    def workflow_interceptor_class(
        self, input: worker.WorkflowInterceptorClassInput
    ) -> type[IntoWorkflow]:
        return IntoWorkflow


@activity.defn
def sign(text: str) -> str:
    return f"{text}\n{USER.get()}"


@workflow.defn
class Letter:
    @workflow.run
    async def run(self, text: str) -> str:
        return await workflow.execute_activity(
            sign, text, start_to_close_timeout=timedelta(seconds=10)
        )


async def main(target: str) -> str:
    connected = await client.Client.connect(target, interceptors=[UserContext()])
    async with worker.Worker(connected, task_queue=QUEUE, workflows=[Letter], activities=[sign]):
        USER.set("Ada")
        letter = await connected.execute_workflow(
            Letter.run, "Dear Charles,", id="letter-1", task_queue=QUEUE
        )
    await connected.close()
    print(letter)
    return letter


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else f"file:{directory}"))
