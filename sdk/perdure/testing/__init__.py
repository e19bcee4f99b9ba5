"""Test environments under Temporal's names. Names only."""

from __future__ import annotations

from perdure._simulation.effects import effect
from perdure._simulation.fault_plan import Faults
from perdure._simulation.journal import ActivityCall, Effect, Journal, Outcome, SimulatedRun
from perdure._simulation.simulation import (
    Simulation,
    SimulationFailed,
    SimulationReport,
    invariant,
    simulate,
)
from perdure.testing._activity import ActivityEnvironment
from perdure.testing._time_skipping import (
    FastForwardConfig,
    TimeSkipper,
    TimeSkippingConfig,
    TimeSkippingInfo,
)
from perdure.testing._workflow import WorkflowEnvironment

__all__ = [
    "ActivityCall",
    "ActivityEnvironment",
    "Effect",
    "FastForwardConfig",
    "Faults",
    "Journal",
    "Outcome",
    "SimulatedRun",
    "Simulation",
    "SimulationFailed",
    "SimulationReport",
    "TimeSkipper",
    "TimeSkippingConfig",
    "TimeSkippingInfo",
    "WorkflowEnvironment",
    "effect",
    "invariant",
    "simulate",
]
