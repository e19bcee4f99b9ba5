"""What workflow code holds of a child that runs."""

from __future__ import annotations

from typing import Generic, TypeVar

from perdure.types import SelfType
from perdure_actors.replay.children import ChildHandle

ResultType = TypeVar("ResultType")


class ChildWorkflowHandle(ChildHandle[ResultType], Generic[SelfType, ResultType]):
    """A child that runs: a task that awaits its result."""

    __slots__ = ()

    @property
    def id(self) -> str:
        """The child's workflow id."""
        return self.pending.initiated.workflow_id

    @property
    def first_execution_run_id(self) -> str | None:
        """The run id of the child's first run."""
        return self.pending.run_id or None
