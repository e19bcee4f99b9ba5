"""What runs note down: kept with the run, weighed, and carried over to its successor."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from perdure_actors.core.decision import Limits, Rejection
from perdure_actors.core.execution import check_continued
from perdure_actors.core.markers import CHANGE_VERSION, check_facts
from perdure_actors.core.state import Facts
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.events import WorkflowContinuedAsNew, WorkflowFailed
from perdure_schemas.fact_events import (
    MarkerRecorded,
    MemoUpserted,
    RecordEmitted,
    SearchAttributesUpserted,
)
from perdure_schemas.payloads import Failure, FailureCause, Payload, Record, RetryPolicy
from tests.unit.core_world import CoreWorld

NONE = Payload(encoding="binary/null")
PATCHES = Payload(data=b'["fast"]', metadata={"type": b"KeywordList"})


def text(value: str) -> Payload:
    return Payload(data=f'"{value}"'.encode())


def test_a_run_has_what_it_was_started_with_until_it_changes_it() -> None:
    world = CoreWorld()
    run = world.start(memo={"a": text("1")}, search_attributes={"City": text("Bern")})

    assert run.facts is None
    assert run.memo == {"a": text("1")}
    assert run.search_attributes == {"City": text("Bern")}


def test_upserts_replace_by_name_and_none_removes() -> None:
    world = CoreWorld()
    run = world.start(
        memo={"a": text("1"), "b": text("2")}, search_attributes={"City": text("Bern")}
    )

    world.record("run-1", MemoUpserted(memo={"a": text("3"), "b": NONE, "c": text("4")}))
    world.record(
        "run-1", SearchAttributesUpserted(search_attributes={"City": NONE, "Stage": text("paid")})
    )

    assert run.facts == Facts({"a": text("3"), "c": text("4")}, {"Stage": text("paid")})
    assert run.started.memo == {"a": text("1"), "b": text("2")}
    world.check()


def test_a_patch_is_found_by_its_search_attribute_and_other_markers_are_not() -> None:
    world = CoreWorld()
    run = world.start()

    world.record("run-1", MarkerRecorded(kind="side_effect", name="1", value=text("x")))
    assert run.facts is None
    world.record("run-1", MarkerRecorded(kind="patch", name="fast"))
    assert run.search_attributes == {CHANGE_VERSION: PATCHES}
    world.record("run-1", MarkerRecorded(kind="patch", name="safe", deprecated=True))

    assert run.search_attributes[CHANGE_VERSION].data == b'["fast","safe"]'
    world.check()


def test_a_retried_run_begins_with_the_facts_but_without_the_patches() -> None:
    world = CoreWorld()
    world.start(memo={"a": text("1")}, retry_policy=RetryPolicy())
    world.record("run-1", MarkerRecorded(kind="patch", name="fast"))
    world.record("run-1", MemoUpserted(memo={"b": text("2")}))
    world.record("run-1", SearchAttributesUpserted(search_attributes={"Stage": text("paid")}))

    world.record("run-1", WorkflowFailed(failure=Failure(chain=[FailureCause(message="boom")])))

    follows = world.actors["wf"].next_start
    assert follows is not None
    assert follows.memo == {"a": text("1"), "b": text("2")}
    assert follows.search_attributes == {"Stage": text("paid")}
    world.check()


@pytest.mark.parametrize(
    ("given", "memo"),
    [({}, {"a": text("1"), "b": text("2")}), ({"c": text("3")}, {"c": text("3")})],
)
def test_a_continued_run_begins_with_the_facts_unless_given_others(
    given: dict[str, Payload], memo: dict[str, Payload]
) -> None:
    world = CoreWorld()
    world.start(memo={"a": text("1")})
    world.record("run-1", MemoUpserted(memo={"b": text("2")}))
    world.record("run-1", SearchAttributesUpserted(search_attributes={"Stage": text("paid")}))

    world.record("run-1", WorkflowContinuedAsNew(workflow_type="Order", memo=given))

    follows = world.actors["wf"].next_start
    assert follows is not None
    assert follows.memo == memo
    assert follows.search_attributes == {"Stage": text("paid")}


@pytest.mark.parametrize(
    ("limits", "output", "problem"),
    [
        (
            Limits(marker_bytes_max=2),
            MarkerRecorded(kind="side_effect", name="1", value=text("x"), call_site="f.py:1"),
            "a side effect gave 3 bytes; 2 is the most (f.py:1)",
        ),
        (
            Limits(memo_bytes_max=7),
            MemoUpserted(memo={"b": text("2")}, call_site="f.py:1"),
            "the memo has 8 bytes; 7 is the most: keep references there (f.py:1)",
        ),
        (
            Limits(attribute_bytes_max=3),
            SearchAttributesUpserted(search_attributes={"b": text("2")}, call_site="f.py:1"),
            "the search attributes have 4 bytes; 3 is the most: keep references there (f.py:1)",
        ),
        (
            Limits(emit_bytes_max=3),
            RecordEmitted(topic="t", key=b"12", value=b"34", call_site="f.py:1"),
            "it emits 4 bytes in a record; 3 is the most (f.py:1)",
        ),
        (
            Limits(activation_bytes_max=3),
            RecordEmitted(topic="t", key=b"12", value=b"34", call_site="f.py:1"),
            "over 3 bytes are emitted at once (f.py:1)",
        ),
    ],
)
def test_what_is_noted_is_weighed(limits: Limits, output: Record, problem: str) -> None:
    world = CoreWorld(limits=limits)
    run = world.start(memo={"a": text("1")})

    assert check_facts(world, run, [output]) == problem
    assert check_facts(CoreWorld(), run, [output]) == ""


def test_what_a_run_begins_with_is_weighed_too() -> None:
    world = CoreWorld(limits=Limits(memo_bytes_max=4, attribute_bytes_max=6))
    start = StartWorkflow(workflow_id="wf", workflow_type="Order")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"memo": {"a": text("12")}}, "the memo has 5 bytes; 4 is the most: keep references there"),
        (
            {"search_attributes": {"City": text("Bern")}},
            "the search attributes have 10 bytes; 6 is the most: keep references there",
        ),
    ]
    for fields, said in cases:
        verdict = world.decide(replace(start, **fields))
        assert isinstance(verdict, Rejection)
        assert (verdict.code, verdict.message) == ("invalid", said)

        next_run = WorkflowContinuedAsNew(workflow_type="Order", call_site="f.py:1", **fields)
        run = CoreWorld().start()
        assert check_continued(world, run, [next_run]) == f"{said} (f.py:1)"
