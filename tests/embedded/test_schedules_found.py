"""Schedules as lists show them, behind interceptors, and through the codec of the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import workflow
from perdure.client import (
    Client,
    CreateScheduleInput,
    DeleteScheduleInput,
    DescribeScheduleInput,
    Interceptor,
    ListSchedulesInput,
    OutboundInterceptor,
    PauseScheduleInput,
    RPCError,
    RPCStatusCode,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAsyncIterator,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleListActionStartWorkflow,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
    StartWorkflowInput,
    TriggerScheduleInput,
    UpdateScheduleInput,
    WorkflowHandle,
)
from perdure.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from perdure.contrib.encryption import EncryptionCodec
from perdure.converter import DataConverter
from perdure.worker import Replayer, Worker
from perdure.workflow import _info as information

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(60)]
RARELY = ScheduleSpec(cron_expressions=["0 0 1 1 *"])
TEAM = SearchAttributeKey.for_keyword("Team")


@workflow.defn
class Waits:
    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.may_go)
        return "done"

    def __init__(self) -> None:
        self.may_go = False

    @workflow.signal
    def go(self) -> None:
        self.may_go = True


class Told(Interceptor):
    """Writes down which links are called, and of which schedule."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _Link(next, self.calls)


class _Link(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, calls: list[str]) -> None:
        super().__init__(next)
        self.calls = calls

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        self.calls.append(f"start {input.id}")
        return await super().start_workflow(input)

    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:
        self.calls.append(f"create {input.id}")
        return await super().create_schedule(input)

    def list_schedules(self, input: ListSchedulesInput) -> ScheduleAsyncIterator:
        self.calls.append(f"list {input.page_size}")
        return super().list_schedules(input)

    async def describe_schedule(self, input: DescribeScheduleInput) -> ScheduleDescription:
        self.calls.append(f"describe {input.id}")
        return await super().describe_schedule(input)

    async def pause_schedule(self, input: PauseScheduleInput) -> None:
        self.calls.append(f"pause {input.id}: {input.note}")
        await super().pause_schedule(input)

    async def trigger_schedule(self, input: TriggerScheduleInput) -> None:
        self.calls.append(f"trigger {input.id}")
        await super().trigger_schedule(input)

    async def update_schedule(self, input: UpdateScheduleInput) -> None:
        self.calls.append(f"update {input.id}")
        await super().update_schedule(input)

    async def delete_schedule(self, input: DeleteScheduleInput) -> None:
        self.calls.append(f"delete {input.id}")
        await super().delete_schedule(input)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def client(tmp_path: Path, told: Told) -> AsyncIterator[Client]:
    codec = EncryptionCodec({"k": bytes(32)})
    client = await Client.connect(
        f"file:{tmp_path}",
        interceptors=[told],
        data_converter=DataConverter(payload_codec=codec),
    )
    async with Worker(client, task_queue="q", workflows=[Waits]):
        yield client
    await client.close()


def waits(**facts: Any) -> Schedule:
    action = ScheduleActionStartWorkflow(Waits.run, id="waits", task_queue="q")
    return Schedule(**{"action": action, "spec": RARELY, **facts})


def team(name: str) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(TEAM, name)])


async def ids(client: Client, query: str | None = None, **options: Any) -> list[str]:
    return sorted([one.id async for one in await client.list_schedules(query, **options)])


