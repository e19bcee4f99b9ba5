"""Plugins of clients, workers, replayers and environments: order, chain and faults."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from perdure import activity, client, worker, workflow
from perdure.client import Client, ClientConfig, OutboundInterceptor, WorkflowHistory
from perdure.converter import DataConverter, DefaultPayloadConverter
from perdure.exceptions import ApplicationError
from perdure.plugin import SimplePlugin
from perdure.testing import WorkflowEnvironment
from perdure.worker import Replayer, Worker, WorkerConfig
from perdure.worker.workflow_sandbox import SandboxedWorkflowRunner

pytestmark = pytest.mark.timeout(60)


@activity.defn
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow.defn
class Greets:
    @workflow.run
    async def run(self, name: str) -> str:
        if name == "nobody":
            raise KeyError(name)
        if name == "assert":
            assert name == "other"
        return await workflow.execute_activity(
            greet, name, start_to_close_timeout=timedelta(seconds=30)
        )


class Noted(client.Plugin, worker.Plugin):
    """Both kinds, with everything that is asked of it noted down."""

    def __init__(self, label: str, notes: list[str]) -> None:
        self.label, self.notes = label, notes

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        self.notes.append(f"{self.label} client")
        return config

    async def connect_service_client(self, config: Any, following: Any) -> Any:
        self.notes.append(f"{self.label} connects")
        connected = await following(config)
        self.notes.append(f"{self.label} connected")
        return connected

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        self.notes.append(f"{self.label} worker")
        return config

    async def run_worker(self, worker: Any, following: Any) -> None:
        self.notes.append(f"{self.label} runs")
        await following(worker)
        self.notes.append(f"{self.label} ran")

    def configure_replayer(self, config: Any) -> Any:
        self.notes.append(f"{self.label} replayer")
        return config

    @asynccontextmanager
    async def run_replayer(
        self, replayer: Any, histories: AsyncIterator[WorkflowHistory], following: Any
    ) -> AsyncIterator[Any]:
        self.notes.append(f"{self.label} replays")
        async with following(replayer, histories) as results:
            yield results
        self.notes.append(f"{self.label} replayed")


async def test_the_first_plugin_is_asked_first_and_is_outermost(tmp_path: Path) -> None:
    notes: list[str] = []
    first, second = Noted("first", notes), Noted("second", notes)

    made = await Client.connect(f"file:{tmp_path}", plugins=[first, second])

    assert notes == [
        "first connects",
        "second connects",
        "second connected",
        "first connected",
        "first client",
        "second client",
    ]
    notes.clear()
    third = type("Third", (Noted,), {})("third", notes)
    works: Any = {"task_queue": "q", "workflows": [Greets], "activities": [greet]}
    async with Worker(made, **works, plugins=[third]):
        assert await made.execute_workflow(Greets.run, "you", id="w", task_queue="q") == "hello you"
        history = await made.get_workflow_handle("w").fetch_history()
    assert notes == [
        "first worker",
        "second worker",
        "third worker",
        "first runs",
        "second runs",
        "third runs",
        "third ran",
        "second ran",
        "first ran",
    ]
    notes.clear()
    replayer = Replayer(workflows=[Greets], plugins=[first, second])
    assert (await replayer.replay_workflow(history)).replay_failure is None
    assert notes == [
        "first replayer",
        "second replayer",
        "first replays",
        "second replays",
        "second replayed",
        "first replayed",
    ]
    await made.close()


class Starts(client.Interceptor, worker.Interceptor):
    """An interceptor of both kinds that counts what it is asked for."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.activities = 0

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        ids = self.ids

        class Link(OutboundInterceptor):
            async def start_workflow(self, input: Any) -> Any:
                ids.append(input.id)
                return await super().start_workflow(input)

        return Link(next)

    def intercept_activity(self, next: Any) -> Any:
        counter = self

        class Link(worker.ActivityInboundInterceptor):
            async def execute_activity(self, input: Any) -> Any:
                counter.activities += 1
                return await super().execute_activity(input)

        return Link(next)


class Shouting(DefaultPayloadConverter):
    """A converter that is told apart from the default one."""


def shouting(converter: DataConverter | None) -> DataConverter:
    assert converter is not None
    return dataclasses.replace(converter, payload_converter_class=Shouting)


async def test_a_simple_plugin_brings_all_it_was_told_to() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def context() -> AsyncIterator[None]:
        events.append("in")
        yield
        events.append("out")

    runners: list[Any] = []

    def runner(found: Any) -> Any:
        runners.append(found)
        return dataclasses.replace(
            found, restrictions=found.restrictions.with_passthrough_modules("shop")
        )

    starts = Starts()
    plugin = SimplePlugin(
        "shop.greeter",
        data_converter=shouting,
        interceptors=[starts],
        activities=[greet],
        workflows=lambda there: [*(there or ()), Greets],
        workflow_runner=runner,
        workflow_failure_exception_types=[KeyError],
        run_context=context,
    )
    async with await WorkflowEnvironment.start_time_skipping(plugins=[plugin]) as env:
        assert env.client.data_converter.payload_converter_class is Shouting
        assert env.client.config()["data_converter"] is DataConverter.default
        made = Worker(env.client, task_queue="q")
        config = made.config(active_config=True)
        assert (made.config()["workflows"], list(config["workflows"])) == ((), [Greets])
        assert config["workflow_runner"].restrictions.passthrough_modules == {"shop"}
        async with made:
            said = await env.client.execute_workflow(Greets.run, "you", id="w", task_queue="q")
            with pytest.raises(client.WorkflowFailureError) as failed:
                await env.client.execute_workflow(Greets.run, "nobody", id="n", task_queue="q")
            history = await env.client.get_workflow_handle("w").fetch_history()
    assert said == "hello you"
    assert isinstance(failed.value.cause, ApplicationError)
    assert (starts.ids, starts.activities, events) == (["w", "n"], 1, ["in", "out"])
    assert isinstance(runners[0], SandboxedWorkflowRunner)
    assert plugin.name() == "shop.greeter"

    result = await Replayer(workflows=[], plugins=[plugin]).replay_workflow(history)

    assert (result.replay_failure, events) == (None, ["in", "out"] * 2)


