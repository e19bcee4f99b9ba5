"""What clients, workers and replayers were made with, and making others of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from perdure import activity, workflow
from perdure.client import Client, ClientConfig, Interceptor, OutboundInterceptor
from perdure.converter import DataConverter
from perdure.exceptions import ApplicationError
from perdure.worker import Replayer, Worker


@activity.defn
async def shout(text: str) -> str:
    return text.upper()


@workflow.defn(failure_exception_types=[KeyError])
class Shouts:
    @workflow.run
    async def run(self, text: str) -> list[bool]:
        errors = [ApplicationError("x"), KeyError("x"), ValueError("x")]
        groups = [ExceptionGroup("all", errors[:2]), ExceptionGroup("all", errors)]
        said = await workflow.execute_activity(
            shout, text, start_to_close_timeout=timedelta(seconds=30)
        )
        assert said == "HELLO"
        return [workflow.is_failure_exception(one) for one in [*errors, *groups]]


class Names(Interceptor):
    def __init__(self) -> None:
        self.started: list[str] = []

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        names = self.started

        class Link(OutboundInterceptor):
            async def start_workflow(self, input: Any) -> Any:
                names.append(input.id)
                return await super().start_workflow(input)

        return Link(next)


async def test_a_client_a_worker_and_a_replayer_are_made_of_what_another_was(
    tmp_path: Path,
) -> None:
    first = await Client.connect(f"file:{tmp_path}")
    names = Names()
    config: ClientConfig = first.config()
    config["interceptors"] = [names]
    client = Client(**config)
    worker = Worker(
        first,
        task_queue="q",
        workflows=[Shouts],
        activities=[shout],
        max_concurrent_activities=7,
        nonsticky_to_sticky_poll_ratio=0.5,
    )
    given = worker.config()
    assert (given["max_concurrent_activities"], given["task_queue"]) == (7, "q")
    assert given["nonsticky_to_sticky_poll_ratio"] == 0.5
    given["client"] = client

    async with Worker(**given):
        result = await client.execute_workflow(Shouts.run, "hello", id="w", task_queue="q")
        history = await client.get_workflow_handle("w").fetch_history()

    assert result == [True, True, False, True, False]
    assert names.started == ["w"]
    assert first.config()["data_converter"] is DataConverter.default
    replayer = Replayer(**Replayer(workflows=[Shouts], build_id="b").config())
    assert replayer.config()["build_id"] == "b"
    assert (await replayer.replay_workflow(history)).replay_failure is None
    await first.close()
