"""Simulations of users' workflows: many runs with faults, each judged, the first bad one told."""

from __future__ import annotations

import contextlib
import inspect
import logging
import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, NamedTuple

from perdure._activity_objects import expand, is_activity
from perdure._records.policies import arguments_for, payloads_for
from perdure._records.workflow_names import workflow_facts
from perdure._simulation.effects import witnessed_by
from perdure._simulation.fault_plan import Baseline, Fault, Faults, draw_faults, shrink
from perdure._simulation.inputs import Inputs
from perdure._simulation.journal import SimulatedRun
from perdure._simulation.run_world import RunWorld, Scene
from perdure._simulation.story import ending_of, in_short, short, story_of
from perdure.converter import DataConverter, records_converter
from perdure_actors.definitions.registry import WORKFLOW, ActivityRegistry
from perdure_actors.definitions.workflow_code import WorkflowCode

SEEDS: Final = 1_000
SEEDS_MAX: Final = 10_000_000
INVARIANT: Final = "__perdure_invariant__"
_NAMES: Final = ("run", "outcome", "journal", "state", "args")

Invariant = Callable[..., Any]


def invariant(check: Invariant) -> Invariant:
    """Mark a function of a module as an invariant, for `perdure simulate`.

    It takes what it names: `outcome`, `journal`, `state`, `args` or `run`, and asserts.
    """
    _check_invariant(check)
    setattr(check, INVARIANT, True)
    return check


def _check_invariant(check: Invariant) -> None:
    """Raises TypeError for one whose parameters nobody could give."""
    names = list(inspect.signature(check).parameters)
    if unknown := [name for name in names if name not in _NAMES]:
        raise TypeError(
            f"invariant {_title(check)} takes {unknown[0]!r}: it may take {', '.join(_NAMES)}"
        )


def _title(check: Invariant) -> str:
    return getattr(check, "__name__", repr(check))


class Broken(NamedTuple):
    """A broken invariant: its name, and what it said."""

    name: str
    text: str


class SimulationFailed(AssertionError):
    """An invariant is broken. Its text is the shortest story that was found, and how to see it."""

    def __init__(self, text: str, *, seed: int, run: SimulatedRun, faults: list[Fault]) -> None:
        super().__init__(text)
        self.seed = seed
        """The seed that shows it."""
        self.run = run
        """The run of the story."""
        self.faults = faults
        """What went wrong in it."""


@dataclass(frozen=True)
class SimulationReport:
    """What a simulation did that found nothing."""

    seeds: int
    seconds: float
    statuses: dict[str, int]
    """How runs ended: how many by status."""
    faults: dict[str, int]
    """What went wrong in them: how often by kind."""

    def __str__(self) -> str:
        """One line for people."""
        ends = ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items()))
        wrong = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        rate = self.seeds / max(self.seconds, 0.001)
        return f"{self.seeds} runs hold ({rate:.0f}/s): {ends}. Went wrong: {wrong or 'nothing'}."