class Faulty(SimplePlugin):
    """A plugin that does wrong what it is told to do wrong."""

    def __init__(self, fault: str) -> None:
        super().__init__("faulty")
        self.fault = fault

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        config = super().configure_worker(config)
        if self.fault == "config":
            return None  # type: ignore[return-value]
        if self.fault == "less":
            del config["plugin_shutdown_timeout"], config["identity"]
        return config

    async def run_worker(self, worker: Any, next: Any) -> None:
        if self.fault == "before":
            raise RuntimeError("before it ran")
        if self.fault == "skips":
            return
        await next(worker)
        if self.fault == "after":
            raise RuntimeError("after it ran")
        if self.fault == "twice":
            await next(worker)
        if self.fault == "endless":
            await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("config", "configure_worker of the plugin faulty returned None"),
        ("before", "before it ran"),
        ("after", "after it ran"),
        ("twice", "ran a worker twice"),
        ("skips", r"\(faulty\) returned from run_worker without awaiting next"),
        ("endless", "plugins took longer than 0:00:00 to end"),
    ],
)
async def test_what_a_plugin_does_wrong_comes_out_of_the_worker(fault: str, message: str) -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env:
        with pytest.raises((RuntimeError, TypeError, TimeoutError), match=message):  # noqa: PT012
            async with Worker(
                env.client,
                task_queue="q",
                workflows=[Greets],
                activities=[greet],
                plugins=[Faulty(fault)],
                plugin_shutdown_timeout=timedelta(),
            ):
                said = await env.client.execute_workflow(Greets.run, "you", id="w", task_queue="q")
                assert said == "hello you"
        # Nothing is lost by it: another worker goes on.
        plugins = [Faulty("less")]
        async with Worker(
            env.client, task_queue="q", workflows=[Greets], activities=[greet], plugins=plugins
        ):
            again = await env.client.execute_workflow(Greets.run, "me", id="x", task_queue="q")
    assert again == "hello me"


async def test_what_is_no_plugin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"is no perdure\.client\.Plugin"):
        await Client.connect(f"file:{tmp_path}", plugins=[object()])  # type: ignore[list-item]
    async with await WorkflowEnvironment.start_time_skipping() as env:
        with pytest.raises(TypeError, match=r"is no perdure\.worker\.Plugin"):
            Worker(env.client, task_queue="q", workflows=[Greets], plugins=cast("Any", [object()]))
        nexus = SimplePlugin("nexus", nexus_service_handlers=[object()])
        with pytest.raises(TypeError, match="there is no Nexus here"):
            Worker(env.client, task_queue="q", workflows=[Greets], plugins=[nexus])


async def test_a_plugin_of_client_and_worker_both_is_warned_of() -> None:
    plugin = SimplePlugin("twice")
    async with await WorkflowEnvironment.start_time_skipping(plugins=[plugin]) as env:
        with pytest.warns(UserWarning, match="it runs twice"):
            Worker(env.client, task_queue="q", workflows=[Greets], plugins=[SimplePlugin("again")])


async def test_an_assert_in_workflow_code_fails_the_run_of_a_test() -> None:
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        Worker(env.client, task_queue="q", workflows=[Greets], activities=[greet]),
    ):
        with pytest.raises(client.WorkflowFailureError) as failed:
            await env.client.execute_workflow(Greets.run, "assert", id="w", task_queue="q")
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "AssertionError"


async def test_a_worker_takes_no_remote_activities_when_told_so() -> None:
    async with (
        await WorkflowEnvironment.start_local() as env,
        Worker(
            env.client,
            task_queue="q",
            workflows=[Greets],
            activities=[greet],
            no_remote_activities=True,
            use_worker_versioning=False,  # type: ignore[call-arg]
            deployment_config=None,
            nexus_service_handlers=[],
            max_eager_activity_reservations_per_workflow_task=3,
        ),
    ):
        handle = await env.client.start_workflow(Greets.run, "you", id="w", task_queue="q")
        await asyncio.wait_for(handle.query("__temporal_workflow_metadata"), 20)
        described = await handle.describe()
        assert described.status == client.WorkflowExecutionStatus.RUNNING
        others = await env.connect_client(lazy=True, tls=False, identity="me")
        async with Worker(others, task_queue="q", activities=[greet]):
            assert await handle.result() == "hello you"
