"""What a conversion of values may know of whose they are: the contexts, and who takes one."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import Any, Self, TypeVar

T = TypeVar("T")


class SerializationContext(ABC):  # noqa: B024 - of it there are only the kinds below
    """Whose values are being converted: a workflow's or an activity's."""


@dataclass(frozen=True)
class WorkflowSerializationContext(SerializationContext):
    """Values of a workflow: its arguments, result, messages, memo and failure.

    What a workflow says to another one, a child or an external one, is in the context of that one.
    """

    namespace: str
    """The namespace the workflow is in."""

    workflow_id: str
    """The workflow's id; where a schedule is made or described, the id in its action."""


@dataclass(frozen=True)
class ActivitySerializationContext(SerializationContext):
    """Values of an activity: its arguments, result, heartbeats and failure."""

    namespace: str
    """The namespace the activity's workflow is in."""

    activity_id: str | None
    """The activity's id. Workflow and activity see the same one."""

    activity_type: str | None
    """The activity's type."""

    activity_task_queue: str | None
    """The task queue that the activity is on."""

    workflow_id: str | None
    """The id of the workflow that asked for it."""

    workflow_type: str | None
    """The type of that workflow."""

    is_local: bool
    """Whether it is a local activity."""


class WithSerializationContext(ABC):  # noqa: B024 - what is not overridden says so
    """For payload converters, failure converters and codecs that want to know whose values it is.

    Before anything is converted, one that inherits from this is replaced by what its
    `with_context` gives.
    """

    def with_context(self, context: SerializationContext) -> Self:
        """A copy of this object that works in the context, or the object itself.

        It may be called anywhere, in workflow code too: it only makes an object.

        Example:
            def with_context(self, context):
                return type(self)(key=key_of(context.workflow_id))
        """
        raise NotImplementedError


def in_context(thing: T, context: SerializationContext) -> T:
    """A thing as it works in a context; itself when it does not care."""
    if isinstance(thing, WithSerializationContext):
        found: Any = thing.with_context(context)
        return found  # type: ignore[no-any-return]  # of the thing's own type
    return thing
