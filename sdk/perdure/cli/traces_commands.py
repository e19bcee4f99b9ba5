"""`perdure traces`: export the spans of past and future runs to a collector."""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from perdure import _assembly as assembly
from perdure._telemetry import environment
from perdure.cli.output import error_console, print_json, progress_bar, text
from perdure.cli.target import Broker, Engine, Namespace, Output, OutputFormat, TaskQueue, target
from perdure_topics.names import task_queues_of, topic_name
from perdure_topics.ports import Log, LogError, TopicInfo
from perdure_topics.tables.state_directory import resolve_state_directory

if TYPE_CHECKING:
    from perdure_views.tracing.spans import Span

OTLP_DEFAULT: Final = "http://localhost:4318"
SAVE_EVERY_S: Final = 5.0
RETRY_S: Final = 2.0
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
logger = logging.getLogger("perdure.traces")


def traces(
    broker: Broker = None,
    engine: Engine = None,
    task_queue: TaskQueue = None,
    namespace: Namespace = "default",
    since: Annotated[
        str, typer.Option("--since", help="From when on: 30m, 24h, 7d, or a time in ISO form.")
    ] = "24h",
    follow: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until told to stop.")
    ] = False,
    endpoint: Annotated[
        str,
        typer.Option(
            "--endpoint",
            help=f"OTLP over HTTP. [env: OTEL_EXPORTER_OTLP_ENDPOINT] [default: {OTLP_DEFAULT}]",
            show_default=False,
        ),
    ] = "",
    state_dir: Annotated[
        Path | None,
        typer.Option(
            "--state-dir", help="Where --follow keeps its position. [env: PERDURE_STATE_DIR]"
        ),
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Send the spans of runs, as the log has them, to Jaeger or any collector of OpenTelemetry.

    Spans have the ids they had, so one that is there already is the same one again. With --follow
    it goes on where it stopped, and --since counts only for the first time.
    """
    since_ms = _since_ms(since)
    where = endpoint or environment.traces_address() or OTLP_DEFAULT
    log, close = assembly.open_log(target(broker, engine))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        queues = [task_queue] if task_queue else task_queues_of(log.topic_names(), namespace)
        infos = [_events(log, namespace, queue) for queue in queues]
        if not infos:
            raise LogError(f"namespace {namespace!r} has no task queue on {log.address}")
        services = {topic_name("events", namespace, queue): queue for queue in queues}
        sender = _Sender(where, services, stop)
        folder = resolve_state_directory(state_dir) / log.cluster_id / "traces"
        _read(log, infos, sender, since_ms=since_ms, directory=folder if follow else None)
        if output is OutputFormat.JSON:
            print_json({"spans": sender.sent, "endpoint": where, "stopped": stop.is_set()})
        else:
            error_console().print(f"{sender.sent} spans sent to {text(where)}")
    finally:
        close()


def _read(
    log: Log, infos: list[TopicInfo], sender: _Sender, *, since_ms: int, directory: Path | None
) -> None:
    from perdure_views.tracing.trace_reader import TraceReader

    bell = threading.Event()
    reader = TraceReader(log, infos, sender, since_ms=since_ms, ring=bell.set, directory=directory)
    follow, stop = directory is not None, sender.stop
    try:
        with progress_bar() as progress:
            bar = progress.add_task("records")
            saved_s = time.monotonic()
            while not stop.is_set() and (follow or not reader.is_at_end):
                bell.clear()
                more = reader.step()
                read, end = reader.progress
                sent = f"records, {reader.exported} spans sent"
                progress.update(bar, completed=read, total=end, description=sent)
                if not more:
                    bell.wait(0.2)
                if not more or time.monotonic() - saved_s >= SAVE_EVERY_S:
                    saved_s = time.monotonic()
                    reader.save()
        if not stop.is_set() or sender.is_well:
            reader.save()
    except InterruptedError:
        logger.warning("stopped before all spans were sent")
    finally:
        reader.close()


class _Sender:
    """Sends spans, however long that takes; InterruptedError when told to stop meanwhile."""

    def __init__(self, endpoint: str, services: dict[str, str], stop: threading.Event) -> None:
        from perdure_views.tracing.otlp import OtlpSpans

        exporter = environment.span_exporter(endpoint)
        # As their hosts name themselves, so that what is sent again is the same again.
        self._exports = {
            topic: OtlpSpans(exporter, environment.resource_of_log(service))
            for topic, service in services.items()
        }
        self._endpoint = endpoint
        self.stop = stop
        self.sent = 0
        self.is_well = True

    def __call__(self, topic: str, spans: Sequence[Span]) -> None:
        """Send spans; return once they have arrived."""
        while not self._exports[topic](spans):
            if self.is_well:
                error_console().print(f"spans do not arrive at {text(self._endpoint)}; waiting")
            self.is_well = False
            if self.stop.wait(RETRY_S):
                raise InterruptedError
        self.is_well = True
        self.sent += len(spans)


def _events(log: Log, namespace: str, queue: str) -> TopicInfo:
    name = topic_name("events", namespace, queue)
    info = log.topic(name)
    if info is None:
        raise LogError(f"task queue {queue!r} has no topic {name} on {log.address}")
    return info


def _since_ms(since: str) -> int:
    """The time that an option names. Raises typer.BadParameter."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", since.strip())
    if match is not None:
        return int((time.time() - int(match[1]) * _UNITS[match[2]]) * 1000)
    try:
        moment = datetime.fromisoformat(since)
    except ValueError as error:
        raise typer.BadParameter(
            f"{since!r} is no time: give 30m, 24h, 7d, or 2026-01-31T12:00"
        ) from error
    return int(moment.timestamp() * 1000)
