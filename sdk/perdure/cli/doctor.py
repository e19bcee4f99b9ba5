"""`perdure doctor`: whether everything is as it must be, and what to do where it is not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from perdure import _assembly as assembly
from perdure.cli import diagnostics
from perdure.cli.diagnostics import Finding, Level
from perdure.cli.output import console, print_json, text
from perdure.cli.target import (
    Broker,
    Engine,
    Namespace,
    Output,
    OutputFormat,
    TaskQueue,
    target,
)
from perdure.client import Client
from perdure_topics.names import task_queues_of
from perdure_topics.ports import Log, LogError

_MARKS = {Level.OK: "[green]ok[/]", Level.WARNING: "[yellow]!![/]", Level.PROBLEM: "[red]no[/]"}


def doctor(
    broker: Broker = None,
    engine: Engine = None,
    task_queue: TaskQueue = None,
    namespace: Namespace = "default",
    state_dir: Annotated[
        Path | None, typer.Option("--state-dir", help="Where hosts here keep tables.")
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Look at broker, topics, rights, clocks, releases, lag and workers; say what to do.

    Looks at one task queue, or at all of the namespace. The exit status is 1 when there is a
    problem; warnings leave it at 0.
    """
    found = asyncio.run(_examine(target(broker, engine), namespace, task_queue, state_dir))
    if output is OutputFormat.JSON:
        print_json([finding._asdict() for finding in found])
    else:
        out = console()
        for finding in found:
            out.print(f"{_MARKS[finding.level]} [bold]{finding.check}[/]: {text(finding.message)}")
            if finding.remedy:
                out.print(f"     do: {text(finding.remedy)}", style="dim")
    if any(finding.level is Level.PROBLEM for finding in found):
        raise typer.Exit(1)


async def _examine(
    where: str, namespace: str, task_queue: str | None, state_dir: Path | None
) -> list[Finding]:
    found = diagnostics.gather(
        [diagnostics.check_versions, lambda: diagnostics.check_state(state_dir)]
    )
    found += await asyncio.to_thread(diagnostics.gather, [diagnostics.check_telemetry])
    try:
        log, close = await asyncio.to_thread(assembly.open_log, where)
    except LogError as error:
        return [*found, Finding("broker", Level.PROBLEM, str(error), "start it, or mend --broker")]
    try:
        reached = await asyncio.to_thread(lambda: list(diagnostics.check_broker(log)))
        found += reached
        if any(finding.level is Level.PROBLEM for finding in reached):
            return found
        queues = [task_queue] if task_queue else task_queues_of(log.topic_names(), namespace)
        if not queues:
            remedy = "perdure topics create --task-queue NAME, or start a worker"
            text_ = f"namespace {namespace!r} has no task queue"
            found.append(Finding("topics", Level.WARNING, text_, remedy))
        for queue in queues:
            found += await _examine_queue(where, log, namespace, queue)
        return found
    finally:
        await asyncio.to_thread(close)


async def _examine_queue(where: str, log: Log, namespace: str, queue: str) -> list[Finding]:
    found = await asyncio.to_thread(
        diagnostics.gather, [lambda: diagnostics.check_topics(log, namespace, queue)]
    )
    if any("no topic" in finding.message for finding in found):
        return found
    found += await asyncio.to_thread(
        diagnostics.gather,
        [
            lambda: diagnostics.check_clock_and_rights(log, namespace, queue),
            lambda: diagnostics.check_records(log, namespace, queue),
        ],
    )
    client = await Client.connect(where, namespace=namespace)
    try:
        found += await diagnostics.check_work(client, log, queue)
    finally:
        await client.close()
    return found