@dataclass(eq=False)
class Simulation:
    """A workflow, its input and its activities, and what must hold of every run.

    `activities` are functions and objects, or a function that makes them anew for each run; what
    it returns is the `state` that invariants see. `signals` are (name or method, arguments...), and
    each is sent at a moment of its own. `releases` are the workflow classes of later deploys.
    """

    workflow: Any
    args: Sequence[Any] = ()
    activities: Any = ()
    invariants: Sequence[Invariant] = ()
    faults: Faults = field(default_factory=Faults)
    signals: Sequence[Any] = ()
    releases: Sequence[type] = ()
    workflows: Sequence[type] = ()
    """Others that it starts as children."""
    may_stay_open: bool = False
    """Whether a run may wait for ever, as for a person."""
    data_converter: DataConverter = DataConverter.default
    again: str = "simulate(..., seeds=[{seed}])"
    """How the story says to run a seed again."""

    def __post_init__(self) -> None:
        """Check it. Raises TypeError or ValueError for what cannot be simulated."""
        self._facts = workflow_facts(self.workflow)
        if isinstance(self.workflow, str):
            raise TypeError(f"{self.workflow!r} is a name: give the workflow's class")
        definition = getattr(self.workflow, WORKFLOW)
        for check in self.invariants:
            _check_invariant(check)
        self._converter = records_converter(self.data_converter)
        self._codes = [
            WorkflowCode(
                [release, *self.workflows],
                converter=self._converter,
                build_id=f"release {number}",
                deadlock_timeout_s=0,
            )
            for number, release in enumerate([definition.cls, *self.releases], 1)
        ]
        self._inputs = Inputs(self.args)
        self._baseline: Baseline | None = None

    @property
    def name(self) -> str:
        """The type of the workflow."""
        return self._facts.name

    # -- one run --

    def _scene(self, args: Sequence[Any], state: Any) -> Scene:
        what = f"simulation of {self.name}"
        given = state if isinstance(state, Iterable) else [state]
        return Scene(
            workflow_type=self.name,
            input=arguments_for(what, args, self._converter, self._facts.signature),
            signals=[self._signal(one) for one in self.signals],
            codes=self._codes,
            activities=ActivityRegistry(expand(given, whose=what)),
            converter=self._converter,
            result_type=self._facts.result_type,
        )

    def _signal(self, given: Any) -> tuple[str, list[Any]]:
        target, *values = given if isinstance(given, tuple | list) else (given,)
        found = getattr(target, "__perdure_handler__", None)
        name = target if isinstance(target, str) else getattr(found, "name", target.__name__)
        return name, payloads_for(f"signal {name!r}", values, self._converter)

    def _state(self) -> Any:
        given = self.activities
        is_factory = callable(given) and not is_activity(given)
        return given() if is_factory else given

    def play(self, seed: int, faults: Sequence[Fault], args: Sequence[Any]) -> _Played:
        """One run with these faults."""
        random.seed(seed)
        state = self._state()
        world = RunWorld(self._scene(args, state), seed, faults)
        with witnessed_by(world):
            world.run()
        outcome = world.outcome()
        run = SimulatedRun(seed, tuple(args), outcome, world.journal, state, world.history)
        return _Played(run, world, self._judge(run))

    def _judge(self, run: SimulatedRun) -> Broken | None:
        status = run.outcome.status
        if status == "blocked" or (status == "open" and not self.may_stay_open):
            return Broken("every run comes to its end", ending_of(run.outcome))
        given = {
            "run": run,
            "outcome": run.outcome,
            "journal": run.journal,
            "state": run.state,
            "args": run.args,
        }
        for check in self.invariants:
            chosen = {name: given[name] for name in inspect.signature(check).parameters}
            try:
                holds = check(**chosen)
            except Exception as error:
                said = str(error).partition("\n")[0]
                return Broken(_title(check), said or type(error).__name__)
            if holds is False:
                return Broken(_title(check), "it is False")
        return None

    def _draw(self, seed: int) -> list[Fault]:
        """What goes wrong in the run of a seed; in that of seed 0, nothing."""
        if seed == 0:
            return []
        if self._baseline is None:
            self._baseline = self._measure()
        return draw_faults(Random(f"faults {seed}"), self.faults, self._baseline)  # noqa: S311

    def _measure(self) -> Baseline:
        """Where faults may hit: the activities that it calls, also when one is refused."""
        args = self._inputs.of(0)
        calm = self.play(0, [], args)
        records = calm.world.records
        names = list(dict.fromkeys(one.activity for one in calm.run.journal))
        for name in list(names):
            found = self.play(0, [Fault("refuses", activity=name, nth=1)], args)
            records = max(records, found.world.records)
            names += [one.activity for one in found.run.journal if one.activity not in names]
        return Baseline(list(dict.fromkeys(names)), records + 2)

    # -- many --

    def run(self, seeds: int | Iterable[int] = SEEDS) -> SimulationReport:
        """Run the seeds 0 to so many, or those given; what they did.

        Raises SimulationFailed, with the shortest story, for the first that breaks an invariant.
        """
        chosen = _seeds_of(seeds)
        began = time.monotonic()
        statuses: dict[str, int] = {}
        wrong: dict[str, int] = {}
        count = 0
        with _quiet():
            for seed in chosen:
                args = self._inputs.of(seed)
                played = self.play(seed, self._draw(seed), args)
                count += 1
                if played.broken is not None:
                    raise self._failure(seed, played, count)
                status = played.run.outcome.status
                statuses[status] = statuses.get(status, 0) + 1
                for fault in played.world.fired:
                    wrong[fault.kind] = wrong.get(fault.kind, 0) + 1
        return SimulationReport(count, time.monotonic() - began, statuses, wrong)

    def _failure(self, seed: int, played: _Played, count: int) -> SimulationFailed:
        """The shortest story of a broken run."""
        assert played.broken is not None
        name, args = played.broken.name, played.run.args

        def breaks(faults: Sequence[Fault], values: Sequence[Any]) -> bool:
            broken = self.play(seed, faults, values).broken
            return broken is not None and broken.name == name

        drawn = self._draw(seed)
        faults = shrink(drawn, lambda candidate: breaks(candidate, args))
        smaller = self._inputs.shrunk(args, lambda values: breaks(faults, values))
        last = self.play(seed, faults, smaller)
        if last.broken is None:
            # Code that is not the same twice: the run that was broken is told as it was.
            last, faults = played, drawn
        return SimulationFailed(
            self._tell(seed, last, faults, found=(count, len(drawn))),
            seed=seed,
            run=last.run,
            faults=faults,
        )

    def _tell(
        self, seed: int, played: _Played, faults: list[Fault], *, found: tuple[int, int]
    ) -> str:
        assert played.broken is not None
        count, drawn = found
        fewer = f", shortened from {drawn} faults to {len(faults)}" if drawn > len(faults) else ""
        values = ", ".join(short(value) for value in played.run.args)
        lines = [
            f"{played.broken.name}: {played.broken.text}",
            "",
            f"In short: {in_short(faults, played.world)}.",
            "",
            f"{self.name}({values}), seed {seed}, run {count}{fewer}:",
            *story_of(played.world, played.run.outcome),
            f"            {WRONG_END}{played.broken.name}: {played.broken.text}",
            "",
            f"Run it again: {self.again.replace('{seed}', str(seed))}",
        ]
        return "\n".join(lines)


