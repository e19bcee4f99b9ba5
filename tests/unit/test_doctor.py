"""perdure doctor: all is well, and each thing that is not, with what to do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import _assembly as assembly
from perdure.cli import diagnostics, run
from perdure.cli.diagnostics import Finding, Level
from perdure_schemas.avro import MAGIC, encode
from perdure_schemas.replies import TaskQueueInfo, WorkerInfo
from perdure_schemas.transition import EpochBump
from perdure_schemas.version import VERSION
from perdure_topics.names import PARTITIONS_DEFAULT, topic_name, topic_settings
from perdure_topics.ports import Log, TopicSpec
from perdure_topics.task_queue_topics import topic_specs
from tests.broker.kafka_broker import free_port
from tests.broker.processes import Process
from tests.embedded_rig import write
from tests.otlp_sink import otlp_sink


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log, close = assembly.open_log(f"file:{tmp_path / 'data'}")
    yield log
    close()


def _doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[Any]]:
    status = run(["doctor", "--output", "json", *arguments])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.embedded
def test_a_sound_engine_has_nothing_to_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    options = ["--data", str(tmp_path / "data"), "--port", str(port)]
    arguments = ["engine", "examples.orders.app", *options]
    engine = Process("engine", arguments, tmp_path, journal=tmp_path / "journal").start()
    where = ["--engine", f"http://127.0.0.1:{port}", "--state-dir", str(tmp_path)]
    try:
        ends_s = time.monotonic() + 40
        status = 1
        found: list[Any] = []
        while status and time.monotonic() < ends_s:
            status, found = _doctor(capsys, *where)
        assert status == 0, found
        checks = {finding["check"]: finding for finding in found}
        assert set(checks) == {
            *("versions", "state", "broker", "topics", "rights", "clock", "schemas"),
            *("hosts", "lag", "workers"),
        }
        assert {finding["level"] for finding in found} == {"ok"}
        assert f"1 host(s) own {PARTITIONS_DEFAULT} partitions" in checks["hosts"]["message"]
        assert "1 activity worker(s)" in checks["workers"]["message"]
        assert run(["doctor", *where]) == 0
        assert "ok clock: this clock is" in capsys.readouterr().out
        with otlp_sink() as sink:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint)
            [traces] = diagnostics.gather([diagnostics.check_telemetry])
        assert traces == Finding("traces", Level.OK, f"spans go to {sink.endpoint}")
    finally:
        engine.stop()


def test_an_address_where_nobody_is_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    status, found = _doctor(capsys, "--engine", f"http://127.0.0.1:{free_port()}")
    assert status == 1
    assert [(f["check"], f["level"]) for f in found if f["level"] != "ok"] == [
        ("broker", "problem")
    ]
    assert "cannot be reached" in found[-1]["message"]


def test_missing_topics_come_with_the_command_that_makes_them(log: Log) -> None:
    found = list(diagnostics.check_topics(log, "default", "orders"))
    assert {finding.level for finding in found} == {Level.PROBLEM}
    assert len(found) == 6
    assert found[0].message.startswith("there is no topic default.orders.commands")
    assert found[0].remedy.startswith("make it with: perdure topics create")


def test_wrong_settings_and_partitions_come_with_what_mends_them(log: Log) -> None:
    specs = topic_specs("default", "orders", partitions=2)
    specs["events"] = specs["events"]._replace(partitions=3)
    settings = {**topic_settings("commands"), "cleanup.policy": "compact"}
    specs["commands"] = specs["commands"]._replace(settings=settings)
    log.create_topics(list(specs.values()))
    found = [f for f in diagnostics.check_topics(log, "default", "orders") if f.level != Level.OK]
    assert [finding.message for finding in found] == [
        "default.orders.commands has cleanup.policy=compact; wanted is delete",
        "default.orders.events has 3 partitions, the commands have 2",
    ]
    assert "--add-config cleanup.policy=delete" in found[0].remedy
    assert "new task queue" in found[1].remedy


def test_a_record_of_a_newer_release_is_a_problem(log: Log) -> None:
    name = topic_name("events", "default", "orders")
    log.create_topics([TopicSpec(name, 1, 1, topic_settings("events"))])
    bump = EpochBump(epoch=1, nonce=b"n", input_topic_id="t", owner="o", time_ms=1)
    write(log, name, [encode(bump)])
    [sound] = diagnostics.check_records(log, "default", "orders")
    assert sound == Finding("schemas", Level.OK, f"the newest 1 records of {name} can be read")
    write(log, name, [MAGIC + b"\7" * 8 + b"what comes later"])
    [found] = diagnostics.check_records(log, "default", "orders")
    assert (found.check, found.level) == ("schemas", Level.PROBLEM)
    assert f"release {VERSION} cannot read" in found.message
    assert found.remedy.startswith("upgrade")


def test_a_log_that_writes_where_it_may_and_says_the_time(log: Log) -> None:
    name = topic_name("commands", "default", "orders")
    log.create_topics([TopicSpec(name, 1, 1, topic_settings("commands"))])
    rights, clock = diagnostics.check_clock_and_rights(log, "default", "orders")
    assert (rights.level, clock.level) == (Level.OK, Level.OK)
    assert log.offsets(name, 0)[1] == 1


class Asked:
    """A client that is told how a task queue stands."""

    namespace = "default"

    def __init__(self, *infos: TaskQueueInfo) -> None:
        self._infos = list(infos)

    async def describe_task_queue(self, _: str, **__: Any) -> list[TaskQueueInfo]:
        return self._infos


async def test_lag_old_workers_and_blocked_runs_are_warnings(log: Log) -> None:
    name = topic_name("commands", "default", "orders")
    log.create_topics([TopicSpec(name, 1, 1, topic_settings("commands"))])
    write(log, name, [b"x"] * (diagnostics.LAG_MAX + 2))
    worker = WorkerInfo(
        *(),
        worker_id="w",
        identity="w",
        task_queue="orders",
        slots=1,
        slots_used=0,
        last_seen_ms=1,
        version="0.0.9",
    )
    info = TaskQueueInfo(
        partition=0, epoch=1, pseq=1, upto=0, owner="a", blocked_runs=3, workers=[worker]
    )
    client: Any = Asked(info)
    found = await diagnostics.check_work(client, log, "orders")
    warnings = {finding.check: finding.message for finding in found if finding.level != Level.OK}
    assert warnings == {
        "lag": "1001 commands wait, 1001 of them in one partition",
        "runs": "3 runs are blocked",
        "versions": f"workers of other releases listen: 0.0.9; here is {VERSION}",
    }
    idle: Any = Asked(TaskQueueInfo(partition=0, epoch=1, pseq=1, upto=1001, pending_activities=2))
    found = await diagnostics.check_work(idle, log, "orders")
    assert [f.message for f in found if f.level != Level.OK] == [
        "2 activities wait and no worker listens on 'orders'"
    ]


def test_spans_that_nobody_takes_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    [found] = diagnostics.check_telemetry()
    assert (found.check, found.level) == ("traces", Level.WARNING)
    assert "nobody takes spans at" in found.message
