"""A value that cannot be written: its run is blocked with the sentence, or its asker is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from perdure import workflow
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.message_events import WorkflowUpdateCompleted
from tests.unit.player import Player

MINUTE = timedelta(minutes=1)


class Odd:
    """What no JSON can hold."""


@workflow.defn(name="Writing")
class Writing:
    @workflow.run
    async def run(self, where: str) -> Any:
        if where == "the result of Writing":
            return Odd()
        if where == "activity 'a'":
            return await workflow.execute_activity("a", Odd(), start_to_close_timeout=MINUTE)
        if where == "child workflow 'C'":
            return await workflow.execute_child_workflow("C", Odd(), id="c")
        if where == "continue_as_new of Writing":
            workflow.continue_as_new(Odd())
        if where == "signal 's'":
            await workflow.get_external_workflow_handle("other").signal("s", Odd())
        if where == "memo 'm'":
            workflow.upsert_memo({"m": Odd()})
        if where == "the value of side_effect 1":
            workflow.side_effect(Odd)
        if where == "the record for topic 'topic'":
            workflow.emit("topic", "key", Odd())
        return await workflow.wait_condition(lambda: False)

    @workflow.update
    def odd(self) -> Any:
        return Odd()

    @workflow.update
    async def odd_later(self) -> Any:
        await workflow.sleep(1)
        return Odd()


@workflow.defn(name="Writing")
class Mended:
    @workflow.run
    async def run(self, where: str) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update
    def odd(self) -> Any:
        return "even"

    @workflow.update
    async def odd_later(self) -> Any:
        await workflow.sleep(1)
        return "even"


@pytest.mark.parametrize(
    "where",
    [
        "the result of Writing",
        "activity 'a'",
        "child workflow 'C'",
        "continue_as_new of Writing",
        "signal 's'",
        "memo 'm'",
        "the value of side_effect 1",
        "the record for topic 'topic'",
    ],
)
def test_a_run_that_needs_it_is_blocked_with_the_sentence_that_names_it(where: str) -> None:
    with pytest.raises(BlockedError) as blocked:
        Player(Writing, where)

    assert blocked.value.cause == "error"
    assert where in blocked.value.message
    assert f"of type {__name__}.Odd cannot be written as JSON" in blocked.value.message
    assert "test_values_that_cannot_be_written.py:" in blocked.value.message


@pytest.mark.parametrize("name", ["odd", "odd_later"])
def test_an_update_fails_with_it_and_code_that_gives_another_value_fits(name: str) -> None:
    player = Player(Writing, "")

    outputs = player.update(name)
    if name == "odd_later":
        outputs = player.fire("1", after_s=1.0)

    (done,) = outputs
    assert isinstance(done, WorkflowUpdateCompleted)
    assert done.result is None
    assert done.failure is not None
    assert f"the result of update {name!r} (" in done.failure.chain[0].message
    assert done.failure.chain[0].type == "TypeError"
    player.check()
    player.replayed(Mended).close()
