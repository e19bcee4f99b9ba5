"""A long, true log made quickly: runs of timers, as their owner would have written them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable

from perdure_schemas.avro import encode
from perdure_schemas.events import (
    TimerFired,
    TimerStarted,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
)
from perdure_schemas.payloads import Failure, FailureCause, Payload, Record
from perdure_schemas.transition import EpochBump, Transition, TransitionBody
from perdure_topics.names import partition_of, topic_name
from perdure_topics.ports import Appender, Log

EVENTS_A_RUN = 50
IN_FLIGHT_MAX = 20_000
RUN_ID = str(uuid.UUID(int=1))
_START_MS = 1_700_000_000_000
_LAST_MS = 100 * 365 * 86_400_000


class _Writer:
    """Appends records to one partition and waits when too much is on its way."""

    def __init__(self, log: Log, topic: str, partition: int = 0) -> None:
        self._bell = threading.Event()
        self._appender: Appender = log.appender(on_ready=self._bell.set)
        self._topic = topic
        self._partition = partition
        self._open = 0

    def put(self, record: Record) -> None:
        """Append a record."""
        self._appender.append(self._topic, self._partition, encode(record), tag=None)
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


def write_history(
    log: Log,
    namespace: str,
    queue: str,
    numbers: range,
    *,
    steps: int = EVENTS_A_RUN,
    epoch: int = _START_MS,
    name: str = "ticker",
) -> None:
    """Write transitions of these numbers into partition 0 of a queue's events, so many a run.

    Those that follow on others need a higher epoch, as that of another owner.
    """
    writer, nonce = _owning(log, namespace, queue, epoch=epoch)
    for number in numbers:
        run, step = divmod(number, steps)
        body = TransitionBody(
            workflow_id=f"{name}-{run}",
            run_id=str(uuid.UUID(int=run + 1)),
            seq=1 if step == 0 else 2 * step + 1,
            code_version="benchmark",
            events=[encode(event) for event in _events(step, steps)],
        )
        writer.put(_transition(body, number, epoch, nonce))
    writer.settle()


def _owning(
    log: Log, namespace: str, queue: str, *, epoch: int = _START_MS, partition: int = 0
) -> tuple[_Writer, bytes]:
    """A writer of one partition of a queue's events, once it has taken over, and its nonce."""
    commands = log.topic(topic_name("commands", namespace, queue))
    assert commands is not None
    nonce = uuid.uuid4().bytes
    writer = _Writer(log, topic_name("events", namespace, queue), partition)
    writer.put(
        EpochBump(
            epoch=epoch,
            nonce=nonce,
            input_topic_id=commands.topic_id,
            owner="benchmark",
            time_ms=_START_MS,
        )
    )
    return writer, nonce


def _transition(body: TransitionBody, number: int, epoch: int, nonce: bytes) -> Transition:
    """The record of a number, a millisecond after the one before, with all its effects sent."""
    return Transition(
        epoch=epoch,
        nonce=nonce,
        pseq=number + 1,
        after=-1,
        upto=-1,
        dispatched=number + 1,
        time_ms=_START_MS + number,
        body=encode(body),
    )


def write_run(
    log: Log, namespace: str, queue: str, workflow_id: str, transitions: Iterable[list[Record]]
) -> None:
    """Write one run, given what each of its transitions holds, into partition 0 of a queue."""
    writer, nonce = _owning(log, namespace, queue)
    seq = 1
    for number, events in enumerate(transitions):
        body = TransitionBody(
            workflow_id=workflow_id,
            run_id=RUN_ID,
            seq=seq,
            code_version="benchmark",
            events=[encode(event) for event in events],
        )
        writer.put(_transition(body, number, _START_MS, nonce))
        seq += len(events)
    writer.settle()


def write_runs(log: Log, namespace: str, queue: str, runs: int, now_ms: int) -> None:
    """Write so many runs of one transition over all partitions of a queue, the newest last.

    Of twenty, two are open and one has failed; there are five types and 500 customers.
    """
    commands = log.topic(topic_name("commands", namespace, queue))
    assert commands is not None
    of: dict[int, list[int]] = {number: [] for number in range(commands.partitions)}
    for number in range(runs):
        of[partition_of(f"run-{number}", commands.partitions)].append(number)
    for partition, numbers in of.items():
        writer, nonce = _owning(log, namespace, queue, partition=partition)
        for pseq, number in enumerate(numbers, 1):
            body = TransitionBody(
                workflow_id=f"run-{number}",
                run_id=str(uuid.UUID(int=number + 1)),
                seq=1,
                code_version="benchmark",
                events=[encode(event) for event in _run(number)],
            )
            writer.put(
                Transition(
                    epoch=_START_MS,
                    nonce=nonce,
                    pseq=pseq,
                    after=-1,
                    upto=-1,
                    dispatched=pseq - 1,
                    time_ms=now_ms - (runs - number) * 100,
                    body=encode(body),
                )
            )
        writer.settle()


def _run(number: int) -> list[Record]:
    """A run's events: started, and how it ended if it did."""
    name = Payload(data=b'"a name"')
    customer = Payload(data=b'"customer-%d"' % (number % 500), metadata={"type": b"Keyword"})
    started = WorkflowStarted(
        workflow_type=f"Type{number % 5}", input=[name], search_attributes={"Customer": customer}
    )
    timer = TimerStarted(timer_id="1", duration_ms=86_400_000, call_site="app.py:1 in run")
    if number % 20 in (3, 13):
        return [started, timer]
    if number % 20 == 7:
        cause = FailureCause(message="sold out", type="OutOfStock")
        return [started, WorkflowFailed(failure=Failure(chain=[cause]))]
    return [started, WorkflowCompleted(result=name)]


def _events(step: int, steps: int) -> list[Record]:
    """What one transition holds: an input, and what the code asked for."""
    # What a benchmark leaves open is due long after it.
    duration_ms = _LAST_MS if step == steps - 2 else 1
    started = TimerStarted(
        timer_id=str(step + 1), duration_ms=duration_ms, call_site="app.py:1 in run"
    )
    if step == 0:
        count = Payload(data=str(steps).encode())
        return [WorkflowStarted(workflow_type="TickerWorkflow", input=[count]), started]
    fired = TimerFired(timer_id=str(step))
    if step == steps - 1:
        return [fired, WorkflowCompleted(result=Payload(data=b"50"))]
    return [fired, started]
