"""A long, true log made quickly: runs of timers, as their owner would have written them."""

from __future__ import annotations

import threading
import uuid

from perdure_schemas.avro import encode
from perdure_schemas.events import (
    TimerFired,
    TimerStarted,
    WorkflowCompleted,
    WorkflowStarted,
)
from perdure_schemas.payloads import Payload, Record
from perdure_schemas.transition import EpochBump, Transition, TransitionBody
from perdure_topics.names import topic_name
from perdure_topics.ports import Appender, Log

EVENTS_A_RUN = 50
IN_FLIGHT_MAX = 20_000
_START_MS = 1_700_000_000_000


class _Writer:
    """Appends records to one partition and waits when too much is on its way."""

    def __init__(self, log: Log, topic: str) -> None:
        self._bell = threading.Event()
        self._appender: Appender = log.appender(on_ready=self._bell.set)
        self._topic = topic
        self._open = 0

    def put(self, record: Record) -> None:
        """Append a record."""
        self._appender.append(self._topic, 0, encode(record), tag=None)
        self._open += 1
        if self._open % 500 == 0:
            self.settle(IN_FLIGHT_MAX)

    def settle(self, allowed: int = 0) -> None:
        """Wait until at most so many are on their way."""
        while True:
            self._bell.clear()
            for report in self._appender.reports():
                assert report.error is None, report.error
                self._open -= 1
            if self._open <= allowed:
                return
            self._bell.wait(5)


def write_history(log: Log, namespace: str, queue: str, transitions: int) -> None:
    """Write so many transitions into partition 0 of a queue's events."""
    commands = log.topic(topic_name("commands", namespace, queue))
    assert commands is not None
    nonce = uuid.uuid4().bytes
    writer = _Writer(log, topic_name("events", namespace, queue))
    writer.put(
        EpochBump(
            epoch=_START_MS,
            nonce=nonce,
            input_topic_id=commands.topic_id,
            owner="benchmark",
            time_ms=_START_MS,
        )
    )
    for number in range(transitions):
        run, step = divmod(number, EVENTS_A_RUN)
        body = TransitionBody(
            workflow_id=f"ticker-{run}",
            run_id=str(uuid.UUID(int=run + 1)),
            seq=1 if step == 0 else 2 * step + 1,
            code_version="benchmark",
            events=[encode(event) for event in _events(step)],
        )
        writer.put(
            Transition(
                epoch=_START_MS,
                nonce=nonce,
                pseq=number + 1,
                after=-1,
                upto=-1,
                dispatched=number,
                time_ms=_START_MS + number,
                body=encode(body),
            )
        )
    writer.settle()


def _events(step: int) -> list[Record]:
    """What one transition holds: an input, and what the code asked for."""
    started = TimerStarted(timer_id=str(step + 1), duration_ms=1, call_site="app.py:1 in run")
    if step == 0:
        count = Payload(data=b"50")
        return [WorkflowStarted(workflow_type="TickerWorkflow", input=[count]), started]
    fired = TimerFired(timer_id=str(step))
    if step == EVENTS_A_RUN - 1:
        return [fired, WorkflowCompleted(result=Payload(data=b"50"))]
    return [fired, started]
