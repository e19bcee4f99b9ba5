"""Event groups under Temporal's names: accepted and not recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from perdure_actors.replay.runtime import current


class EventGroup:
    """Says which calls of a workflow belong together. Made by `create_event_group`.

    Without effect: histories here are shown by activity, timer and child, and have no groups.
    """

    def __init__(self, id: str, label: str | None) -> None:
        self._id = id
        self._label = label

    @contextmanager
    def scope(self) -> Iterator[None]:
        """For all that is called within the block. Raises NotInWorkflowError elsewhere."""
        current()
        yield


def create_event_group(id: str, *, label: str | None = None) -> EventGroup:
    """A group to give as `event_groups=[...]`, or to enter with `group.scope()`.

    Without effect, see EventGroup. Raises ValueError for an empty id or label.
    """
    current()
    if not id:
        raise ValueError("an event group needs an id")
    if label is not None and not label:
        raise ValueError("the label of an event group is empty: give a text, or none")
    return EventGroup(id, label)
