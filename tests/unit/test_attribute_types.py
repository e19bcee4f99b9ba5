"""A search attribute has one type among the runs of a host, whoever gives it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perdure import workflow
from perdure.client import (
    Client,
    RPCError,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowFailureError,
)
from perdure.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from perdure.exceptions import ChildWorkflowError
from perdure.worker import Worker
from perdure_actors.core.decision import Decision, Rejection
from perdure_actors.core.rules import FITS
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.events import WorkflowContinuedAsNew
from perdure_schemas.fact_events import SearchAttributesUpserted
from perdure_schemas.payloads import Payload
from tests.unit.core_world import CoreWorld

QUEUE = "q"
COUNT = SearchAttributeKey.for_int("Twin")
WORD = SearchAttributeKey.for_keyword("Twin")
NONE = Payload(encoding="binary/null")
SAID = "search attribute 'Twin' is of type Int on task queue 'q', and is given as Keyword"


def payload(data: bytes, said: bytes = b"") -> Payload:
    return Payload(data=data, metadata={"type": said} if said else {})


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        (payload(b"1", b"Int"), payload(b"2", b"Int"), True),
        (payload(b"1", b"Int"), payload(b"2.5", b"Double"), False),
        (payload(b"1", b"Int"), payload(b"2.5"), True),
        (payload(b"1"), payload(b"2.5", b"Double"), True),
        (payload(b"1"), payload(b'"a"'), False),
        (payload(b'"a"', b"Text"), payload(b'["a"]'), True),
        (payload(b'"a"', b"Text"), payload(b'"a"', b"Keyword"), False),
        (payload(b"true"), payload(b"true", b"Bool"), True),
        (payload(b"1", b"Int"), NONE, True),
        # What cannot be read has no type, so it stands in nobody's way.
        (payload(b"\xff"), payload(b"1", b"Int"), True),
    ],
)
def test_a_start_by_any_producer_keeps_to_the_type(
    first: Payload, second: Payload, fits: bool
) -> None:
    world = CoreWorld()
    world.start(search_attributes={"Twin": first})

    start = StartWorkflow(
        workflow_id="other", workflow_type="Order", search_attributes={"Twin": second}
    )
    verdict = world.decide(start)

    assert isinstance(verdict, Decision if fits else Rejection)
    if isinstance(verdict, Rejection):
        assert verdict.code == "invalid"
        assert "search attribute 'Twin' is of type" in verdict.message
        assert "'Twin IS NOT NULL' finds the runs that have it" in verdict.message


def test_what_code_asks_for_keeps_to_the_type_too() -> None:
    world = CoreWorld()
    run = world.start(search_attributes={"Twin": payload(b"1", b"Int")})
    word = {"Twin": payload(b'"a"', b"Keyword")}

    for output in (
        SearchAttributesUpserted(search_attributes=word, call_site="a.py:7"),
        WorkflowContinuedAsNew(workflow_type="", search_attributes=word, call_site="a.py:7"),
    ):
        (problem,) = [check(world, run, [output]) for check in FITS]
        assert "given as Keyword" in problem
        assert problem.endswith("(a.py:7)")
    removed = SearchAttributesUpserted(search_attributes={"Twin": NONE})
    assert not any(check(world, run, [removed]) for check in FITS)


@workflow.defn
class Plain:
    @workflow.run
    async def run(self) -> None:
        pass


@workflow.defn
class Noting:
    @workflow.run
    async def run(self) -> None:
        workflow.upsert_search_attributes([WORD.value_set("a")])
        workflow.upsert_search_attributes([WORD.value_unset()])


@workflow.defn
class Parent:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_child_workflow(
            Plain.run, id="child", search_attributes=given(WORD, "a")
        )


def given(key: SearchAttributeKey[Any], value: Any) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(key, value)])


async def start(client: Client, fn: Any, **options: Any) -> Any:
    return await client.start_workflow(fn, id=fn.__qualname__, task_queue=QUEUE, **options)


async def until(look: Callable[[], Awaitable[Any]], is_so: Callable[[Any], Any]) -> Any:
    """What is seen once it is so; each look waits for the host's answer."""
    while not is_so(seen := await look()):
        continue
    return seen


@pytest.mark.embedded
async def test_host_refuses_a_second_type_over_partitions_and_restarts(tmp_path: Path) -> None:
    target = f"file:{tmp_path}"
    async with asyncio.timeout(60):
        client = await Client.connect(target)
        async with Worker(client, task_queue=QUEUE, workflows=[Plain]):
            done = await start(client, Plain.run, search_attributes=given(COUNT, 1))
            await done.result()
            shown = (await done.describe()).typed_search_attributes
            assert shown[COUNT] == 1
            assert repr(shown) == "TypedSearchAttributes(Twin=1)"
            assert replace(shown, search_attributes=[]) == TypedSearchAttributes.empty
        await client.close()

        # Another client knows of nothing; the host reads it from its table.
        client = await Client.connect(target)
        async with Worker(client, task_queue=QUEUE, workflows=[Plain, Noting, Parent]):
            # Each partition answers once it is owned: before its table is open nobody can know.
            await client.describe_task_queue(QUEUE)
            for workflow_id in ("a", "b", "c"):
                with pytest.raises(RPCError, match=SAID):
                    await client.start_workflow(
                        "Plain",
                        id=workflow_id,
                        task_queue=QUEUE,
                        search_attributes=given(WORD, "a"),
                    )
            parent = await start(client, Parent.run)
            with pytest.raises(WorkflowFailureError) as failed:
                await parent.result()
            assert isinstance(failed.value.cause, ChildWorkflowError)
            assert SAID in str(failed.value)

            noting = await start(client, Noting.run)
            stuck = await until(noting.describe, lambda shown: shown.block)
            assert SAID in stuck.block.message
            assert "test_attribute_types.py" in stuck.block.message

            action = ScheduleActionStartWorkflow(
                Plain.run,
                id="made",
                task_queue=QUEUE,
                typed_search_attributes=given(WORD, "a"),
            )
            schedule = await client.create_schedule(
                "s", Schedule(action=action, spec=ScheduleSpec(cron_expressions=["@yearly"]))
            )
            await schedule.trigger()
            acted = await until(schedule.describe, lambda shown: shown.info.recent_actions)
            assert SAID in acted.info.recent_actions[0].reason
        await client.close()
