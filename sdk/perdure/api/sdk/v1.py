"""What `__temporal_workflow_metadata` answers: records with the fields of protobuf's."""

from __future__ import annotations

import msgspec


class WorkflowInteractionDefinition(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """A handler of a workflow."""

    name: str = ""
    """Empty for a dynamic one."""
    description: str = ""


class WorkflowDefinition(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """A workflow type and its handlers."""

    type: str = ""
    query_definitions: list[WorkflowInteractionDefinition] = []
    signal_definitions: list[WorkflowInteractionDefinition] = []
    update_definitions: list[WorkflowInteractionDefinition] = []


class WorkflowMetadata(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """What a workflow says of itself.

    Example:
        found = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        print(found.current_details)
    """

    definition: WorkflowDefinition = WorkflowDefinition()
    current_details: str = ""
    """What `workflow.set_current_details` said last, in Markdown."""
