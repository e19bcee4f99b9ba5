"""Golden histories replay on today's code, for ever; changed code is told where it differs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from perdure import workflow
from perdure.exceptions import ActivityError
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.events import ActivityScheduled, WorkflowCompleted
from tests.histories.goldens import CASES, FOLDER, Golden, read
from tests.histories.workflows import Order, step
from tests.unit.player import Player

FILES = sorted(FOLDER.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_history_replays(path: Path) -> None:
    golden = read(path)

    run = golden.replay()

    assert run.is_ended
    run.close()


def test_every_case_has_its_file() -> None:
    assert {path.stem for path in FILES} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_the_code_still_makes_the_same_history(name: str) -> None:
    """Beyond replay: the very outputs are compared, but for call sites."""
    made = CASES[name]()
    recorded = read(FOLDER / f"{name}.json")

    assert len(made.history) == len(recorded.transitions)
    for ours, theirs in zip(made.history, recorded.transitions, strict=True):
        assert ours[:2] == theirs[:2]
        assert [_plain(event) for event in ours[2]] == [_plain(event) for event in theirs[2]]


def _plain(event: Any) -> Any:
    failure = getattr(event, "failure", None)
    return (
        type(event),
        [
            getattr(event, name)
            for name in event.__struct_fields__
            if name not in {"call_site", "failure"}
        ],
        [(link.kind, link.type, link.message) for link in failure.chain] if failure else None,
    )


class _Changed:
    """The saga as somebody changed it while runs were under way."""


@workflow.defn(name="OrderSaga")
class Removed(_Changed):
    @workflow.run
    async def run(self, order: Order) -> str:
        await step("charge_payment", order)
        await step("send_notification", order.order_id)
        return "shipped"


@workflow.defn(name="OrderSaga")
class Added(_Changed):
    @workflow.run
    async def run(self, order: Order) -> str:
        await step("charge_payment", order)
        await step("check_fraud", order)
        await step("deduct_inventory", order)
        await step("send_notification", order.order_id)
        return "shipped"


@workflow.defn(name="OrderSaga")
class Reordered(_Changed):
    @workflow.run
    async def run(self, order: Order) -> str:
        await step("deduct_inventory", order)
        await step("charge_payment", order)
        await step("send_notification", order.order_id)
        return "shipped"


@workflow.defn(name="OrderSaga")
class Renamed(_Changed):
    @workflow.run
    async def run(self, order: Order) -> str:
        await step("charge_payment", order)
        await step("take_from_stock", order)
        await step("send_notification", order.order_id)
        return "shipped"


@workflow.defn(name="OrderSaga")
class Ended(_Changed):
    @workflow.run
    async def run(self, order: Order) -> str:
        await step("charge_payment", order)
        return "shipped"


@workflow.defn(name="OrderSaga")
class Lengthened(_Changed):
    @workflow.run
    async def run(self, order: Order) -> str:
        await step("charge_payment", order)
        await step("deduct_inventory", order)
        await step("send_notification", order.order_id)
        await asyncio.sleep(1)
        return "shipped"


@workflow.defn(name="OrderSaga")
class Stalled(_Changed):
    @workflow.run
    async def run(self, order: Order) -> str:
        await step("charge_payment", order)
        await workflow.wait_condition(lambda: False)
        return "never"


@pytest.mark.parametrize(
    ("changed", "recorded", "produced"),
    [
        (Removed, "activity 'deduct_inventory' (id 2)", "activity 'send_notification' (id 2)"),
        (Added, "activity 'deduct_inventory' (id 2)", "activity 'check_fraud' (id 2)"),
        (Reordered, "activity 'charge_payment' (id 1)", "activity 'deduct_inventory' (id 1)"),
        (Renamed, "activity 'deduct_inventory' (id 2)", "activity 'take_from_stock' (id 2)"),
        (Ended, "activity 'deduct_inventory' (id 2)", "the run's return"),
        (Lengthened, "the run's return", "timer 1 of 1 s"),
        (Stalled, "activity 'deduct_inventory' (id 2)", "nothing more; it waits at"),
    ],
)
def test_changed_code_is_told_what_was_recorded_and_what_it_asks_for(
    changed: type, recorded: str, produced: str
) -> None:
    golden = read(FOLDER / "order_shipped.json")

    with pytest.raises(BlockedError) as blocked:
        golden.replay(changed)

    error = blocked.value
    assert error.cause == "nondeterminism"
    assert error.recorded.startswith(recorded)
    assert error.produced.startswith(produced)
    assert error.recorded in error.message
    assert error.produced in error.message
    assert "'order-1' at event" in error.message
    if "run's return" not in recorded:
        assert "tests/histories/" in error.recorded
    if "run's return" not in produced:
        assert ".py:" in error.produced


def test_code_that_fits_again_goes_on_from_the_same_history() -> None:
    golden = read(FOLDER / "order_shipped.json")
    golden.transitions = golden.transitions[:2]
    with pytest.raises(BlockedError):
        golden.replay(Renamed)

    run = golden.replay()
    assert not run.is_ended
    run.close()


def test_what_a_step_carries_may_change() -> None:
    """Another timeout, another argument, another line: none of them is a step's identity."""

    @workflow.defn(name="OrderSaga")
    class Tuned:
        @workflow.run
        async def run(self, order: Order) -> str:
            for name in ("charge_payment", "deduct_inventory"):
                await step(name, order, "more", heartbeat_timeout=None)
            try:
                await step("send_notification", order)
            except ActivityError:
                return "other"
            return "else"

    assert read(FOLDER / "order_shipped.json").replay(Tuned).is_ended


def test_a_damaged_history_is_told_apart() -> None:
    golden: Golden = read(FOLDER / "mended.json")
    del golden.transitions[1]

    with pytest.raises(BlockedError, match=r"did not wait"):
        golden.replay()


def test_outputs_carry_the_line_that_asked() -> None:
    player = Player(Removed, Order("o", 1.0))

    scheduled = player.outputs[0]

    assert isinstance(scheduled, ActivityScheduled)
    assert scheduled.call_site.startswith("tests/histories/workflows.py:")
    assert not any(isinstance(output, WorkflowCompleted) for output in player.outputs)
    player.check()
