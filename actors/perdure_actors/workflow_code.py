"""The workflow code of this process, as shards ask for it: made by type, watched while it runs."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from perdure_actors.definitions import WorkflowRegistry, code_version
from perdure_actors.replay.blocked import BlockedError
from perdure_actors.replay.coroutine import Coroutine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from perdure_actors.replay.coroutine import RunFacts
    from perdure_schemas.converters import PayloadConverter
    from perdure_schemas.events import WorkflowStarted

_UNWATCHED: AbstractContextManager[object] = nullcontext()


class WorkflowCode:
    """The registered workflow classes, and what their code needs around it."""

    def __init__(
        self,
        workflows: Iterable[type],
        *,
        converter: PayloadConverter,
        failure_exception_types: Iterable[type[BaseException]] = (),
        build_id: str = "",
        watch: Callable[[str], AbstractContextManager[object]] | None = None,
    ) -> None:
        self.registry = WorkflowRegistry(workflows)
        self.version = code_version(self.registry.by_name.values(), build_id=build_id)
        self._converter = converter
        self._failures = tuple(failure_exception_types)
        self._watch = watch

    def make(self, started: WorkflowStarted, facts: RunFacts) -> Coroutine:
        """The code of a run. Raises BlockedError when its type is not registered."""
        definition = self.registry.get(started.workflow_type)
        if definition is None:
            known = ", ".join(sorted(self.registry.by_name)) or "none"
            raise BlockedError(
                "unregistered",
                f"workflow type {started.workflow_type!r} is not registered on task queue"
                f" {facts.task_queue!r}; registered here: {known}. Start a worker that has it",
            )
        return Coroutine(
            definition,
            facts,
            converter=self._converter,
            failure_exception_types=self._failures,
        )

    def watching(self, label: str) -> AbstractContextManager[object]:
        """Watch user code while it runs."""
        return self._watch(label) if self._watch else _UNWATCHED
