"""What a worker may be given to run code with; it runs code in one way, so none has effect."""

from __future__ import annotations


class WorkflowRunner:
    """How a sandbox or another would run workflow code."""


class UnsandboxedWorkflowRunner(WorkflowRunner):
    """Without a sandbox, as all workflows run here."""
