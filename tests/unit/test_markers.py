"""Patches and side effects: what runs note, and how changed code fits old histories."""

from __future__ import annotations

import contextlib
import os
from typing import Any, cast

import pytest

from perdure import workflow
from perdure.common import SearchAttributeKey
from perdure.workflow import ReadOnlyContextError
from perdure_actors.core.markers import CHANGE_VERSION
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.fact_events import (
    MarkerRecorded,
    MemoUpserted,
    RecordEmitted,
    SearchAttributesUpserted,
)
from perdure_schemas.payloads import Payload
from perdure_topics.names import TOPICS, TopicRow, topic_name
from tests.histories.workflows import step
from tests.unit.player import CONVERTER, Player, kinds, result_of

AMOUNT = SearchAttributeKey.for_int("Amount")


@workflow.defn(name="Steps")
class Original:
    @workflow.run
    async def run(self) -> list[str]:
        return [await step("first"), await step("second")]


@workflow.defn(name="Steps")
class Patched:
    @workflow.run
    async def run(self) -> list[Any]:
        one = await step("first")
        if workflow.patched("check"):
            one += await step("check")
        return [one, await step("second"), workflow.patched("check")]


@workflow.defn(name="Steps")
class Deprecating:
    @workflow.run
    async def run(self) -> list[Any]:
        one = await step("first")
        workflow.deprecate_patch("check")
        one += await step("check")
        return [one, await step("second"), workflow.patched("check")]


@workflow.defn(name="Steps")
class Cleaned:
    @workflow.run
    async def run(self) -> list[Any]:
        one = await step("first") + await step("check")
        return [one, await step("second"), True]


def played(kind: type) -> Player:
    player = Player(kind)
    player.complete("1", "a")
    return player


def test_a_new_run_takes_the_patch_and_says_so_once() -> None:
    player = played(Patched)

    marker = player.outputs[0]
    assert isinstance(marker, MarkerRecorded)
    assert (marker.kind, marker.name, marker.deprecated) == ("patch", "check", False)
    assert "test_markers.py" in marker.call_site
    player.complete("2", "b")
    end = player.complete("3", "c")

    assert result_of(end[0]) == ["ab", "c", True]
    assert kinds(end) == ["WorkflowCompleted"]
    player.check()


def test_a_run_that_was_there_before_keeps_to_the_old_code_for_ever() -> None:
    old = played(Original)

    run = old.replayed(Patched)
    (end,) = run.advance(_completed("2", "c"), seq=old.seq, time_ms=old.time_ms)

    assert result_of(end) == ["a", "c", False]


def test_a_run_that_has_not_come_to_the_patch_takes_it() -> None:
    old = Player(Original)

    run = old.replayed(Patched)
    outputs = run.advance(_completed("1", "a"), seq=old.seq, time_ms=old.time_ms)

    assert kinds(outputs) == ["MarkerRecorded", "ActivityScheduled"]


def _completed(activity_id: str, value: str) -> Any:
    from perdure_schemas.events import ActivityCompleted

    return ActivityCompleted(activity_id=activity_id, attempt=1, result=CONVERTER.to_payload(value))


@pytest.mark.parametrize("then", [Patched, Deprecating])
def test_deprecating_fits_runs_with_the_patch(then: type) -> None:
    player = played(Patched)
    player.complete("2", "b")

    run = player.replayed(then)
    (end,) = run.advance(_completed("3", "c"), seq=player.seq, time_ms=player.time_ms)

    assert result_of(end) == ["ab", "c", True]


@pytest.mark.parametrize("then", [Patched, Deprecating, Cleaned])
def test_a_deprecated_patch_fits_code_with_it_and_without_it(then: type) -> None:
    player = played(Deprecating)
    marker = player.outputs[0]
    assert isinstance(marker, MarkerRecorded)
    assert marker.deprecated
    player.complete("2", "b")

    run = player.replayed(then)
    (end,) = run.advance(_completed("3", "c"), seq=player.seq, time_ms=player.time_ms)

    assert result_of(end) == ["ab", "c", True]


