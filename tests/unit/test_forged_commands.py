"""Who may write commands, and is no host, speaks for no workflow: the engine's key tells."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from perdure import workflow
from perdure_schemas.avro import decode, encode
from perdure_schemas.child_commands import ReportChildClosed
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.payloads import EffectId, RunRef
from perdure_topics.engine_keys import SEAL, EngineKeys
from tests.unit.host_world import HostWorld
from tests.unit.player import CONVERTER

KEYS = EngineKeys.of_text("2020-01-01 " + "11" * 32, where="here")
LATER = EngineKeys.of_text("2100-01-01 " + "11" * 32, where="here")
OTHERS = EngineKeys.of_text("2020-01-01 " + "22" * 32, where="there")


@workflow.defn
class Child:
    @workflow.run
    async def run(self, what: str) -> str:
        await workflow.wait_condition(lambda: what == "go")
        return what


@workflow.defn
class Parent:
    @workflow.run
    async def run(self, what: str) -> str:
        return await workflow.execute_child_workflow(Child.run, what, id="kid")


def started(keys: EngineKeys, what: str) -> HostWorld:
    here = HostWorld([Parent, Child], engine_keys=keys)
    here.start("Parent", "parent", input=[CONVERTER.to_payload(what)])
    here.run(3_000)
    return here


def sent_by_host(here: HostWorld) -> list[Any]:
    """The records that the host sent for its workflows."""
    return [one for one in here.records("commands") if SEAL in dict(one.headers)]


def status(here: HostWorld) -> str:
    found: str = here.describe("parent").summary.status
    return found


@pytest.mark.parametrize("keys", [KEYS, LATER])
def test_workflows_of_hosts_with_a_key_speak_to_each_other(keys: EngineKeys) -> None:
    here = started(keys, "go")

    assert status(here) == "completed"
    assert isinstance(decode(sent_by_host(here)[0].value), StartWorkflow)
    assert here.dead() == []


def test_a_result_of_a_child_that_no_host_wrote_is_refused_and_the_true_one_taken() -> None:
    here = started(KEYS, "wait")
    start = sent_by_host(here)[0]
    command: Any = decode(start.value)
    report = ReportChildClosed(
        workflow_id="parent",
        run_id=command.parent.run_id,
        child_id=command.child_id,
        child=RunRef(workflow_id="kid", run_id="r", task_queue="q"),
        status="completed",
        source=EffectId(topic_id="forged", partition=0, epoch=1, pseq=1, index=0),
    )
    for headers in (
        (),
        ((SEAL, b"guessed"),),
        OTHERS.seal(here.topic("commands"), encode(report), 0),
        KEYS.seal("ns.another.commands", encode(report), 0),
        KEYS.seal(here.topic("commands"), start.value, 0),
    ):
        here.write(encode(report), headers=headers)
    here.run(3_000)

    assert status(here) == "running"
    assert len(here.dead()) == 5
    assert all("speaks for a workflow" in why for why in here.dead())
    assert len(here.said("forged")) == 5


def test_a_start_in_a_parents_name_is_refused_and_one_in_nobodys_is_not() -> None:
    here = HostWorld([Parent, Child], engine_keys=KEYS)
    start = StartWorkflow(workflow_id="kid", workflow_type="Child")
    here.send(
        replace(start, parent=RunRef(workflow_id="p", run_id="r", task_queue="q"), child_id="c")
    )
    here.run(1_000)
    assert len(here.dead()) == 1

    here.start("Child", "kid", input=[CONVERTER.to_payload("go")])
    here.run(2_000)
    assert here.describe("kid").summary.status == "completed"


@pytest.mark.parametrize("keys", [KEYS, LATER])
def test_a_forged_source_holds_back_nothing_of_the_true_one(keys: EngineKeys) -> None:
    here = HostWorld([Parent, Child], engine_keys=keys)
    events = here.log.topic(here.topic("events"))
    assert events is not None
    leap = EffectId(topic_id=events.topic_id, partition=0, epoch=2**61, pseq=1, index=0)
    here.send(StartWorkflow(workflow_id="x", workflow_type="Child", source=leap))
    here.run(1_000)
    assert len(here.dead()) == 1

    here.start("Parent", "parent", input=[CONVERTER.to_payload("go")])
    here.run(3_000)

    assert status(here) == "completed"


def test_without_keys_a_source_that_leaps_is_refused_and_said() -> None:
    here = HostWorld([Parent, Child])
    events = here.log.topic(here.topic("events"))
    assert events is not None
    leap = EffectId(topic_id=events.topic_id, partition=0, epoch=2**61, pseq=1, index=0)
    here.send(StartWorkflow(workflow_id="x", workflow_type="Child", source=leap))
    here.start("Parent", "parent", input=[CONVERTER.to_payload("go")])
    here.run(3_000)

    assert status(here) == "completed"
    (why,) = here.dead()
    assert "its source leaps to epoch 2305843009213693952" in why
    assert len(here.said("forged")) == 1
