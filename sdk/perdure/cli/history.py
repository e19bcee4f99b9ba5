"""`perdure workflow history|show`: what happened in a run, once or as it happens."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from perdure.cli.command_options import call
from perdure.cli.output import console, print_json, text
from perdure.cli.target import (
    Broker,
    Engine,
    Namespace,
    Output,
    OutputFormat,
    RunId,
    TaskQueue,
    WorkflowId,
    connected,
)
from perdure.cli.timeline import Timeline, print_timeline
from perdure.client import Client, WorkflowHandle

Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Go on with what happens, until the run ends.")
]


def history(
    workflow_id: WorkflowId,
    run_id: RunId = None,
    follow: Follow = False,  # noqa: FBT002 - an option
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show what happened in a run, with attempts and errors. Also as `show`.

    With --follow what happens is shown as it happens; as JSON, a line an event.
    """
    if follow:
        asyncio.run(_follow(broker, engine, namespace, (workflow_id, run_id, task_queue), output))
        return
    found = call(
        broker,
        engine,
        namespace,
        lambda client: _handle(client, workflow_id, run_id, task_queue).fetch_history(),
    )
    if output is OutputFormat.JSON:
        print_json(found.to_json_dict())
        return
    console().print(f"[bold]{text(workflow_id)}[/], run {found.run_id}")
    print_timeline(found)


def _handle(
    client: Client, workflow_id: str, run_id: str | None, task_queue: str | None
) -> WorkflowHandle[Any, Any]:
    return client.get_workflow_handle(workflow_id, run_id=run_id, task_queue=task_queue)


async def _follow(
    broker: str | None,
    engine: str | None,
    namespace: str,
    which: tuple[str, str | None, str | None],
    output: OutputFormat,
) -> None:
    async with connected(broker, engine, namespace) as client:
        events = _handle(client, *which).fetch_history_events(wait_new_event=True)
        if output is OutputFormat.JSON:
            async for event in events:
                print_json(event.to_json_dict())
            return
        out, timeline, is_headed = console(), Timeline(), False
        # The spinner stays below what is printed; without a terminal nothing moves.
        waiting = out.status("the run is open") if out.is_terminal else nullcontext()
        with waiting:
            async for event in events:
                if not is_headed:
                    is_headed = True
                    out.print(f"[bold]{text(which[0])}[/], run {events.run_id}")
                _print_row(out, timeline.row(event))


def _print_row(out: Console, row: tuple[str, str, str, str, str]) -> None:
    """One event, in columns of fixed width: those of what comes are not known yet."""
    number, at, sign, what, details = row
    if not out.is_terminal:
        out.print(f"{number:>5} {at:>10} {sign} {what} {details}".rstrip(), soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", width=5)
    table.add_column(justify="right", width=10)
    table.add_column(width=1)
    table.add_column(overflow="fold", width=max(out.width // 3, 20))
    table.add_column(overflow="fold")
    table.add_row(number, at, sign, what, details)
    out.print(table)