def test_a_patch_that_is_removed_too_early_is_named_with_the_remedy() -> None:
    player = played(Patched)

    with pytest.raises(BlockedError, match="removed too early, or moved") as raised:
        player.replayed(Cleaned)

    assert raised.value.cause == "nondeterminism"
    assert raised.value.recorded.startswith("patch 'check' at ")
    assert "Put workflow.patched('check') back" in raised.value.message
    assert f"{CHANGE_VERSION} = 'check'" in raised.value.message


def test_another_mismatch_says_nothing_of_patches() -> None:
    player = played(Deprecating)

    with pytest.raises(BlockedError, match="Restore the order and the names of its steps"):
        player.replayed(Original)


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_a_patch_needs_a_name_of_some_length(name: str) -> None:
    @workflow.defn
    class Nameless:
        @workflow.run
        async def run(self) -> None:
            workflow.patched(name)

    with pytest.raises(BlockedError, match="a patch needs a name of 1 to 200 characters"):
        Player(Nameless)


calls: list[str] = []


@workflow.defn
class Effects:
    @workflow.run
    async def run(self) -> list[Any]:
        def look() -> int:
            calls.append("look")
            return os.getpid()

        found = [workflow.side_effect(look), workflow.side_effect(lambda: (1, 2), type_hint=tuple)]
        levels: list[str] = []
        for _ in range(3):
            levels.append(workflow.mutable_side_effect("level", setting))
        levels.append(await step("wait"))
        levels.append(workflow.mutable_side_effect("level", setting))
        return [*found, levels]


LEVEL = ["low"]


def setting() -> str:
    calls.append("setting")
    return LEVEL[0]


def test_side_effects_are_called_once_and_replay_gets_what_was_noted() -> None:
    calls.clear()
    LEVEL[0] = "low"
    player = Player(Effects)
    LEVEL[0] = "high"
    (marker, end) = player.complete("1", "waited")

    assert kinds(player.history[0][2][1:]) == [*["MarkerRecorded"] * 3, "ActivityScheduled"]
    assert isinstance(marker, MarkerRecorded)
    assert (marker.kind, marker.name) == ("mutable_side_effect", "4/level")
    result = result_of(end)
    assert result == [os.getpid(), [1, 2], ["low", "low", "low", "waited", "high"]]
    assert calls == ["look", "setting", "setting", "setting", "setting"]
    LEVEL[0] = "other"

    again = player.replayed()

    assert again.is_ended
    assert len(calls) == 5
    player.check()


def test_a_side_effect_may_not_start_anything() -> None:
    @workflow.defn
    class Greedy:
        @workflow.run
        async def run(self) -> str:
            try:
                workflow.side_effect(lambda: workflow.patched("x"))
            except ReadOnlyContextError as error:
                return str(error)
            return "it may"

    (end,) = Player(Greedy).outputs

    assert (
        result_of(end) == "a side effect's function only gives a value: it may not start anything"
    )


def test_a_coroutine_is_no_side_effect() -> None:
    async def fetch() -> int:
        return 1

    @workflow.defn
    class Fetching:
        @workflow.run
        async def run(self) -> None:
            await workflow.side_effect(fetch)

    with pytest.raises(BlockedError, match="do what must be awaited in an activity"):
        Player(Fetching)


def test_a_side_effect_that_the_history_lacks_is_named() -> None:
    @workflow.defn(name="Steps")
    class Looking:
        @workflow.run
        async def run(self) -> None:
            # Whatever the code makes of it, the run cannot go on.
            with contextlib.suppress(Exception):
                workflow.side_effect(lambda: 1)

    with pytest.raises(BlockedError, match="which the history of this run does not hold") as raised:
        Player(Original).replayed(Looking)

    assert raised.value.produced.startswith("side_effect 1 at ")


