"""`perdure batch`: one action on all runs that a filter names, looked at before it begins."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from perdure.cli.command_options import Input, arguments_of, call
from perdure.cli.output import console, print_json, print_table, progress_bar, text
from perdure.cli.reset_options import ReapplyExclude, ResetTo, checked_point, excluded_of
from perdure.cli.target import Broker, Engine, Namespace, Output, OutputFormat, TaskQueue
from perdure.client import BatchDescription, Batches, BatchHandle, BatchPreview, Client
from perdure_schemas.answers.reset_points import LAST_TASK

app = typer.Typer(help="One action on all runs that a filter names.", no_args_is_help=True)
FAILURES_SHOWN: Final = 20
Id = Annotated[str, typer.Argument(metavar="BATCH", help="The batch's id.")]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for its end.")]


@app.command()
def start(
    action: Annotated[
        str,
        typer.Argument(metavar="ACTION", help="cancel, terminate, signal, retry, reset or delete."),
    ],
    query: Annotated[
        str, typer.Option("--query", help="Which runs, as for `perdure workflow list --query`.")
    ],
    reason: Annotated[str, typer.Option(help="Why; kept with each run.")] = "",
    rate: Annotated[float, typer.Option(help="Runs a second at most.")] = 50.0,
    name: Annotated[str, typer.Option(help="The signal's name.")] = "",
    input: Input = None,
    to: ResetTo = LAST_TASK,
    reapply_exclude: ReapplyExclude = None,
    yes: Yes = False,  # noqa: FBT002 - an option
    wait: Wait = False,  # noqa: FBT002 - an option
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Act on all runs that a filter names; they are counted and shown first."""
    checked_point(to)
    found = call(broker, engine, namespace, lambda client: Batches(client).preview(query))
    if not yes:
        _confirm(action, found)
    elif output is OutputFormat.TABLE:
        _show_preview(action, found)

    async def go(client: Client) -> BatchDescription:
        batch = await Batches(client).start(
            query,
            action,
            reason=reason,
            rate=rate,
            signal=name,
            args=arguments_of(input),
            to=to,
            exclude=excluded_of(reapply_exclude),
            task_queue=task_queue,
        )
        if wait:
            await _watch(batch)
        return await batch.describe()

    described = call(broker, engine, namespace, go)
    _show(described, output)
    if not wait and output is OutputFormat.TABLE:
        console().print(f"Follow it with: perdure batch describe {described.id}", soft_wrap=True)


async def _watch(batch: BatchHandle) -> None:
    """Show how far it is until it ends; a batch that was stopped has ended as well."""
    import asyncio

    with progress_bar() as bar:
        shown = bar.add_task(batch.id, total=None)
        while True:
            now = await batch.describe()
            done = now.progress.done + now.progress.skipped + now.progress.failed
            bar.update(shown, total=now.progress.total, completed=done)
            if now.close_time is not None:
                return
            await asyncio.sleep(0.5)


def _confirm(action: str, found: BatchPreview) -> None:
    _show_preview(action, found)
    if found.count and not typer.confirm(f"{action} {found.count} runs?", err=True):
        raise typer.Exit(1)


def _show_preview(action: str, found: BatchPreview) -> None:
    console().print(f"{action}: the filter names [bold]{found.count}[/] runs")
    if found.sample:
        print_table(
            ("ID", "TYPE", "STATUS", "TASK QUEUE"),
            [
                (
                    text(run.id),
                    text(run.workflow_type),
                    run.status.name.lower() if run.status is not None else "",
                    text(run.task_queue),
                )
                for run in found.sample
            ],
        )


@app.command()
def describe(
    batch: Id,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Say how far a batch is, and what failed."""
    found = call(broker, engine, namespace, lambda client: Batches(client).handle(batch).describe())
    _show(found, output)


@app.command(name="list")
def list_batches(
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """List the batches of the namespace, the newest first."""
    found = call(broker, engine, namespace, lambda client: Batches(client).list())
    if output is OutputFormat.JSON:
        print_json([_json(one) for one in found])
        return
    print_table(
        ("BATCH", "STATUS", "DONE", "SKIPPED", "FAILED", "OF", "STARTED"),
        [
            (
                text(one.id),
                one.status,
                str(one.progress.done),
                str(one.progress.skipped),
                str(one.progress.failed),
                str(one.progress.total),
                one.start_time.isoformat(timespec="seconds"),
            )
            for one in found
        ],
    )


@app.command()
def pause(
    batch: Id,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
) -> None:
    """Let a batch begin no further page; what is under way ends."""
    call(broker, engine, namespace, lambda client: Batches(client).handle(batch).pause())
    console().print(f"paused: [bold]{text(batch)}[/]")


@app.command()
def resume(
    batch: Id,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
) -> None:
    """Let a paused batch go on."""
    call(broker, engine, namespace, lambda client: Batches(client).handle(batch).resume())
    console().print(f"goes on: [bold]{text(batch)}[/]")


@app.command()
def cancel(
    batch: Id,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
) -> None:
    """Stop a batch; what it has done stays done."""
    call(broker, engine, namespace, lambda client: Batches(client).handle(batch).cancel())
    console().print(f"asked to stop: [bold]{text(batch)}[/]")


def _json(one: BatchDescription) -> dict[str, Any]:
    return {
        "batch": one.id,
        "status": one.status,
        "start_time": one.start_time,
        "close_time": one.close_time,
        "done": one.progress.done,
        "skipped": one.progress.skipped,
        "failed": one.progress.failed,
        "total": one.progress.total,
        "failures": [vars(failure) for failure in one.progress.failures],
    }


def _show(one: BatchDescription, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        print_json(_json(one))
        return
    progress = one.progress
    console().print(
        f"batch [bold]{text(one.id)}[/]: {one.status}; {progress.done} done, {progress.skipped}"
        f" skipped, {progress.failed} failed, of {progress.total}",
        soft_wrap=True,
    )
    for failure in progress.failures[:FAILURES_SHOWN]:
        console().print(
            f"  {text(failure.workflow_id)} {failure.run_id}: {text(failure.message)}",
            soft_wrap=True,
        )
    if progress.failed > FAILURES_SHOWN:
        console().print(f"  and {progress.failed - FAILURES_SHOWN} more")