async def test_lists_show_schedules_in_pages_and_runs_without_them(client: Client) -> None:
    await asyncio.gather(
        *(
            client.create_schedule(
                f"s{number}",
                waits(state=ScheduleState(paused=number > 2, note="later")),
                memo={"why": f"for {number}"},
                search_attributes=team("a" if number < 2 else "b"),
            )
            for number in range(5)
        )
    )
    await client.start_workflow(Waits.run, id="mine", task_queue="q")

    assert await ids(client, page_size=2) == ["s0", "s1", "s2", "s3", "s4"]
    assert await ids(client, "Team = 'a'") == ["s0", "s1"]
    assert await ids(client, "TemporalSchedulePaused = true") == ["s3", "s4"]
    assert await ids(client, "ScheduleId = 's2' OR Team = 'nobody'") == ["s2"]
    with pytest.raises(RPCError) as caught:
        await ids(client, "Team =")
    assert caught.value.status == RPCStatusCode.INVALID_ARGUMENT

    (one,) = [one async for one in await client.list_schedules("ScheduleId = 's3'")]
    assert one.schedule is not None
    assert one.info is not None
    assert one.schedule.action == ScheduleListActionStartWorkflow("Waits")
    assert (one.schedule.state.paused, one.schedule.state.note) == (True, "later")
    assert one.schedule.spec == RARELY
    assert one.info.next_action_times[0].month == 1
    assert await one.memo() == {"why": "for 3"}
    assert one.typed_search_attributes == team("b")

    assert [run.id async for run in client.list_workflows()] == ["mine"]
    assert (await client.count_workflows()).count == 1
    assert (await client.count_workflows("Team = 'a'")).count == 0
    assert (await client.count_workflows("ExecutionStatus = 'Running'")).count == 1
    asked = "WorkflowType = 'perdure.schedule'"
    assert len([run async for run in client.list_workflows(asked)]) == 5
    assert (await client.count_workflows(asked)).count == 5
    by_id = [run async for run in client.list_workflows("WorkflowId = 'perdure-schedule:s1'")]
    assert len(by_id) == 1


async def test_calls_go_through_the_links_of_schedules_and_no_others(
    client: Client, told: Told
) -> None:
    handle = await client.create_schedule("s", waits(), memo={"n": 1}, search_attributes=team("a"))
    found = await handle.describe()
    assert found.typed_search_attributes == team("a")
    assert found.search_attributes == {"Team": ["a"]}
    assert await found.memo_value("n", type_hint=int) == 1
    with pytest.raises(KeyError, match="no 'other'"):
        await found.memo_value("other")

    def other(given: ScheduleUpdateInput) -> ScheduleUpdate:
        return ScheduleUpdate(given.description.schedule, search_attributes=team("b"))

    await handle.update(other)
    assert (await handle.describe()).typed_search_attributes == team("b")
    assert await ids(client, "Team = 'b'") == ["s"]
    await handle.pause(note="so")
    await handle.trigger()
    await handle.delete()

    assert told.calls == [
        "create s",
        "describe s",
        "update s",
        "describe s",
        "list 1000",
        "pause s: so",
        "trigger s",
        "delete s",
    ]


async def test_what_a_schedule_started_is_found_by_it(client: Client) -> None:
    handle = await client.create_schedule("s", waits(), trigger_immediately=True)

    found = await handle.describe()
    while not found.info.recent_actions:
        found = await handle.describe()

    query = "TemporalScheduledById = 's' AND TemporalScheduledStartTime > '2026-01-01T00:00:00Z'"
    (run,) = [run async for run in client.list_workflows(query)]
    (action,) = found.info.running_actions
    assert run.id == getattr(action, "workflow_id", "")
    # A replayer of the user's workflows replays what schedules of theirs have done, too.
    history = await client.get_workflow_handle("perdure-schedule:s").fetch_history()
    replayer = Replayer(workflows=[Waits], data_converter=client.data_converter)
    assert (await replayer.replay_workflow(history)).replay_failure is None


async def test_an_action_that_runs_outlives_many_runs_of_its_schedule(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(information, "HISTORY_LENGTH_SUGGESTED_MAX", 20)
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(seconds=1))])
    state = ScheduleState(limited_actions=True, remaining_actions=2)
    policy = SchedulePolicy(ScheduleOverlapPolicy.SKIP)
    handle = await client.create_schedule("s", waits(spec=spec, policy=policy, state=state))

    found = await handle.describe()
    while not found.info.recent_actions:
        found = await handle.describe()
    (first,) = found.info.running_actions
    actor = client.get_workflow_handle("perdure-schedule:s", task_queue="q")
    begun = (await actor.describe()).run_id
    number = 0
    while (await actor.describe()).run_id == begun:
        # Each update is some events of the history; the action waits all the while.
        await handle.pause(note=str(number := number + 1))
        await handle.unpause(note="on")
    assert (await handle.describe()).info.running_actions == [first]
    waiting = client.get_workflow_handle(getattr(first, "workflow_id", ""), task_queue="q")

    await waiting.signal(Waits.go)

    assert await waiting.result() == "done"
    found = await handle.describe()
    while found.info.running_actions == [first]:
        found = await handle.describe()
    assert found.info.num_actions in (1, 2)
    description = await actor.describe()
    assert description.status is not None
    assert description.status.name == "RUNNING"
