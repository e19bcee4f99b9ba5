"""Workflows of the golden histories of a run's life, and of handlers that take anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from perdure import workflow
from perdure.common import RawValue, SearchAttributeKey
from perdure.exceptions import ApplicationError
from tests.histories.workflows import step

MINUTE = timedelta(minutes=1)
STAGE = SearchAttributeKey.for_keyword("Stage")
AMOUNT = SearchAttributeKey.for_int("Amount")


@dataclass
class Room:
    name: str
    seats: int


@workflow.defn
class Opened:
    """Made of its input, it takes messages of any name, one by a handler that came later."""

    @workflow.init
    def __init__(self, room: Room) -> None:
        self.room = room
        self.taken: list[Any] = []

    @workflow.run
    async def run(self, room: Room) -> list[Any]:
        await workflow.wait_condition(lambda: len(self.taken) >= self.room.seats)
        workflow.set_signal_handler("leave", self.leave)
        await workflow.wait_condition(lambda: len(self.taken) < self.room.seats)
        workflow.set_dynamic_signal_handler(None)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return [self.room.name, *self.taken]

    def leave(self, who: str) -> None:
        self.taken.remove(who)

    @workflow.signal(dynamic=True)
    def any_signal(self, name: str, args: Sequence[RawValue]) -> None:
        read = workflow.payload_converter().from_payload
        self.taken.append(read(args[0].payload, str) if args else name)

    @workflow.update(dynamic=True)
    async def any_update(self, name: str, args: Sequence[RawValue]) -> RawValue:
        await workflow.execute_activity("seat", args=args, start_to_close_timeout=MINUTE)
        self.taken.append(name)
        return args[0]

    @workflow.query(dynamic=True)
    def any_query(self, name: str, args: Sequence[RawValue]) -> int:
        return len(self.taken)


@workflow.defn(dynamic=True)
class Anything:
    """Takes any type, and hands on what it was given."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> list[Any]:
        kind = workflow.info().workflow_type
        first: RawValue = await workflow.execute_activity(
            "look_up", args=args, result_type=RawValue, start_to_close_timeout=MINUTE
        )
        return [kind, workflow.payload_converter().from_payload(first.payload, int)]


@workflow.defn
class Persistent:
    """Says what it knows of the runs before it; the first attempt fails."""

    @workflow.run
    async def run(self) -> list[Any]:
        info = workflow.info()
        failure = workflow.get_last_failure()
        await workflow.sleep(1)
        if info.attempt == 1 and not info.cron_schedule:
            raise ApplicationError("once more", type="Again")
        known = workflow.has_last_completion_result()
        result = workflow.get_last_completion_result(int) if known else None
        return [info.attempt, result, str(failure) if failure else None]


@workflow.defn
class Impatient:
    """Waits for what does not come, and lets its own timeout end it."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False, timeout=30)


@workflow.defn
class Drawing:
    """Draws ids and numbers before and after each step."""

    @workflow.run
    async def run(self) -> list[str]:
        named = workflow.new_random("dice")
        for _ in range(3):
            await step("take", f"{workflow.uuid4()} {workflow.random().random()} {named.random()}")
        return [str(workflow.random_seed()), str(named.random())]


@workflow.defn
class Marking:
    """Facts that are set, changed and removed, and a side effect that is asked for again."""

    @workflow.run
    async def run(self) -> list[Any]:
        workflow.upsert_memo({"step": 1, "kept": True})
        workflow.upsert_search_attributes([STAGE.value_set("a"), AMOUNT.value_set(1)])
        workflow.set_current_details("**first**")
        halves = iter((0, 0, 1, 1))
        levels = [workflow.mutable_side_effect("level", lambda: next(halves)) for _ in range(4)]
        await workflow.sleep(1)
        is_patched = [workflow.patched("late") for _ in range(2)]
        workflow.upsert_memo({"step": None})
        workflow.upsert_search_attributes([STAGE.value_unset(), AMOUNT.value_set(2)])
        attributes = workflow.info().typed_search_attributes
        return [levels, is_patched, dict(workflow.memo()), attributes.get(AMOUNT)]
