"""The queries that every workflow answers, under Temporal's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from perdure_actors.replay.call_site import task_stacks
from perdure_actors.replay.code import Handler
from perdure_actors.replay.loop import Loop

STACK_TRACE = "__stack_trace"
METADATA = "__temporal_workflow_metadata"


class Asked(Protocol):
    """What these queries ask of a run."""

    loop: Loop
    kept: dict[str, Any]

    @property
    def workflow_type(self) -> str:
        """The name of the workflow's type."""


class Handlers(Protocol):
    """What these queries ask of its handlers."""

    signals: dict[str, Handler]
    queries: dict[str, Handler]
    updates: dict[str, Handler]


def _stack_trace(run: Asked, _handlers: Handlers) -> str:
    return task_stacks(run.loop.tasks.values())


def _metadata(run: Asked, handlers: Handlers) -> dict[str, Any]:
    return {
        "definition": {
            "type": run.workflow_type,
            "queryDefinitions": _described(handlers.queries),
            "signalDefinitions": _described(handlers.signals),
            "updateDefinitions": _described(handlers.updates),
        },
        "currentDetails": run.kept.get("current_details", ""),
    }


def _described(handlers: Mapping[str, Handler]) -> list[dict[str, str]]:
    return [_one(handlers[name]) for name in sorted(handlers)]


def _one(handler: Handler) -> dict[str, str]:
    described = {"name": handler.name} if handler.name else {}
    return {**described, "description": handler.description} if handler.description else described


BUILTIN_QUERIES: Mapping[str, Callable[[Any, Any], Any]] = {
    STACK_TRACE: _stack_trace,
    METADATA: _metadata,
}
