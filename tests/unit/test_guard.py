"""Guards: what replay cannot repeat is refused in workflow code, and there only."""

from __future__ import annotations

import datetime as dt
import time
import timeit

import pytest

from perdure_actors.definitions.registry import WorkflowRegistry
from perdure_actors.replay.blocked import BlockedError
from tests.unit import guarded_module
from tests.unit.player import Player, result_of


@pytest.fixture(autouse=True)
def guards() -> None:
    WorkflowRegistry(
        [
            guarded_module.Guarded,
            guarded_module.Unrestricted,
            guarded_module.Visiting,
        ]
    )


@pytest.mark.parametrize("name", guarded_module.CALLS)
def test_a_forbidden_call_blocks_the_run_and_names_what_to_use(name: str) -> None:
    with pytest.raises(BlockedError, match="must not be called by workflow code") as blocked:
        Player(guarded_module.Guarded, name)

    assert "guarded_module.py" in blocked.value.message
    assert " use " in blocked.value.message or "in an activity" in blocked.value.message


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
@pytest.mark.parametrize("name", guarded_module.CALLS)
def test_outside_workflows_everything_works_as_before(name: str) -> None:
    guarded_module.CALLS[name]()


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
async def test_an_activity_on_an_event_loop_may_do_what_it_likes() -> None:
    for call in guarded_module.CALLS.values():
        call()


@pytest.mark.parametrize("name", guarded_module.HARMLESS)
def test_harmless_calls_pass(name: str) -> None:
    player = Player(guarded_module.Guarded, name)

    assert result_of(player.outputs[0]) == str(guarded_module.HARMLESS[name]())


def test_a_workflow_may_do_without_guards() -> None:
    assert result_of(Player(guarded_module.Unguarded, "os.getpid").outputs[0])


def test_a_block_may_do_without_guards() -> None:
    assert result_of(Player(guarded_module.Unrestricted).outputs[0]) is True


def test_types_of_values_stay_what_they_are() -> None:
    at = dt.datetime(2024, 2, 28, tzinfo=dt.UTC)
    player = Player(guarded_module.Visiting, {"at": at, "day": at.date(), "until": None})

    assert result_of(player.outputs[0]) == "2024-02-29T00:00:00Z"


def test_guarded_modules_hear_patches_of_the_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 42.0)

    assert guarded_module.clock().time() == 42.0


def test_a_guard_costs_little() -> None:
    count = 20_000
    guarded = min(timeit.repeat(guarded_module.clock().time, number=count, repeat=5)) / count
    plain = min(timeit.repeat(time.time, number=count, repeat=5)) / count

    assert guarded - plain < 2e-6
