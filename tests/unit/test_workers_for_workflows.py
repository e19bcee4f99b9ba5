"""What a worker has for the code of its workflows: functions, a say in patches, names to accept."""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.client import Client, WorkflowHistory
from perdure.testing import WorkflowEnvironment
from perdure.worker import (
    Interceptor,
    PatchActivationInput,
    PollerBehaviorAutoscaling,
    PollerBehaviorSimpleMaximum,
    Replayer,
    SharedStateManager,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

pytestmark = pytest.mark.embedded
A_MINUTE = timedelta(minutes=1)


@activity.defn
async def step(text: str) -> str:
    return text


@workflow.defn
class Plain:
    @workflow.run
    async def run(self) -> list[Any]:
        functions = workflow.extern_functions()
        return [sorted(functions), *(functions[name]() for name in sorted(functions))]


class Giving(Interceptor):
    """Gives a function; with a class of its own, or without one."""

    def __init__(self, name: str, *, intercepts: bool) -> None:
        self._name = name
        self._intercepts = intercepts

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        input.unsafe_extern_functions[self._name] = lambda: f"from {self._name}"
        return WorkflowInboundInterceptor if self._intercepts else None


async def run_and_history(
    client: Client, code: type, *, interceptors: Sequence[Interceptor] = (), **more: Any
) -> tuple[Any, WorkflowHistory]:
    async with Worker(
        client,
        task_queue="q",
        workflows=[code],
        activities=[step],
        interceptors=interceptors,
        **more,
    ):
        handle = await client.start_workflow(code.__name__, id="w", task_queue="q")
        return await handle.result(), await handle.fetch_history()


async def run(client: Client, code: type, **more: Any) -> Any:
    return (await run_and_history(client, code, **more))[0]


@pytest.mark.parametrize("intercepts", [False, True])
async def test_code_gets_the_functions_of_interceptors(intercepts: bool) -> None:
    given = [Giving("b", intercepts=intercepts), Giving("a", intercepts=False)]
    async with await WorkflowEnvironment.start_time_skipping() as env:
        found, history = await run_and_history(env.client, Plain, interceptors=given)

    assert found == [["a", "b"], "from a", "from b"]
    await Replayer(workflows=[Plain], interceptors=given).replay_workflow(history)


async def test_code_has_no_functions_where_nobody_gives_any() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env:
        assert await run(env.client, Plain) == [[]]


@workflow.defn
class Changing:
    @workflow.run
    async def run(self) -> list[Any]:
        found: list[Any] = []
        for _ in range(2):
            for patch in ("old", "new"):
                found.append(workflow.patched(patch))
            await workflow.execute_activity(step, "x", start_to_close_timeout=A_MINUTE)
        return found


async def test_a_worker_has_a_say_in_new_patches() -> None:
    asked: list[tuple[str, str]] = []

    def decides(input: PatchActivationInput) -> bool:
        asked.append((input.workflow_info.workflow_id, input.patch_id))
        return input.patch_id == "old"

    async with await WorkflowEnvironment.start_time_skipping() as env:
        found, history = await run_and_history(
            env.client, Changing, patch_activation_callback=decides
        )

    assert found == [True, False] * 2
    assert asked == [("w", "old"), ("w", "new")]
    # What was decided is in the history: nobody is asked again.
    await Replayer(workflows=[Changing]).replay_workflow(history)


@workflow.defn
class Chancy:
    @workflow.run
    async def run(self) -> list[Any]:
        told: list[int] = []
        workflow.register_random_seed_callback(told.append)
        unnamed = [workflow.new_random().random() for _ in range(2)]
        named = workflow.new_random("a")
        return [unnamed, named is workflow.new_random("a"), named.random(), told]


async def test_chance_without_a_name_begins_with_the_seed() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env:
        unnamed, is_kept, named, told = await run(env.client, Chancy)

    assert unnamed[0] == unnamed[1] != named
    assert is_kept
    assert told == []


@workflow.defn
class Grouped:
    @workflow.run
    async def run(self) -> str:
        group = workflow.create_event_group("g", label="a group")
        for wrong in ({"id": ""}, {"id": "g", "label": ""}):
            with pytest.raises(ValueError, match="event group"):
                workflow.create_event_group(**wrong)
        groups = [group]
        with group.scope():
            await workflow.sleep(1, event_groups=groups)
        await workflow.wait_condition(lambda: True, event_groups=groups)
        workflow.upsert_memo({"m": 1}, event_groups=groups)
        workflow.upsert_search_attributes([], event_groups=groups)
        assert workflow.patched("p", event_groups=groups)
        workflow.deprecate_patch("p", event_groups=groups)
        local = await workflow.execute_local_activity(
            step, "local", start_to_close_timeout=A_MINUTE, event_groups=groups
        )
        remote = await workflow.execute_activity(
            step, "remote", start_to_close_timeout=A_MINUTE, event_groups=groups
        )
        if workflow.info().continued_run_id is None:
            workflow.continue_as_new(event_groups=groups)
        return f"{local} {remote}"


async def test_groups_of_events_are_taken_everywhere() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env:
        assert await run(env.client, Grouped) == "local remote"


def test_what_pollers_and_pools_are_told_is_taken() -> None:
    assert PollerBehaviorSimpleMaximum().maximum == 5
    behavior = PollerBehaviorAutoscaling(maximum=7)
    assert (behavior.minimum, behavior.maximum, behavior.initial) == (1, 7, 5)


@pytest.mark.parametrize("has_executor", [False, True])
def test_a_shared_state_manager_carries_events_and_heartbeats(
    has_executor: bool,
) -> None:
    with multiprocessing.Manager() as manager, ThreadPoolExecutor(1) as executor:
        shared = SharedStateManager.create_from_multiprocessing(
            manager, executor if has_executor else None
        )
        event = shared.new_event()
        assert not event.is_set()
        event.set()
        assert event.wait(1)
        beats: queue.Queue[tuple[Any, ...]] = queue.Queue()
        sender = shared.register_heartbeater(b"t", lambda *details: beats.put(details))
        other = shared.register_heartbeater(b"u", lambda *details: beats.put(("u", *details)))
        other.send_heartbeat(b"nobody", 0)
        other.send_heartbeat(b"u", 2)
        sender.send_heartbeat(b"t", 1, "x")
        found = [beats.get(timeout=20), beats.get(timeout=20)]
        shared.unregister_heartbeater(b"t")
        shared.unregister_heartbeater(b"u")

    assert found == [("u", 2), (1, "x")]


async def test_a_worker_takes_them_and_works() -> None:
    behavior = PollerBehaviorAutoscaling()
    with multiprocessing.Manager() as manager:
        async with await WorkflowEnvironment.start_time_skipping() as env:
            found = await run(
                env.client,
                Plain,
                workflow_task_poller_behavior=PollerBehaviorSimpleMaximum(),
                activity_task_poller_behavior=behavior,
                shared_state_manager=SharedStateManager.create_from_multiprocessing(manager),
            )

    assert found == [[]]
