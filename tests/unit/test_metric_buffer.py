"""Metrics kept in a buffer: what user code and the engine measured, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from perdure._telemetry.metric_buffer import MetricBuffer as Buffer
from perdure.common import MetricMeter
from perdure.runtime import (
    BUFFERED_METRIC_KIND_COUNTER,
    BUFFERED_METRIC_KIND_GAUGE,
    BUFFERED_METRIC_KIND_HISTOGRAM,
    MetricBuffer,
    MetricBufferDurationFormat,
)

MEASURES = """
import asyncio, sys
from datetime import timedelta
from perdure import activity, workflow
from perdure.client import Client
from perdure.runtime import *
from perdure.worker import Worker

buffer = MetricBuffer(10_000, MetricBufferDurationFormat.SECONDS)
runtime = Runtime(telemetry=TelemetryConfig(metrics=buffer, global_tags={"team": "orders"}))

@activity.defn
async def count() -> None:
    activity.metric_meter().create_counter("mine", "what I count", "1").add(2)

@workflow.defn
class Counts:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(count, start_to_close_timeout=timedelta(minutes=1))

async def main():
    client = await Client.connect(f"file:{sys.argv[1]}/log", runtime=runtime)
    async with Worker(client, task_queue="q", workflows=[Counts], activities=[count]):
        await client.execute_workflow(Counts.run, id="w", task_queue="q")
        found = list(buffer.retrieve_updates())
        again = buffer.retrieve_updates()
    await client.close()
    for update in found:
        assert update.attributes["team"] == "orders", update
        metric = update.metric
        print(metric.name, metric.kind, metric.unit, type(update.value).__name__, update.value)
    assert [one for one in again if one.metric.name == "mine"] == []
    mine = [one for one in found if one.metric.name == "mine"]
    assert mine[0].attributes["task_queue"] == "q", mine
    try:
        Runtime(telemetry=TelemetryConfig(metrics=buffer))
    except RuntimeError as error:
        print("refused:", error)
    try:
        Runtime(telemetry=TelemetryConfig(metrics=MetricBuffer(1)))
    except ValueError as error:
        print("refused:", error)

asyncio.run(main())
"""


@pytest.mark.embedded
def test_it_keeps_what_a_process_measures(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURES, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert f"mine {BUFFERED_METRIC_KIND_COUNTER} 1 int 2" in lines
    kinds = {tuple(line.split()[:3]) for line in lines}
    histogram, gauge = str(BUFFERED_METRIC_KIND_HISTOGRAM), str(BUFFERED_METRIC_KIND_GAUGE)
    assert ("perdure.workflow.latency", histogram, "s") in kinds
    assert ("perdure.worker.slots", gauge, "1") in kinds
    refused = [line for line in lines if line.startswith("refused:")]
    assert "another runtime's already" in refused[0]
    assert "set up already" in refused[1]


def test_a_buffer_is_some_runtimes_and_has_a_size() -> None:
    with pytest.raises(RuntimeError, match="given to no runtime"):
        MetricBuffer(10).retrieve_updates()
    with pytest.raises(ValueError, match="buffer_size is 0"):
        MetricBuffer(0)


def test_durations_are_given_as_the_buffer_was_told(caplog: pytest.LogCaptureFixture) -> None:
    for kind, unit, value in (
        (MetricBufferDurationFormat.MILLISECONDS, "ms", 1500),
        (MetricBufferDurationFormat.SECONDS, "s", 1.4999),
    ):
        buffer = Buffer(2, kind)
        meter = buffer._bind({}).get_meter("m")
        histogram = meter.create_histogram("lasts", unit="s")
        histogram.record(1.4999)
        histogram.record(2.0, {"a": "b"})
        histogram.record(3.0)
        found = buffer.retrieve_updates()

        assert len(found) == 2, "there is room for two"
        assert (found[0].value, found[0].metric.unit) == (value, unit)
        assert found[0].metric is found[1].metric
        assert found[1].attributes == {"a": "b"}
    assert "the metric buffer is full" in caplog.text


def test_what_is_asked_for_and_what_goes_up_and_down() -> None:
    from opentelemetry.metrics import Observation

    buffer = Buffer(100)
    meter = buffer._bind({}).get_meter("m")
    standing = iter([3, 5, 5])
    meter.create_observable_counter(
        "grown", callbacks=[lambda _: [Observation(next(standing), {"a": 1})]]
    )
    meter.create_observable_gauge("stands", callbacks=[lambda _: [Observation(7)]])
    open_ones = meter.create_up_down_counter("open")
    open_ones.add(2)
    open_ones.add(-1)

    rounds = [[(one.metric.name, one.value) for one in buffer.retrieve_updates()] for _ in range(3)]

    assert rounds[0] == [("open", 2), ("open", 1), ("grown", 3), ("stands", 7)]
    assert rounds[1] == [("grown", 2), ("stands", 7)]
    assert rounds[2] == [("stands", 7)]


def test_instruments_say_what_they_are_and_take_attributes() -> None:
    for meter in (MetricMeter.noop,):
        counter = meter.create_counter("c", "counts", "1").with_additional_attributes({"a": 1})
        lasts = meter.create_histogram_timedelta("d")
        counter.add(1)
        lasts.record(timedelta(seconds=1))
        assert (counter.name, counter.description, counter.unit) == ("c", "counts", "1")
        assert lasts.with_additional_attributes({}).description is None
