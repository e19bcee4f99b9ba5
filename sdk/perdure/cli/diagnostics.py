"""The checks of `perdure doctor`: each yields findings with a remedy and changes nothing."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from perdure._telemetry import environment
from perdure_schemas.avro import UnreadableRecordError, encode
from perdure_schemas.commands import DescribeTaskQueue
from perdure_schemas.payloads import ReplyTo
from perdure_schemas.replies import TaskQueueInfo
from perdure_schemas.version import VERSION
from perdure_topics import requirements
from perdure_topics.fold import read_envelope
from perdure_topics.names import PARTITIONS_DEFAULT, topic_name
from perdure_topics.ports import LogError
from perdure_topics.tables.state_directory import resolve_state_directory
from perdure_topics.task_queue_topics import missing_topic, topic_specs

if TYPE_CHECKING:
    from perdure.client import Client
    from perdure_topics.ports import Log

ANSWER_S: Final = 15.0
NEWEST_RECORDS: Final = 50
"""How many of the newest records of each events partition are read for their schemas."""
LAG_MAX: Final = 1_000
SKEW_WARNING_MS: Final = 5_000
SKEW_PROBLEM_MS: Final = 30_000
FREE_BYTES_WANTED: Final = 1024 * 1024 * 1024


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """What a check found, and what to do about it."""

    check: str
    level: Level
    message: str
    remedy: str = ""


def check_versions() -> Iterator[Finding]:
    """Which releases work together here."""
    libraries = ("confluent-kafka", "fastavro", "rocksdict", "msgspec")
    parts = [f"{library} {importlib.metadata.version(library)}" for library in libraries]
    yield Finding("versions", Level.OK, ", ".join([f"perdure {VERSION}", *parts]))


def check_broker(log: Log) -> Iterator[Finding]:
    """Whether the log answers, and on how many machines it is."""
    try:
        names, brokers = log.topic_names(), log.broker_count()
    except LogError as error:
        yield Finding("broker", Level.PROBLEM, str(error), "start it, or mend --broker")
        return
    yield Finding(
        "broker",
        Level.OK,
        f"{log.address} answers: cluster {log.cluster_id}, {brokers} broker(s),"
        f" {len(names)} topics",
    )
    if not _is_embedded(log) and brokers < requirements.REPLICAS_WANTED:
        yield Finding(
            "replication",
            Level.WARNING,
            f"{brokers} broker(s): what one machine loses is lost",
            "run three, with topics made anew with --replication-factor 3, in production",
        )


def check_topics(log: Log, namespace: str, task_queue: str) -> Iterator[Finding]:
    """Whether the topics of a task queue are there and as the protocol needs them."""
    commands = log.topic(topic_name("commands", namespace, task_queue))
    count = commands.partitions if commands else PARTITIONS_DEFAULT
    specs = topic_specs(namespace, task_queue, partitions=count)
    sound = 0
    for role, spec in specs.items():
        info = log.topic(spec.name)
        if info is None:
            error = missing_topic(log, namespace, task_queue, spec)
            message, _, remedy = str(error).partition("; ")
            yield Finding("topics", Level.PROBLEM, message, remedy)
            continue
        found = requirements.mismatches(log, role, info)
        for mismatch in found:
            yield Finding(
                "topics",
                Level.PROBLEM,
                f"{mismatch.topic} has {mismatch.setting}={mismatch.found}; wanted is"
                f" {mismatch.wanted}",
                mismatch.command,
            )
        if role in ("events", "tasks") and info.partitions != count:
            yield Finding(
                "topics",
                Level.PROBLEM,
                f"{info.name} has {info.partitions} partitions, the commands have {count}",
                "make a new task queue and let this one drain: the number is fixed",
            )
        sound += not found
    if sound == len(specs):
        yield Finding(
            "topics", Level.OK, f"{sound} topics of task queue {task_queue!r}, {count} partitions"
        )


def check_clock_and_rights(log: Log, namespace: str, task_queue: str) -> Iterator[Finding]:
    """Whether this process may write commands, and how far its clock is from the log's.

    It writes one question that nobody answers; hosts pass it over.
    """
    topic = topic_name("commands", namespace, task_queue)
    bell = threading.Event()
    reply = ReplyTo(partition=0, correlation_id="perdure-doctor")
    value = encode(DescribeTaskQueue(partition=0, reply=reply))
    appender = log.appender(on_ready=bell.set, timeout_ms=int(ANSWER_S * 1000))
    try:
        before_ms = time.time() * 1000
        appender.append(topic, 0, value)
        ends_s = time.monotonic() + ANSWER_S
        while not (reports := appender.reports()) and time.monotonic() < ends_s:
            bell.wait(0.1)
            bell.clear()
    except LogError as error:
        yield Finding("rights", Level.PROBLEM, str(error), _grant(namespace, task_queue, "client"))
        return
    finally:
        appender.close()
    report = reports[0] if reports else None
    if report is None or report.error is not None:
        why = "no answer" if report is None or report.error is None else report.error
        remedy = _grant(namespace, task_queue, "client")
        yield Finding("rights", Level.PROBLEM, f"{topic} cannot be written: {why}", remedy)
        return
    yield Finding("rights", Level.OK, f"commands can be written to {topic}")
    after_ms = time.time() * 1000
    skew_ms = max(before_ms - report.timestamp_ms, report.timestamp_ms - after_ms, 0)
    level = Level.PROBLEM if skew_ms > SKEW_PROBLEM_MS else Level.OK
    if level == Level.OK and skew_ms > SKEW_WARNING_MS:
        level = Level.WARNING
    remedy = "" if level is Level.OK else "let NTP set the clocks of this machine and the broker's"
    yield Finding("clock", level, f"this clock is {skew_ms:.0f} ms off the log's", remedy)


def check_records(log: Log, namespace: str, task_queue: str) -> Iterator[Finding]:
    """Whether the newest records of the events can be read by this release."""
    name = topic_name("events", namespace, task_queue)
    info = log.topic(name)
    if info is None:
        return
    bell = threading.Event()
    tail = log.tail(on_ready=bell.set, committed=False)
    read = 0
    try:
        for partition in range(info.partitions):
            start, end = log.offsets(name, partition)
            first = max(start, end - NEWEST_RECORDS)
            if first >= end:
                continue
            tail.assign(name, partition, first)
            offset, ends_s = first, time.monotonic() + ANSWER_S
            while offset < end and time.monotonic() < ends_s:
                bell.clear()
                records = tail.take(name, partition, NEWEST_RECORDS)
                for record in records:
                    read_envelope(record.value)
                    offset = record.offset + 1
                    read += 1
                if not records:
                    bell.wait(0.1)
            tail.unassign(name, partition)
    except UnreadableRecordError as error:
        yield Finding(
            "schemas",
            Level.PROBLEM,
            f"{name} holds a record that release {VERSION} cannot read: {error}",
            "upgrade this installation to the release of the hosts; never go back",
        )
        return
    except LogError as error:
        remedy = _grant(namespace, task_queue, "host")
        yield Finding("rights", Level.WARNING, f"{name} cannot be read: {error}", remedy)
        return
    finally:
        tail.close()
    yield Finding("schemas", Level.OK, f"the newest {read} records of {name} can be read")


async def check_work(client: Client, log: Log, task_queue: str) -> list[Finding]:
    """Who owns the partitions, what waits, and whether workers listen."""
    try:
        infos = await client.describe_task_queue(
            task_queue, rpc_timeout=timedelta(seconds=ANSWER_S)
        )
    except Exception as error:
        remedy = f"start one: perdure worker MODULE --task-queue {task_queue}"
        return [Finding("hosts", Level.PROBLEM, str(error), remedy)]
    found = [_owners(infos), _lag(log, client.namespace, task_queue, infos)]
    blocked = sum(info.blocked_runs for info in infos)
    if blocked:
        remedy = "perdure workflow list shows them first, perdure workflow describe says why"
        found.append(Finding("runs", Level.WARNING, f"{blocked} runs are blocked", remedy))
    workers = {worker.worker_id: worker for info in infos for worker in info.workers}
    others = {worker.version for worker in workers.values()} - {"", VERSION}
    if others:
        found.append(
            Finding(
                "versions",
                Level.WARNING,
                f"workers of other releases listen: {', '.join(sorted(others))}; here is {VERSION}",
                "finish the upgrade: hosts first, then workers, then clients",
            )
        )
    waiting = sum(info.pending_activities for info in infos)
    if waiting and not workers:
        remedy = f"start one: perdure worker MODULE --task-queue {task_queue}"
        text = f"{waiting} activities wait and no worker listens on {task_queue!r}"
        found.append(Finding("workers", Level.WARNING, text, remedy))
    else:
        text = f"{len(workers)} activity worker(s), {waiting} activities pending"
        found.append(Finding("workers", Level.OK, text))
    return found


def _owners(infos: list[TaskQueueInfo]) -> Finding:
    owners = {info.owner for info in infos if info.owner}
    runs = sum(info.open_runs for info in infos)
    text = f"{len(owners)} host(s) own {len(infos)} partitions, {runs} open runs"
    return Finding("hosts", Level.OK, text)


def _lag(log: Log, namespace: str, task_queue: str, infos: list[TaskQueueInfo]) -> Finding:
    topic = topic_name("commands", namespace, task_queue)
    behind = [max(log.offsets(topic, i.partition)[1] - 1 - i.upto, 0) for i in infos]
    worst = max(behind, default=0)
    if worst <= LAG_MAX:
        return Finding("lag", Level.OK, f"{sum(behind)} commands wait")
    return Finding(
        "lag",
        Level.WARNING,
        f"{sum(behind)} commands wait, {worst} of them in one partition",
        "start more processes; look at their log and at the broker's speed",
    )


def check_state(directory: str | Path | None) -> Iterator[Finding]:
    """Whether tables can be kept on this machine."""
    place = resolve_state_directory(directory)
    near = next(parent for parent in (place, *place.parents) if parent.exists())
    if not os.access(near, os.W_OK):
        remedy = "give --state-dir, or set PERDURE_STATE_DIR, for hosts on this machine"
        yield Finding("state", Level.WARNING, f"{place} cannot be written", remedy)
        return
    free = shutil.disk_usage(near).free
    level = Level.OK if free >= FREE_BYTES_WANTED else Level.WARNING
    remedy = "" if level is Level.OK else "make room: tables grow with every run"
    yield Finding("state", level, f"{place}: {free // (1024 * 1024)} MiB free", remedy)


def check_telemetry() -> Iterator[Finding]:
    """Whether spans have somewhere to go, where they are asked for."""
    address = environment.traces_address()
    if not address:
        return
    from opentelemetry.sdk.trace.export import SpanExportResult

    try:
        exporter = environment.span_exporter()
    except environment.TelemetryError as error:
        yield Finding("traces", Level.WARNING, str(error), environment.INSTALL)
        return
    try:
        arrives = exporter.export([]) is SpanExportResult.SUCCESS
    finally:
        exporter.shutdown()
    if arrives:
        yield Finding("traces", Level.OK, f"spans go to {address}")
        return
    remedy = "start it, or mend OTEL_EXPORTER_OTLP_ENDPOINT; workflows go on without"
    yield Finding("traces", Level.WARNING, f"nobody takes spans at {address}", remedy)


def gather(checks: list[Callable[[], Iterator[Finding]]]) -> list[Finding]:
    """What checks find, one after the other; one that fails is a finding itself."""
    found: list[Finding] = []
    for check in checks:
        try:
            found += check()
        except LogError as error:
            found.append(Finding("broker", Level.PROBLEM, str(error), "mend that first"))
    return found


def _is_embedded(log: Log) -> bool:
    return log.address.startswith(("file:", "http:", "https:"))


def _grant(namespace: str, task_queue: str, role: str) -> str:
    other = "" if namespace == "default" else f" --namespace {namespace}"
    return f"perdure acls {role} --principal User:NAME --task-queue {task_queue}{other} --grant"
