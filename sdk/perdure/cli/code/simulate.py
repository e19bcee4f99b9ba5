"""`perdure simulate`: runs of a workflow whose workers crash, and what must hold of each."""

from __future__ import annotations

import inspect
from dataclasses import replace
from types import ModuleType
from typing import Annotated, Any

import typer

from perdure._simulation.simulation import INVARIANT, SEEDS, Simulation, SimulationFailed
from perdure.cli.command_options import Input, arguments_of
from perdure.cli.user_modules import ModuleError, load, load_part
from perdure_actors.definitions.registry import WORKFLOW, WorkflowDefinition
from perdure_schemas.converters import DefaultPayloadConverter

Place = Annotated[
    str, typer.Argument(metavar="FILE::NAME", help="A workflow, or a Simulation, of a module.")
]


def simulate(
    place: Place,
    seeds: Annotated[int, typer.Option(min=1, help="How many runs.")] = SEEDS,
    seed: Annotated[int | None, typer.Option(min=0, help="Only this one, as a story says.")] = None,
    input: Input = None,
    invariants: Annotated[
        str | None, typer.Option(help="The module of the invariants, if it is another.")
    ] = None,
) -> None:
    """Run a workflow many times while its workers crash; 1 when an invariant breaks.

    It is the real engine over a simulated log on virtual time, without a broker. Its activities are
    those of the module, its invariants the functions there with @perdure.testing.invariant. The
    first broken one is told as the shortest story that was found.
    """
    simulation = _simulation(place, input or [], invariants)
    try:
        print(simulation.run(seeds if seed is None else [seed]))
    except SimulationFailed as failed:
        print(failed)
        raise typer.Exit(1) from None


def _simulation(place: str, given: list[str], invariants: str | None) -> Simulation:
    module, found = load_part(place)
    again = f"perdure simulate {place} --seed {{seed}}"
    again += "".join(f" --input '{one}'" for one in given)
    if invariants is not None:
        again += f" --invariants {invariants}"
    if isinstance(found, Simulation):
        if given:
            raise typer.BadParameter(f"{place} has its input: leave --input away")
        return replace(found, again=again)
    definition = getattr(found, WORKFLOW, None)
    if not isinstance(definition, WorkflowDefinition):
        raise ModuleError(f"{place} is neither a workflow (@workflow.defn) nor a Simulation")
    checks = _invariants(module if invariants is None else load_part(f"{invariants}::__name__")[0])
    defined = load(_name_of(place))
    factory = getattr(module, "activities", None)
    return Simulation(
        found,
        _arguments(definition, given),
        activities=factory if inspect.isfunction(factory) else defined.activities,
        invariants=checks,
        workflows=[one for one in defined.workflows if one is not found],
        data_converter=defined.data_converter,
        again=again,
    )


def _name_of(place: str) -> str:
    return place.rpartition("::" if "::" in place else ":")[0]


def _invariants(module: ModuleType) -> list[Any]:
    return [value for value in vars(module).values() if getattr(value, INVARIANT, False)]


def _arguments(definition: WorkflowDefinition, given: list[str]) -> list[Any]:
    """The arguments, read as the workflow takes them."""
    values = arguments_of(given)
    converter = DefaultPayloadConverter()
    payloads = converter.to_payloads(values)
    return definition.signature.read(payloads, converter, what=f"workflow {definition.name}")
