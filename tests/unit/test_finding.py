"""Finding runs with real workers on the embedded log: a caller reads its own writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from perdure import workflow
from perdure.client import Client, RPCError, RPCStatusCode
from perdure.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from perdure.worker import Worker

pytestmark = pytest.mark.embedded
CUSTOMER = SearchAttributeKey.for_keyword("Customer")
AMOUNT = SearchAttributeKey.for_int("Amount")
TAGS = SearchAttributeKey.for_keyword_list("Tags")
DUE = SearchAttributeKey.for_datetime("Due")


@workflow.defn
class Shipping:
    @workflow.run
    async def run(self, is_long: bool) -> None:
        workflow.upsert_search_attributes([TAGS.value_set(["shipped", "paid"])])
        if is_long:
            await asyncio.sleep(3600)


@workflow.defn
class Broken:
    @workflow.run
    async def run(self) -> None:
        raise KeyError("x")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path}")
    async with Worker(client, task_queue="q", workflows=[Shipping, Broken]):
        yield client
    await client.close()


def attributes(number: int) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(CUSTOMER, f"c-{number % 2}"),
            SearchAttributePair(AMOUNT, number),
            SearchAttributePair(DUE, datetime(2026, 1, 1 + number, tzinfo=UTC)),
        ]
    )


async def found(client: Client, query: str) -> list[str]:
    return [run.id async for run in client.list_workflows(query)]


async def test_runs_are_found_by_what_they_are_and_what_they_say(client: Client) -> None:
    for number in range(6):
        await client.start_workflow(
            Shipping.run,
            number > 3,
            id=f"s-{number}",
            task_queue="q",
            search_attributes=attributes(number),
        )
    for number in range(4):
        await client.get_workflow_handle(f"s-{number}", task_queue="q").result()
    await client.start_workflow(Broken.run, id="broken", task_queue="q")
    async with asyncio.timeout(20):
        while await found(client, "ExecutionStatus = 'Blocked'") != ["broken"]:
            pass

    # Runs that began in the same millisecond stand in any order.
    paid = await found(client, "Tags = 'paid' AND ExecutionStatus = 'Completed'")
    assert sorted(paid) == ["s-0", "s-1", "s-2", "s-3"]
    assert await found(client, "Customer = 'c-1' AND ExecutionStatus = 'Running'") == ["s-5"]
    some = await found(client, "Amount BETWEEN 1 AND 2 OR WorkflowType = 'Broken'")
    assert sorted(some) == ["broken", "s-1", "s-2"]
    assert await found(client, "Due < '2026-01-02' OR Due >= '2026-01-06'") == ["s-5", "s-0"]
    assert await found(client, "Customer IS NOT NULL ORDER BY Amount") == [
        f"s-{number}" for number in range(6)
    ]
    assert await found(client, "WorkflowId STARTS_WITH 'bro'") == ["broken"]
    counted = await client.count_workflows("GROUP BY ExecutionStatus")
    assert counted.count == 7
    assert {tuple(group.group_values): group.count for group in counted.groups} == {
        ("Completed",): 4,
        ("Running",): 2,
        ("Blocked",): 1,
    }
    assert (await client.count_workflows("Tags = 'paid'")).count == 6
    described = await client.describe_task_queue("q")
    assert sum(part.open_runs for part in described) == 3
    assert sum(part.blocked_runs for part in described) == 1


async def test_a_start_and_a_cancel_are_found_at_once(client: Client) -> None:
    for number in range(20):
        handle = await client.start_workflow(
            Shipping.run,
            True,
            id=f"s-{number}",
            task_queue="q",
            search_attributes=attributes(number),
        )
        assert await found(client, f"Amount = {number}") == [f"s-{number}"]
        await handle.terminate()
        assert await found(client, f"ExecutionStatus = 'Running' AND Amount = {number}") == []


async def test_a_wrong_filter_is_told_by_the_client(client: Client) -> None:
    with pytest.raises(RPCError, match="column 18: StartTime takes a time") as caught:
        await client.count_workflows("NOT (StartTime > 'yesterday')")

    assert caught.value.status == RPCStatusCode.INVALID_ARGUMENT
