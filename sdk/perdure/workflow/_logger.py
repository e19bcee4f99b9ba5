"""The logger of workflow code: silent in replay, with the ids of the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any

from perdure.workflow._info import info_of
from perdure_actors.replay.message_handlers import current_update
from perdure_actors.replay.runtime import maybe_current

EXTRA_KEY = "perdure_workflow"


class LoggerAdapter(logging.LoggerAdapter[logging.Logger]):
    """A logger that workflow code may use freely."""

    def __init__(self, logger: logging.Logger, extra: Mapping[str, Any] | None) -> None:
        super().__init__(logger, extra or {})
        self.workflow_info_on_message = True
        self.workflow_info_on_extra = True
        self.full_workflow_info_on_extra = False
        self.log_during_replay = False

    @property
    def base_logger(self) -> logging.Logger:
        """The logger underneath, for handlers and for code outside workflows."""
        return self.logger

    def unsafe_disable_sandbox(self, value: bool = True) -> None:  # noqa: FBT001, FBT002
        """Let handlers do what a sandbox would refuse: without effect, there is none."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        """Whether a message of the level is written: not in replay, nor while code is dropped."""
        run = maybe_current()
        if run is not None and not self.log_during_replay and (run.is_replaying or run.is_closed):
            return False
        return super().isEnabledFor(level)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Add what tells the run."""
        extra = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        run = maybe_current()
        if run is not None and run.started is not None:
            facts: dict[str, Any] = {
                "attempt": run.started.attempt,
                "namespace": run.facts.namespace,
                "run_id": run.facts.run_id,
                "task_queue": run.facts.task_queue,
                "workflow_id": run.facts.workflow_id,
                "workflow_type": run.started.workflow_type,
            }
            update = current_update.get()
            if update is not None:
                facts |= {"update_id": update.id, "update_name": update.name}
            if self.full_workflow_info_on_extra:
                extra["workflow_info"] = info_of(run)
            if self.workflow_info_on_extra:
                extra[EXTRA_KEY] = facts
            if self.workflow_info_on_message:
                msg = f"{msg} ({facts})"
        kwargs["extra"] = extra
        return msg, kwargs


logger = LoggerAdapter(logging.getLogger("perdure.workflow"), None)
