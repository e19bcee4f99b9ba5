"""Whose values a run's code and its history hold: the contexts of conversions, by record.

Nothing of it is used unless a converter or a codec of the user asks for contexts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perdure_schemas.child_events import (
    ChildWorkflowInitiated,
    ExternalSignalInitiated,
    ExternalStartInitiated,
)
from perdure_schemas.contexts import (
    ActivitySerializationContext,
    SerializationContext,
    WorkflowSerializationContext,
)
from perdure_schemas.events import ActivityScheduled, WorkflowStarted
from perdure_schemas.payloads import Record
from perdure_schemas.tasks import ActivityTask

if TYPE_CHECKING:
    from perdure_actors.replay.code import RunFacts
    from perdure_schemas.converters import PayloadConverter


class Converters:
    """The converters of one run: its own, and those of what it asks others for."""

    def __init__(self, converter: PayloadConverter, facts: RunFacts) -> None:
        self._converter = converter
        self._facts = facts
        self.own = self.of_workflow(facts.workflow_id)
        self.contexts = RecordContexts(facts)
        """Whose payloads its history holds, for a codec that asks."""

    def of_workflow(self, workflow_id: str) -> PayloadConverter:
        """The converter for what a workflow is told, or tells."""
        return for_workflow(self._converter, self._facts.namespace, workflow_id)

    def of_activity(
        self, scheduled: ActivityScheduled, started: WorkflowStarted | None
    ) -> PayloadConverter:
        """The converter for what an activity of the run is given, or gives."""
        if not self._converter.is_contextual:
            return self._converter
        return self._converter.with_context(_of_scheduled(self._facts, scheduled, started))


class RecordContexts:
    """Whose payloads each record of one run holds, in the order of its history."""

    def __init__(self, facts: RunFacts) -> None:
        self._facts = facts
        self._own = WorkflowSerializationContext(facts.namespace, facts.workflow_id)
        self._started: WorkflowStarted | None = None
        self._activities: dict[str, SerializationContext] = {}
        self._children: dict[str, SerializationContext] = {}

    def of(self, records: Sequence[Record]) -> list[SerializationContext]:
        """The context of each; what a record says of those that follow it is remembered."""
        return [self._of(record) for record in records]

    def _of(self, record: Record) -> SerializationContext:
        if isinstance(record, WorkflowStarted):
            self._started = record
            for child in record.children:
                self._children[child.child_id] = self._workflow(child.workflow_id)
            return self._own
        if isinstance(record, ExternalSignalInitiated):
            return self._workflow(record.target.workflow_id)
        if isinstance(record, ExternalStartInitiated):
            return self._workflow(record.workflow_id)
        if isinstance(record, ChildWorkflowInitiated):
            self._children[record.child_id] = self._workflow(record.workflow_id)
        elif isinstance(record, ActivityScheduled):
            context = _of_scheduled(self._facts, record, self._started)
            self._activities[record.activity_id] = context
        activity_id, child_id = getattr(record, "activity_id", ""), getattr(record, "child_id", "")
        found = self._activities.get(activity_id) or self._children.get(child_id)
        return found or self._own

    def _workflow(self, workflow_id: str) -> WorkflowSerializationContext:
        return WorkflowSerializationContext(self._facts.namespace, workflow_id)


def for_workflow(converter: PayloadConverter, namespace: str, workflow_id: str) -> PayloadConverter:
    """A converter as it works for a workflow."""
    if not converter.is_contextual:
        return converter
    return converter.with_context(WorkflowSerializationContext(namespace, workflow_id))


def context_of_task(task: ActivityTask) -> ActivitySerializationContext:
    """Whose values an activity's task holds, and its report."""
    return ActivitySerializationContext(
        namespace=task.namespace,
        activity_id=task.activity_id,
        activity_type=task.activity_type,
        activity_task_queue=task.task_queue,
        workflow_id=task.workflow_id,
        workflow_type=task.workflow_type,
        is_local=task.local,
    )


def from_elsewhere(
    namespace: str, workflow_id: str, activity_id: str
) -> ActivitySerializationContext:
    """The context of an activity that somebody reports who knows no more of it than its ids."""
    return ActivitySerializationContext(
        namespace=namespace,
        activity_id=activity_id,
        activity_type=None,
        activity_task_queue=None,
        workflow_id=workflow_id,
        workflow_type=None,
        is_local=False,
    )


def _of_scheduled(
    facts: RunFacts, scheduled: ActivityScheduled, started: WorkflowStarted | None
) -> ActivitySerializationContext:
    return ActivitySerializationContext(
        namespace=facts.namespace,
        activity_id=scheduled.activity_id,
        activity_type=scheduled.activity_type,
        # A call that names no queue is on that of its workflow.
        activity_task_queue=scheduled.task_queue or facts.task_queue,
        workflow_id=facts.workflow_id,
        workflow_type="" if started is None else started.workflow_type,
        is_local=scheduled.local,
    )
