"""`perdure insights`: figures and findings of a task queue, kept up by Faust or read at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from perdure import _assembly as assembly
from perdure.cli.output import error_console, print_json, print_table, text, time_of_ms
from perdure.cli.target import Broker, Engine, Namespace, Output, OutputFormat, TaskQueue, target
from perdure_schemas.findings import Finding
from perdure_topics.kafka.access import access_settings, aiokafka_settings
from perdure_topics.names import group_name, topic_name
from perdure_topics.ports import LogError
from perdure_topics.tables.state_directory import resolve_state_directory
from perdure_views.insights.preflight import changelog_name, check_tables
from perdure_views.insights.snapshot import read_insights

WEB_PORT = 6066


def insights(
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    once: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--once", help="Read the whole log, print, and end; needs no Faust.")
    ] = False,
    web_host: Annotated[
        str, typer.Option("--web-host", help="Address of the pages.")
    ] = "127.0.0.1",
    web_port: Annotated[
        int, typer.Option("--web-port", min=1, max=65535, help="Port of /figures.")
    ] = WEB_PORT,
    state_dir: Annotated[
        Path | None,
        typer.Option("--state-dir", help="Where tables are kept. [env: PERDURE_STATE_DIR]"),
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Keep figures and findings of a task queue, in any number of processes.

    A Faust app on the queue's events: figures at http://HOST:PORT/figures, findings in the
    namespace's findings topic. An engine has no Kafka for Faust: there, and with --once, the
    whole log is read and printed.
    """
    if not task_queue:
        raise typer.BadParameter("give --task-queue")
    where = target(broker, engine)
    log, close = assembly.open_log(where)
    try:
        topic = log.topic(topic_name("events", namespace, task_queue))
        if topic is None:
            raise LogError(f"task queue {task_queue!r} has no topics on {log.address}")
        if once or where.startswith(("http", "file:")):
            now_ms = time.time_ns() // 1_000_000
            figures, findings = read_insights(log, topic, task_queue, now_ms)
            _print(figures, findings, output)
            return
        own = group_name("insights", namespace, task_queue)
        directory = resolve_state_directory(state_dir) / log.cluster_id / "insights" / own
        check_tables(log, topic, changelog_name(namespace, task_queue), directory)
    finally:
        close()
    _run_faust(
        where,
        namespace,
        task_queue,
        topic.partitions,
        topic.replication,
        directory,
        web_host,
        web_port,
    )


def _run_faust(
    bootstrap: str,
    namespace: str,
    task_queue: str,
    partitions: int,
    replication: int,
    directory: Path,
    web_host: str,
    web_port: int,
) -> None:
    try:
        # Late: Faust is half a second of imports, and an extra.
        from perdure_views.insights.faust_app import InsightsSettings, run
    except ImportError as error:
        raise typer.BadParameter(
            f"Faust is not installed ({error}): pip install 'perdure[insights]', or give --once"
        ) from error
    run(
        InsightsSettings(
            bootstrap=bootstrap if ":" in bootstrap else f"{bootstrap}:9092",
            namespace=namespace,
            task_queue=task_queue,
            partitions=partitions,
            directory=assembly.empty_folder(directory),
            way=aiokafka_settings(access_settings()),
            web_host=web_host,
            web_port=web_port,
            replication=replication,
        )
    )


def _print(figures: list[dict[str, Any]], findings: list[Finding], output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        print_json({"figures": figures, "findings": findings})
        return
    shown = [row for row in figures if row["window_s"] == 60]
    print_table(
        ("MINUTE", "TYPE", "STARTED", "CLOSED", "P50 MS", "P99 MS", "FAILED ATTEMPTS"),
        [
            (
                time_of_ms(row["start_s"] * 1000),
                text(str(row["workflow_type"])),
                str(row["started"]),
                ", ".join(f"{n} {name}" for name, n in row["closed"].items()),
                str(row["p50_ms"] or ""),
                str(row["p99_ms"] or ""),
                str(row["attempts_failed"]),
            )
            for row in shown
        ],
    )
    for finding in findings:
        error_console().print(f"[bold]{text(finding.message)}[/]\n  {text(finding.remedy)}")
