"""What tests of workflows and activities use, under Temporal's names. Nothing is defined here."""

from __future__ import annotations

from perdure.testing.activities import ActivityEnvironment
from perdure.testing.workflows import WorkflowEnvironment

__all__ = ["ActivityEnvironment", "WorkflowEnvironment"]
