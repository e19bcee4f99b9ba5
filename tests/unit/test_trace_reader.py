"""Spans read from the log: the past again, on from a kept position, and none missed by a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from perdure import _assembly as assembly
from perdure import workflow
from perdure.client import Client
from perdure.worker import Worker
from perdure_topics.names import topic_name
from perdure_views.tracing.spans import Span
from perdure_views.tracing.trace_reader import TraceReader

pytestmark = pytest.mark.embedded
RUNS = [f"run-{number}" for number in range(3)]


@workflow.defn
class Quick:
    @workflow.run
    async def run(self) -> None:
        await asyncio.sleep(0)


@workflow.defn
class Held:
    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self) -> None:
        await asyncio.sleep(3600)


class Sink:
    def __init__(self) -> None:
        self.spans: list[Span] = []

    def __call__(self, topic: str, spans: Sequence[Span]) -> None:
        assert topic == topic_name("events", "default", "q")
        self.spans += spans

    @property
    def names(self) -> list[tuple[str, str]]:
        return sorted((str(s.attributes["perdure.workflow.id"]), s.name) for s in self.spans)


async def _work(folder: Path, *ids: str) -> None:
    """Run quick workflows; leave one open, and end it in the second round."""
    client = await Client.connect(f"file:{folder / 'data'}")
    async with Worker(client, task_queue="q", workflows=[Quick, Held]):
        for name in ids:
            await client.execute_workflow(Quick.run, id=name, task_queue="q")
        if "run-0" in ids:
            await client.start_workflow(Held.run, id="held", task_queue="q")
        else:
            await client.get_workflow_handle("held").terminate(reason="enough")
    await client.close()


@contextmanager
def _reading(
    folder: Path, sink: Sink, *, since_ms: int = 0, keeps: bool = True
) -> Iterator[TraceReader]:
    log, close = assembly.open_log(f"file:{folder / 'data'}")
    info = log.topic(topic_name("events", "default", "q"))
    assert info is not None
    reader = TraceReader(
        log,
        [info],
        sink,
        since_ms=since_ms,
        ring=lambda: None,
        directory=folder / "positions" if keeps else None,
    )
    try:
        while not reader.is_at_end:
            reader.step()
        yield reader
    finally:
        reader.close()
        close()


FIRST = [("held", "workflow Held started"), *((name, "workflow Quick") for name in RUNS)]
SECOND = [
    ("held", "timer"),
    ("held", "workflow Held"),
    ("run-9", "workflow Quick"),
]


async def test_a_reader_goes_on_where_it_stopped(tmp_path: Path) -> None:
    await _work(tmp_path, *RUNS)
    first, second = Sink(), Sink()
    with _reading(tmp_path, first) as reader:
        reader.save()
    assert _without_timers(first) == FIRST
    await _work(tmp_path, "run-9")
    with _reading(tmp_path, second) as reader:
        reader.save()
    assert [item for item in second.names if item[1] != "timer started"] == SECOND
    # Its start was read in the first round, its end in the second.
    [held] = [span for span in second.spans if span.name == "workflow Held"]
    assert held.error == "terminated: enough"


async def test_a_crash_before_saving_sends_the_same_again(tmp_path: Path) -> None:
    await _work(tmp_path, *RUNS)
    crashed, again, fresh = Sink(), Sink(), Sink()
    with _reading(tmp_path, crashed) as reader:
        reader._send()
    with _reading(tmp_path, again) as reader:
        reader.save()
    with _reading(tmp_path, fresh, keeps=False) as reader:
        reader.save()
    assert again.spans == crashed.spans == fresh.spans != []


async def test_what_ended_before_is_left_out(tmp_path: Path) -> None:
    await _work(tmp_path, *RUNS)
    every, later = Sink(), Sink()
    with _reading(tmp_path, every, keeps=False) as reader:
        reader.save()
    since_ms = max(span.end_ms for span in every.spans)
    with _reading(tmp_path, later, since_ms=since_ms, keeps=False) as reader:
        reader.save()
    assert sorted(later.spans) == sorted(s for s in every.spans if s.end_ms >= since_ms)
    assert 0 < len(later.spans) < len(every.spans)


async def test_a_position_that_cannot_be_read_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await _work(tmp_path, *RUNS)
    first, second = Sink(), Sink()
    with _reading(tmp_path, first) as reader:
        reader.save()
    for path in (tmp_path / "positions").iterdir():
        path.write_bytes(b"\xc1 torn")
    with _reading(tmp_path, second) as reader:
        reader.save()
    assert second.spans == first.spans
    assert "is no position" in caplog.text


def _without_timers(sink: Sink) -> list[tuple[str, str]]:
    return [item for item in sink.names if not item[1].startswith("timer")]
