"""What tests of workflows and activities use, under Temporal's names. Nothing is defined here."""

from __future__ import annotations

from perdure.testing._activity import ActivityEnvironment
from perdure.testing._time_skipping import (
    FastForwardConfig,
    TimeSkipper,
    TimeSkippingConfig,
    TimeSkippingInfo,
)
from perdure.testing._workflow import WorkflowEnvironment

__all__ = [
    "ActivityEnvironment",
    "FastForwardConfig",
    "TimeSkipper",
    "TimeSkippingConfig",
    "TimeSkippingInfo",
    "WorkflowEnvironment",
]
