"""The workflow code of this process, as shards ask for it: made by type, watched while it runs."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING

from perdure_actors.definitions.payload_codecs import CodecBoundary, PayloadCodecs
from perdure_actors.definitions.registry import WorkflowRegistry, code_version
from perdure_actors.definitions.watchdog import LIMIT_S, Watchdog
from perdure_actors.replay.blocked import BlockedError
from perdure_actors.replay.coroutine import Coroutine
from perdure_actors.replay.run_outcomes import blocked_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from perdure_actors.replay.code import Inbound
    from perdure_actors.replay.coroutine import RunFacts
    from perdure_schemas.converters import PayloadConverter
    from perdure_schemas.events import WorkflowStarted

logger = logging.getLogger("perdure.host")
STUCK_EXIT_CODE = 70


class WorkflowCode:
    """The registered workflow classes, and what their code needs around it."""

    def __init__(
        self,
        workflows: Iterable[type],
        *,
        converter: PayloadConverter,
        failure_exception_types: Iterable[type[BaseException]] = (),
        build_id: str = "",
        deadlock_timeout_s: float = LIMIT_S,
        codecs: PayloadCodecs | None = None,
        chains: Callable[[Coroutine], Inbound | None] | None = None,
    ) -> None:
        self.registry = WorkflowRegistry(workflows, check_hint=converter.check_hint)
        self.version = code_version(self.registry.by_name.values(), build_id=build_id)
        self.boundary = CodecBoundary(codecs)
        self._chains = chains
        self._converter = converter
        self._failures = tuple(failure_exception_types)
        self._watchdog = Watchdog(limit_s=deadlock_timeout_s, on_stuck=_give_up)

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
        try:
            made = Coroutine(
                definition,
                facts,
                converter=self._converter,
                failure_exception_types=self._failures,
                chains=self._chains,
            )
        except BaseException as error:
            # A converter may be asked for one that fits the run.
            raise blocked_by(error, started.workflow_type) from error
        made.watched = partial(self.watching, facts.workflow_id)
        return made

    def watching(self, label: str, workflow_type: str = "") -> AbstractContextManager[object]:
        """Watch user code while it runs."""
        return self._watchdog.watching(label, workflow_type)

    def may_run(self, workflow_type: str) -> bool:
        """Whether code of a type that did not yield may be tried now."""
        return self._watchdog.budget.limit_s(workflow_type, 1.0) == 1.0

    def close(self) -> None:
        """Stop watching."""
        self._watchdog.close()
        self.boundary.close()


def _give_up(label: str) -> None:
    """Code that cannot be interrupted holds every run of this process: only a new one helps.

    The next owner finds the input that was being run, and goes one at a time.
    """
    logger.critical(
        "workflow %r is stuck where Python cannot interrupt it: this process ends, so that its"
        " other runs go on elsewhere",
        label,
    )
    logging.shutdown()
    os._exit(STUCK_EXIT_CODE)
