"""Test environments under Temporal's names. Names only."""

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
