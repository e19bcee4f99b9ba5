"""The ways in which a run's code cannot go on. Exceptions only; nothing is decided here."""

from __future__ import annotations


class BlockedError(Exception):
    """The code cannot take an event: the run is blocked until a person or fixed code helps."""

    def __init__(
        self,
        cause: str,
        message: str,
        *,
        stack_trace: str = "",
        recorded: str = "",
        produced: str = "",
    ) -> None:
        super().__init__(message)
        self.cause = cause
        """error, nondeterminism, deadlock or unregistered."""
        self.message = message
        self.stack_trace = stack_trace
        self.recorded = recorded
        self.produced = produced


class DeadlockError(KeyboardInterrupt):
    """The code did not yield in time.

    It is a KeyboardInterrupt because asyncio lets only that and SystemExit through a task; as
    anything else it would become the result of one task, and the run would go on.
    """


class ForbiddenCallError(RuntimeError):
    """Workflow code called what gives another answer in replay."""

    def __init__(self, qualified_name: str, *, override_message: str | None = None) -> None:
        super().__init__(override_message or self.default_message(qualified_name))
        self.qualified_name = qualified_name

    @staticmethod
    def default_message(qualified_name: str) -> str:
        """What is said where nobody knows better."""
        return (
            f"{qualified_name} gives another answer in replay: workflow code may not use it; call"
            " it in an activity, or pass by the guards in workflow.unsafe.sandbox_unrestricted()"
        )


class NotInWorkflowError(RuntimeError):
    """A function of the workflow API was called outside a workflow."""


class ReadOnlyContextError(RuntimeError):
    """Code that may only look tried to act."""
