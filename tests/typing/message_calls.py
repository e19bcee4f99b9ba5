"""Signals, queries and updates that a type checker must take, and wrong ones that it must not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_type

from perdure import workflow
from perdure.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowUpdateHandle,
    WorkflowUpdateStage,
)
from perdure.common import RawValue, WorkflowIDConflictPolicy

ACCEPTED = WorkflowUpdateStage.ACCEPTED
USE = WorkflowIDConflictPolicy.USE_EXISTING


@workflow.defn
class Chat:
    @workflow.run
    async def run(self) -> int:
        return 1

    @workflow.signal
    async def say(self, text: str) -> None: ...

    @workflow.signal(name="quit")
    def leave(self) -> None: ...

    @workflow.signal(dynamic=True)
    def other(self, name: str, args: Sequence[RawValue]) -> None: ...

    @workflow.query
    def lines(self, limit: int) -> list[str]:
        return []

    @workflow.query(description="how many")
    def count(self) -> int:
        return 0

    @workflow.update
    async def rename(self, name: str) -> bool:
        return True

    @rename.validator
    def check_rename(self, name: str) -> None: ...

    @workflow.update
    def clear(self) -> int:
        return 0

    @workflow.update
    def move(self, place: str, number: int) -> str:
        return place


async def right_calls(handle: WorkflowHandle[Chat, int], client: Client) -> None:
    await handle.signal(Chat.say, "hello")
    await handle.signal(Chat.leave)
    await handle.signal("any", args=[1, 2])
    assert_type(await handle.query(Chat.lines, 3), list[str])
    assert_type(await handle.query(Chat.count), int)
    assert_type(await handle.query("count"), Any)
    assert_type(await handle.execute_update(Chat.rename, "x"), bool)
    assert_type(await handle.execute_update(Chat.clear), int)
    assert_type(await handle.execute_update(Chat.move, args=["a", 1]), str)
    started = await handle.start_update(Chat.rename, "x", wait_for_stage=ACCEPTED)
    assert_type(started, WorkflowUpdateHandle[bool])
    assert_type(handle.get_update_handle_for(Chat.rename, "u"), WorkflowUpdateHandle[bool])
    operation = WithStartWorkflowOperation(Chat.run, id="c", task_queue="q", id_conflict_policy=USE)
    brought = await client.execute_update_with_start_workflow(
        Chat.rename, "x", start_workflow_operation=operation
    )
    assert_type(brought, bool)
    assert_type(await operation.workflow_handle(), WorkflowHandle[Chat, int])


async def wrong_calls(handle: WorkflowHandle[Chat, int]) -> None:
    # The argument is no text.
    await handle.signal(Chat.say, 5)  # type: ignore[call-overload]
    # The argument is missing.
    await handle.signal(Chat.say)  # type: ignore[call-overload]
    # An update takes a text.
    await handle.execute_update(Chat.rename, 5)  # type: ignore[arg-type]
    # Nobody says how far to wait.
    await handle.start_update(Chat.rename, "x")  # type: ignore[call-overload]


class Wrong:
    @workflow.update
    def change(self, number: int) -> None: ...

    # A validator takes what its update takes.
    @change.validator  # type: ignore[arg-type]
    def check(self, text: str) -> None: ...
