"""A workflow's name, signature and result type, from a run method, a class or a name."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from perdure_actors.definitions.registry import WORKFLOW, WorkflowDefinition
from perdure_actors.definitions.signatures import Signature


@dataclass(frozen=True)
class WorkflowFacts:
    """A workflow's name, and of its run method what types its values."""

    name: str
    result_type: Any = None
    signature: Signature | None = None
    """What its run method takes, where that is known."""


def workflow_facts(workflow: object) -> WorkflowFacts:
    """What is known of a workflow.

    Raises TypeError for what is none, ValueError for a name that is empty.
    """
    if isinstance(workflow, str):
        if not workflow:
            raise ValueError("the workflow's name is empty: give its type, or its run method")
        return WorkflowFacts(workflow)
    definition = getattr(workflow, WORKFLOW, None)
    if not isinstance(definition, WorkflowDefinition):
        label = getattr(workflow, "__qualname__", repr(workflow))
        raise TypeError(
            f"{label} is no workflow: give the @workflow.run method of a class with"
            " @workflow.defn, such as OrderWorkflow.run, or its name"
        )
    if inspect.isclass(workflow) and workflow is not definition.cls:
        raise TypeError(
            f"{workflow.__qualname__} is no workflow, only the class above it is: put"
            " @workflow.defn above it"
        )
    if definition.is_dynamic:
        raise TypeError(
            f"{definition.cls.__qualname__} is dynamic and has no name of its own: give the"
            " workflow's name as a string"
        )
    signature = definition.signature
    return WorkflowFacts(definition.name, signature.result_type, signature)
