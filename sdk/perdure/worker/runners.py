"""What a worker may be given to run code with; it runs code in one way, so none has effect."""

from __future__ import annotations

from typing import Any


class WorkflowRunner:
    """How a sandbox or another would run workflow code."""


class UnsandboxedWorkflowRunner(WorkflowRunner):
    """Without a sandbox, as all workflows run here."""


class SharedStateManager:
    """What processes of a pool would share; they have a line of their own here."""

    @staticmethod
    def create_from_multiprocessing(
        mgr: Any,  # noqa: ARG004
        queue_poller_executor: Any = None,  # noqa: ARG004
    ) -> SharedStateManager:
        """A manager for a worker's `shared_state_manager`: taken, and not needed."""
        return SharedStateManager()
