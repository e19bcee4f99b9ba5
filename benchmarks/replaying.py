"""Replay: runs that a host has only in its table, until their code answers a query."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator

from benchmarks.app import RoundsWorkflow, TickerWorkflow
from benchmarks.history import RUN_ID, write_run
from benchmarks.measures import Figures
from benchmarks.peers.load import order
from benchmarks.stage import Stage, cpu_s
from perdure._assembly import open_log
from perdure_actors.definitions.registry import workflow_definition
from perdure_actors.replay.coroutine import Coroutine, RunFacts
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_schemas.events import ActivityCompleted, TimerFired, WorkflowStarted
from perdure_schemas.message_events import WorkflowSignaled
from perdure_schemas.payloads import Record
from perdure_topics.names import partition_of, topic_name

TICKS = 20_000
ROUNDS = 5_700
REST_S = 100 * 365 * 86_400.0
_CONVERTER = DefaultPayloadConverter()


async def replay(stage: Stage) -> Figures:
    """Runs of 40,000 events from the table: one of timers, one of all kinds of steps."""
    figures: Figures = {}
    for label, transitions in {
        "timers": _ticks(TICKS),
        "activities, timers and signals": _rounds(ROUNDS),
    }.items():
        with stage.another() as one:
            by_clock, by_cpu = await _measured(one, transitions)
        figures[f"replay from the table, events/s: {label}"] = by_clock
        figures[f"replay from the table, events a second of processor: {label}"] = by_cpu
    return figures


async def _measured(stage: Stage, transitions: Iterable[list[Record]]) -> tuple[float, float]:
    """Events a second by the clock, and of the host's processor."""
    target = stage.target
    if stage.log == "embedded":
        target = stage.target = f"file:{stage.directory / 'data'}"
        stage.make_topics()
    log, close = open_log(target)
    info = log.topic(topic_name("events", stage.namespace, stage.queue))
    assert info is not None
    names = (f"run-{number}" for number in itertools.count())
    name = next(one for one in names if partition_of(one, info.partitions) == 0)
    write_run(log, stage.namespace, stage.queue, name, transitions)
    close()
    stage.start_host(verbose=True)
    await stage.taken_over_ms("host")
    client = await stage.client()
    handle = client.get_workflow_handle(name, task_queue=stage.queue)
    length = (await handle.describe()).history_length
    pid = stage.processes["host"].pid
    took, used = [], []
    # The second query finds the code live.
    for _ in range(2):
        began, before = time.perf_counter(), cpu_s(pid)
        await handle.query("__stack_trace")
        took.append(time.perf_counter() - began)
        used.append(cpu_s(pid) - before)
    await client.close()
    return length / (took[0] - took[1]), length / (used[0] - used[1])


def _ticks(count: int) -> Iterator[list[Record]]:
    """What a run of so many timers does, up to one that is due long after."""
    played = _Played(TickerWorkflow, [count, REST_S])
    yield played.begin()
    for number in range(1, count + 1):
        yield played.take(TimerFired(timer_id=str(number)))


def _rounds(count: int) -> Iterator[list[Record]]:
    """What a run of so many rounds does, up to where it waits for its last signal."""
    played = _Played(RoundsWorkflow, [order(1), count])
    done = _CONVERTER.to_payload({"reference": "0123456789abcdef", "state": "done"})
    news = _CONVERTER.to_payloads([{"who": "courier", "where": "at the door"}])
    yield played.begin()
    for number in range(1, count + 1):
        charged, deducted = str(2 * number - 1), str(2 * number)
        yield played.take(ActivityCompleted(activity_id=charged, attempt=1, result=done))
        yield played.take(TimerFired(timer_id=str(number)))
        if number < count:
            yield played.take(WorkflowSignaled(signal_name="tell", input=news))
            yield played.take(ActivityCompleted(activity_id=deducted, attempt=1, result=done))


class _Played:
    """A workflow whose code is run here, so that its history is what it would be."""

    def __init__(self, workflow: type, args: list[object]) -> None:
        definition = workflow_definition(workflow)
        facts = RunFacts("bench", "bench", "played", RUN_ID)
        self._run = Coroutine(definition, facts, converter=_CONVERTER)
        self._name = definition.name
        self._args = args
        self._seq = 1

    def begin(self) -> list[Record]:
        """Its start, and what it asks for first."""
        given = _CONVERTER.to_payloads(self._args)
        return self.take(WorkflowStarted(workflow_type=self._name, input=given))

    def take(self, event: Record) -> list[Record]:
        """An input, and what the code asks for then."""
        asked = self._run.advance(event, seq=self._seq, time_ms=1_700_000_000_000 + self._seq)
        self._seq += 1 + len(asked)
        return [event, *asked]
