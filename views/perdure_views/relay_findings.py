"""Findings of the relay: what is held back, why, and what to do, in the findings topic."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from perdure_schemas.avro import encode
from perdure_schemas.findings import Finding
from perdure_topics.names import partition_of, topic_name
from perdure_topics.ports import LogError, LogUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.ports import Appender, Log
    from perdure_views.relay_source import Due

_LOG: Final = logging.getLogger("perdure.relay")
TIMEOUT_MS: Final = 30_000


class RelayFindings:
    """Tells findings of the task queues of a namespace. What cannot be told is in the log."""

    def __init__(self, log: Log, namespace: str, *, ring: Callable[[], None]) -> None:
        self._log = log
        self._ring = ring
        self._topic = topic_name("findings", namespace)
        self._appender: Appender | None = None

    def teller(self, task_queue: str) -> Callable[[Due, str], None]:
        """What tells of a target of a task queue that is left behind."""

        def tell(due: Due, why: str) -> None:
            self._tell(
                Finding(
                    finding_id=f"emit_held/{due.event_id}",
                    kind="emit_held",
                    task_queue=task_queue,
                    workflow_id=due.workflow_id,
                    run_id=due.run_id,
                    time_ms=int(time.time() * 1000),
                    message=(
                        f"what workflows emit to {due.target} is held back from event"
                        f" {due.event_id} of workflow {due.workflow_id} on: {why}"
                    ),
                    cause="the topic cannot take it, or the relay may not write there",
                    remedy=(
                        "mend the topic and it follows by itself; at once with: perdure relay retry"
                        f" --task-queue {task_queue} --target {due.target}; or send it to the dead"
                        f" letters: perdure relay skip --task-queue {task_queue}"
                        f" --target {due.target}"
                    ),
                )
            )

        return tell

    def _tell(self, finding: Finding) -> None:
        try:
            topic = self._log.topic(self._topic)
            if topic is None:
                return
            if self._appender is not None and any(one.error for one in self._appender.reports()):
                self.close()
            if self._appender is None:
                self._appender = self._log.appender(on_ready=self._ring, timeout_ms=TIMEOUT_MS)
            key = finding.workflow_id
            partition = partition_of(key, topic.partitions)
            self._appender.append(self._topic, partition, encode(finding), key=key.encode())
        except LogUnavailableError:
            raise
        except LogError as error:
            _LOG.warning("a finding cannot be told: %s", error)

    def close(self) -> None:
        """Tell what is under way, and end."""
        if self._appender is not None:
            self._appender.close(flush_s=1.0)
            self._appender = None
