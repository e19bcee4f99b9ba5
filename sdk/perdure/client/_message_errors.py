"""What a query or an update may end with, beside its value."""

from __future__ import annotations

from perdure.client._executions import WorkflowExecutionStatus
from perdure.exceptions import PerdureError


class RPCTimeoutOrCancelledError(PerdureError):
    """A call took longer than it was given, or was given up."""


class WorkflowQueryRejectedError(PerdureError):
    """A query was refused because of how its run stands."""

    def __init__(self, status: WorkflowExecutionStatus | None) -> None:
        super().__init__(f"Query rejected, workflow status: {status.name if status else 'unknown'}")
        self._status = status

    @property
    def status(self) -> WorkflowExecutionStatus | None:
        """How the run stands."""
        return self._status


class WorkflowQueryFailedError(PerdureError):
    """The handler of a query raised, or there is none."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self._message = message

    @property
    def message(self) -> str:
        """What went wrong."""
        return self._message


class WorkflowUpdateFailedError(PerdureError):
    """An update was refused by its validator, or its handler failed."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"Workflow update failed: {cause}")
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException:
        """The failure of the update."""
        assert self.__cause__ is not None
        return self.__cause__


class WorkflowUpdateRPCTimeoutOrCancelledError(RPCTimeoutOrCancelledError):
    """Nobody said in time how an update went; whether it was accepted is not known."""

    def __init__(self) -> None:
        super().__init__("Timeout or cancellation waiting for update")