WRONG_END: Final = "=> "


class _Played(NamedTuple):
    """A run, its world, and the invariant that it broke."""

    run: SimulatedRun
    world: RunWorld
    broken: Broken | None


def _seeds_of(seeds: int | Iterable[int]) -> Iterable[int]:
    """Raises ValueError for a number of seeds that cannot be."""
    if not isinstance(seeds, int):
        return seeds
    if not 1 <= seeds <= SEEDS_MAX:
        raise ValueError(f"seeds={seeds}: give 1 to {SEEDS_MAX}, or a list of seeds")
    return range(seeds)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Thousands of workers die here, and nobody need hear of it; randomness is given back."""
    before, state = logging.root.manager.disable, random.getstate()
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
        random.setstate(state)


def simulate(
    workflow: Any,
    *args: Any,
    activities: Any = (),
    invariants: Sequence[Invariant] = (),
    seeds: int | Iterable[int] = SEEDS,
    faults: Faults | Collection[str] | None = None,
    signals: Sequence[Any] = (),
    releases: Sequence[type] = (),
    workflows: Sequence[type] = (),
    may_stay_open: bool = False,
    data_converter: DataConverter = DataConverter.default,
    again: str = "simulate(..., seeds=[{seed}])",
) -> SimulationReport:
    """Run a workflow many times while its workers crash, and check what must hold of every run.

    It is the real engine over a simulated log, on virtual time: days take milliseconds. Each seed
    draws what goes wrong (`faults`, or names of those that may), and is the same each time.

    workflow: its class or run method; args: its input, or Hypothesis strategies for it.
    activities: functions and objects, or a function that makes them anew for each run.
    invariants: functions of `outcome`, `journal`, `state`, `args` or `run`, which assert.
    seeds: how many runs (seed 0 is without faults), or the seeds themselves.

    Raises SimulationFailed, with the shortest story in plain words, for a broken invariant.

    Example:
        simulate(OrderWorkflow, Order("o-1"), activities=shop, invariants=[one_charge], seeds=500)
    """
    if faults is None:
        faults = Faults()
    elif not isinstance(faults, Faults):
        faults = Faults.only(*faults)
    return Simulation(
        workflow,
        args,
        activities=activities,
        invariants=invariants,
        faults=faults,
        signals=signals,
        releases=releases,
        workflows=workflows,
        may_stay_open=may_stay_open,
        data_converter=data_converter,
        again=again,
    ).run(seeds)
