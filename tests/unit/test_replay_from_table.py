"""Replay from a table's history: read only as far as it must be, and told in full when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from perdure import workflow
from perdure_actors import table_layout
from perdure_actors.core.start import open_run
from perdure_actors.core.state import ActorState
from perdure_actors.definitions.payload_codecs import PayloadCodecs
from perdure_actors.definitions.workflow_code import WorkflowCode
from perdure_actors.partition.executor import Executor
from perdure_actors.partition.run_cache import CachedRun
from perdure_actors.replay.blocked import BlockedError
from perdure_actors.replay.comparison import HEADS, IDENTITY
from perdure_actors.replay.coroutine import Coroutine, RunFacts
from perdure_schemas import avro
from perdure_schemas.contexts import SerializationContext
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_schemas.events import ActivityCompleted, ActivityScheduled, WorkflowStarted
from perdure_schemas.payloads import Payload, Record, RetryPolicy
from perdure_schemas.transition import TransitionBody
from perdure_topics.tables.memory_tables import MemoryTableStore

CONVERTER = DefaultPayloadConverter()
RUN_ID = "run"
FACTS = RunFacts("ns", "q", "wf", RUN_ID)
STARTED = WorkflowStarted(workflow_type="Steps", input=CONVERTER.to_payloads(["ada"]))
DONE = CONVERTER.to_payload("done")
SECOND = timedelta(seconds=1)


@workflow.defn(name="Steps")
class Original:
    @workflow.run
    async def run(self, name: str) -> str:
        for step in ("charge", "ship"):
            await workflow.execute_activity(step, name, start_to_close_timeout=SECOND)
        return name


@workflow.defn(name="Steps")
class Renamed:
    @workflow.run
    async def run(self, name: str) -> str:
        for step in ("charge", "send"):
            await workflow.execute_activity(step, name, start_to_close_timeout=SECOND)
        return name


class Sealed:
    """A codec that counts what it decodes."""

    headers = False
    is_contextual = False

    def __init__(self) -> None:
        self.decoded: list[Payload] = []

    def with_context(self, context: SerializationContext) -> PayloadCodecs:
        raise AssertionError("it does not ask for contexts")

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        self.decoded += payloads
        return list(payloads)


def recorded() -> list[list[Record]]:
    """What the original's transitions hold, up to its second activity."""
    code = WorkflowCode([Original], converter=CONVERTER)
    run, history, seq = code.make(STARTED, FACTS), [], 1
    try:
        for event in (STARTED, ActivityCompleted(activity_id="1", attempt=1, result=DONE)):
            history.append([event, *run.advance(event, seq=seq, time_ms=1_000)])
            seq += len(history[-1])
    finally:
        run.close()
        code.close()
    return history


Replayed = Callable[..., tuple[Executor, CachedRun]]


@pytest.fixture
def replayed() -> Iterator[Replayed]:
    """Makes a shard's activation over a table that holds that history, with the run."""
    codes: list[WorkflowCode] = []

    def make(
        workflow_class: type, codecs: PayloadCodecs | None = None
    ) -> tuple[Executor, CachedRun]:
        table, seq = MemoryTableStore().open("t"), 1
        for events in recorded():
            data = [avro.encode(event) for event in events]
            body = TransitionBody(workflow_id="wf", run_id=RUN_ID, seq=seq, events=data)
            row = table_layout.pack_history(seq, seq, 1_000, avro.encode(body))
            table.write([(table_layout.history_key(RUN_ID, seq), row)], [])
            seq += len(events)
        codes.append(WorkflowCode([workflow_class], converter=CONVERTER, codecs=codecs))
        services: Any = SimpleNamespace(code=codes[-1], namespace="ns", task_queue="q")
        resident = CachedRun(open_run(ActorState("wf"), RUN_ID, STARTED, 1_000))
        resident.run.state.seq = seq - 1
        return Executor(services, table), resident

    yield make
    for code in codes:
        code.close()


def go_on(run: Coroutine) -> list[Record]:
    done = ActivityCompleted(activity_id="2", attempt=1, result=DONE)
    return run.advance(done, seq=5, time_ms=2_000)


def test_a_replayed_run_goes_on_where_its_history_ends(replayed: Replayed) -> None:
    activation, resident = replayed(Original)

    run = activation.replay(resident, before_seq=5)

    assert [type(event).__name__ for event in go_on(run)] == ["WorkflowCompleted"]
    assert activation.replays == 1


def test_what_is_asked_for_after_a_replay_says_where(replayed: Replayed) -> None:
    activation, resident = replayed(Original)

    run = activation.replay(resident, before_seq=3)
    asked = run.advance(
        ActivityCompleted(activity_id="1", attempt=1, result=DONE), seq=3, time_ms=2_000
    )

    assert isinstance(asked[0], ActivityScheduled)
    assert "test_replay_from_table.py" in asked[0].call_site
    run.close()


def test_a_replay_that_does_not_fit_says_where_both_sides_stood(replayed: Replayed) -> None:
    activation, resident = replayed(Renamed)

    with pytest.raises(BlockedError) as raised:
        activation.replay(resident, before_seq=5)

    error = raised.value
    assert error.cause == "nondeterminism"
    assert "activity 'ship' (id 2) at tests/unit/test_replay_from_table.py:" in error.recorded
    assert "activity 'send' (id 2) at tests/unit/test_replay_from_table.py:" in error.produced


def test_only_what_the_code_is_given_goes_through_a_codec(replayed: Replayed) -> None:
    codecs = Sealed()
    activation, resident = replayed(Original, codecs)

    run = activation.replay(resident, before_seq=5)

    assert codecs.decoded == [*STARTED.input, DONE], "not the arguments that the code gave itself"
    run.close()


def test_a_head_knows_what_a_step_is_told_by_and_no_more() -> None:
    read = avro.head_reader(HEADS)
    asked = ActivityScheduled(
        activity_id="1",
        activity_type="charge",
        task_queue="q",
        input=[DONE],
        retry_policy=RetryPolicy(),
        call_site="here",
    )

    head = read(avro.encode(asked))

    assert head == ActivityScheduled(activity_id="1", activity_type="charge")
    assert read(avro.encode(STARTED)) == STARTED
    with pytest.raises(avro.UnknownSchemaError):
        read(avro.MAGIC + b"12345678")


def test_every_head_reaches_the_fields_that_steps_are_compared_by() -> None:
    for kind, names in IDENTITY.items():
        fields = kind.__struct_fields__
        assert {name.partition(".")[0] for name in names} <= set(fields), kind.__name__
        if kind in HEADS:
            assert set(HEADS[kind]) == {name.partition(".")[0] for name in names}
