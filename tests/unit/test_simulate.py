"""`simulate`: planted bugs in users' workflows are found, told in a few lines, and found again."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from perdure import activity, workflow
from perdure.cli.commands import run
from perdure.testing import Faults, Journal, Outcome, Simulation, SimulationFailed, effect, simulate
from tests.unit import saga_app
from tests.unit.planted_apps import PLANTED, Planted

pytest_plugins = ["pytester"]
APP = Path(saga_app.__file__)
ACTIVITIES = [saga_app.charge, saga_app.ship, saga_app.refund]
ORDER = saga_app.Order("o-1")


@activity.defn(name="charge")
async def charge_once(order: saga_app.Order) -> str:
    effect("charge", order=order.order_id, key=activity.info().idempotency_key)
    return "charged"


SOUND: list[Any] = [charge_once, saga_app.ship, saga_app.refund]
INVARIANTS = [
    saga_app.every_charge_has_one_key,
    saga_app.an_order_that_failed_after_its_charge_is_refunded,
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: one.workflow.__name__)
def test_a_planted_bug_is_found_and_found_again_by_its_seed(planted: Planted) -> None:
    checks = [] if planted.invariant is None else [planted.invariant]

    def seek(seeds: Any) -> SimulationFailed:
        with pytest.raises(SimulationFailed) as found:
            simulate(
                planted.workflow,
                *planted.args,
                activities=planted.activities,
                invariants=checks,
                seeds=seeds,
                **planted.options,
            )
        return found.value

    first = seek(1_000)
    again = seek([first.seed])
    assert len(first.faults) <= 2
    assert str(again).partition("seed")[0] == str(first).partition("seed")[0]


@pytest.mark.timeout(120)
def test_a_sound_saga_holds_and_every_kind_of_fault_hit_it() -> None:
    faults = Faults(steady={"refund"})

    report = simulate(
        saga_app.OrderWorkflow,
        ORDER,
        activities=SOUND,
        invariants=INVARIANTS,
        faults=faults,
        seeds=150,
    )

    assert report.seeds == 150
    assert set(report.statuses) == {"completed", "failed"}
    assert set(report.faults) == set(faults.kinds)


@pytest.mark.timeout(60)
def test_the_story_says_what_happened_in_a_few_lines() -> None:
    with pytest.raises(SimulationFailed) as found:
        simulate(
            saga_app.OrderWorkflow,
            ORDER,
            activities=ACTIVITIES,
            invariants=INVARIANTS,
            faults=["worker_loss"],
            again="again {seed}",
        )

    text = str(found.value)
    assert text.startswith("every_charge_has_one_key: charged under 2 keys")
    assert (
        "charge succeeded, the worker died before reporting it, the retry ran charge again" in text
    )
    assert "✗ worker 1 died before it could report that" in text
    assert "worker 2 takes over" in text
    assert text.endswith(f"again {found.value.seed}")
    assert len(text.splitlines()) < 30


@workflow.defn
class Patient:
    @workflow.run
    async def run(self, days: int) -> int:
        await workflow.sleep(timedelta(days=days))
        return days


@pytest.mark.timeout(60)
def test_days_pass_at_once_and_a_run_goes_on_over_crashes() -> None:
    report = simulate(Patient, 300, faults=["crashes"], seeds=20)

    assert report.statuses == {"completed": 20}


@workflow.defn
class Half:
    @workflow.run
    async def run(self, whole: int) -> int:
        return whole // 2


@pytest.mark.timeout(60)
def test_input_is_drawn_from_strategies_and_made_simple() -> None:
    def is_small(outcome: Outcome) -> bool:
        return bool(outcome.result < 100)

    with pytest.raises(SimulationFailed) as found:
        simulate(Half, st.integers(0, 10_000), invariants=[is_small])

    assert found.value.run.args == (200,)


def test_what_cannot_be_simulated_is_refused_with_a_reason() -> None:
    def odd(weather: str) -> None:
        pass

    with pytest.raises(TypeError, match="'weather'"):
        Simulation(Half, (1,), invariants=[odd])
    with pytest.raises(ValueError, match="no fault is called 'rain'"):
        simulate(Half, 1, faults=["rain"])
    with pytest.raises(ValueError, match="seeds=0"):
        simulate(Half, 1, seeds=0)
    with pytest.raises(TypeError, match="give the workflow's class"):
        simulate("Half", 1)


@pytest.mark.timeout(60)
def test_the_command_finds_it_and_says_how_to_see_it_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = f"{APP}::OrderWorkflow"

    status = run(["simulate", place, "-i", '{"order_id": "o-1"}', "--seeds", "500"])

    said = capsys.readouterr().out
    assert status == 1
    assert "every_charge_has_one_key" in said
    assert f"perdure simulate {place} --seed " in said


@pytest.mark.timeout(60)
def test_the_mark_gives_a_test_its_seeds(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from tests.unit.test_simulate import Half

        @pytest.mark.simulate(seeds=7)
        def test_half(simulate):
            assert simulate(Half, 4).seeds == 7

        def test_broken(simulate):
            simulate(Half, 4, invariants=[lambda outcome: outcome.result == 1])
        """
    )
    root = str(APP.parents[2])
    pytester.syspathinsert(root)

    # An installation that is older than the plugin does not load it by itself.
    is_loaded = any(one.name == "perdure" for one in entry_points(group="pytest11"))
    loads = () if is_loaded else ("-p", "perdure._pytest_plugin")
    ended = pytester.runpytest_inprocess(
        "-o", "asyncio_default_fixture_loop_scope=function", *loads
    )

    ended.assert_outcomes(passed=1, failed=1)
    ended.stdout.fnmatch_lines(["*--simulate-seed 0*"])


def test_a_journal_tells_calls_and_effects_apart() -> None:
    seen: list[Journal] = []

    def look(journal: Journal) -> None:
        seen.append(journal)

    simulate(
        saga_app.OrderWorkflow, ORDER, activities=SOUND, invariants=[look], seeds=[0], faults=[]
    )

    assert [one.activity for one in seen[0].calls()] == ["charge", "ship"]
    assert seen[0].returned("charge")[0].args == [ORDER]
    assert [one.name for one in seen[0].effects()] == ["charge", "parcel"]