@workflow.defn
class Noting:
    @workflow.run
    async def run(self) -> list[Any]:
        seen: list[Any] = [
            dict(workflow.memo()),
            workflow.info().typed_search_attributes.get(AMOUNT),
        ]
        workflow.upsert_memo({"note": "b", "old": None})
        workflow.upsert_search_attributes([AMOUNT.value_set(7)])
        workflow.set_current_details("**paid**")
        seen += [
            dict(workflow.memo()),
            workflow.memo_value("note"),
            workflow.info().typed_search_attributes.get(AMOUNT),
            workflow.get_current_details(),
        ]
        workflow.upsert_search_attributes([AMOUNT.value_unset()])
        workflow.upsert_memo({})
        workflow.upsert_search_attributes([])
        workflow.emit("orders", "o-1", {"paid": True}, headers={"kind": "paid"}, partition=3)
        workflow.emit("orders", b"o-1", None)
        workflow.emit("orders", None, "text")
        return [*seen, workflow.info().typed_search_attributes.get(AMOUNT)]


@pytest.mark.parametrize("row", TOPICS, ids=lambda row: row.role)
def test_the_topics_of_its_own_queue_and_namespace_are_not_for_a_run(row: TopicRow) -> None:
    def emit() -> None:
        facts = workflow.info()
        workflow.emit(topic_name(row.role, facts.namespace, facts.task_queue), None, 1)

    assert "is not for workflows to write to" in _refused(emit)


@pytest.mark.parametrize("topic", ["crm.orders.events", "billing.findings", "a.marks"])
def test_a_topic_that_is_named_as_another_queues_may_be_a_users(topic: str) -> None:
    @workflow.defn
    class Emits:
        @workflow.run
        async def run(self) -> None:
            workflow.emit(topic, None, 1)

    assert "RecordEmitted" in kinds(Player(Emits).outputs)


def test_facts_change_at_once_and_are_events() -> None:
    memo = {"note": CONVERTER.to_payload("a"), "old": CONVERTER.to_payload(1)}
    player = Player(Noting, memo=memo)

    assert result_of(player.outputs[-1]) == [
        {"note": "a", "old": 1},
        None,
        {"note": "b"},
        "b",
        7,
        "**paid**",
        None,
    ]
    without_sites = [
        type(event)(**{**{f: getattr(event, f) for f in event.__struct_fields__}, "call_site": ""})
        for event in player.outputs[:-1]
    ]
    number = {"type": b"Int"}
    none = Payload(encoding="binary/null")
    assert without_sites == [
        MemoUpserted(memo={"note": CONVERTER.to_payload("b"), "old": none}),
        SearchAttributesUpserted(search_attributes={"Amount": Payload(data=b"7", metadata=number)}),
        SearchAttributesUpserted(
            search_attributes={"Amount": Payload(encoding="binary/null", metadata=number)}
        ),
        RecordEmitted(
            topic="orders",
            key=b"o-1",
            value=b'{"paid":true}',
            headers={"kind": b"paid"},
            partition=3,
        ),
        RecordEmitted(topic="orders", key=b"o-1"),
        RecordEmitted(topic="orders", value=b"text"),
    ]
    player.check()


def _refused(call: Any) -> str:
    @workflow.defn
    class Refused:
        @workflow.run
        async def run(self) -> None:
            call()

    with pytest.raises(BlockedError) as raised:
        Player(Refused)
    return raised.value.message


@pytest.mark.parametrize("topic", ["", "a b", "x" * 250, ".."])
def test_a_topic_needs_a_name_that_topics_have(topic: str) -> None:
    assert "is no topic's name" in _refused(lambda: workflow.emit(topic, None, 1))


def test_an_attribute_has_one_type() -> None:
    def call() -> None:
        workflow.upsert_search_attributes([AMOUNT.value_set(7)])
        workflow.upsert_search_attributes(
            [SearchAttributeKey.for_keyword("Amount").value_set("seven")]
        )

    message = _refused(call)

    assert (
        "search attribute 'Amount' is of type Int in this run, and is given as Keyword" in message
    )


@pytest.mark.parametrize(
    ("updates", "message"),
    [
        ([AMOUNT.value_set(cast("int", "7"))], "is given a value of type str; its key takes int"),
        ([AMOUNT.value_set(1), AMOUNT.value_set(2)], "is given twice"),
        ({CHANGE_VERSION: ["x"]}, "is kept by workflow.patched"),
    ],
)
def test_wrong_attributes_are_refused(updates: Any, message: str) -> None:
    assert message in _refused(lambda: workflow.upsert_search_attributes(updates))
