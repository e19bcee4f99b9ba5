"""The runners that a worker may be given; hosts run code in one way, so none has effect."""

from __future__ import annotations


class WorkflowRunner:
    """How a sandbox or another would run workflow code."""


class UnsandboxedWorkflowRunner(WorkflowRunner):
    """Without a sandbox, as all workflows run here."""
