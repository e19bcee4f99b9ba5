"""`perdure workflow`: start, wait for, describe, message, list and end workflows."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from perdure.cli import history, message_commands
from perdure.cli.command_options import Input, Seconds, arguments_of, call, choice, duration
from perdure.cli.output import console, echo, print_json, print_table, short, text
from perdure.cli.reset_options import Again, ReapplyExclude, ResetTo, checked_point, excluded_of
from perdure.cli.run_tables import block_line, print_description, run_json, run_row
from perdure.cli.target import (
    Broker,
    Engine,
    Namespace,
    Output,
    OutputFormat,
    RunId,
    TaskQueue,
    WorkflowId,
)
from perdure.client import Client, WorkflowExecution, WorkflowHandle
from perdure.common import RetryPolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from perdure_schemas.answers.reset_points import LAST_TASK

app = typer.Typer(help="Start, await, show, talk to, list and end workflows.", no_args_is_help=True)

Queue = Annotated[
    str, typer.Option("--task-queue", "-q", envvar="PERDURE_TASK_QUEUE", help="Task queue.")
]
WorkflowType = Annotated[str, typer.Argument(metavar="TYPE", help="The workflow's type.")]
IdReuse = Annotated[
    str,
    typer.Option(
        help="When a closed run has the id: allow_duplicate, allow_duplicate_failed_only or"
        " reject_duplicate."
    ),
]
IdConflict = Annotated[
    str,
    typer.Option(help="When an open run has the id: fail, use_existing or terminate_existing."),
]
Filter = Annotated[
    str,
    typer.Option(
        "--query",
        help="Which runs, as \"WorkflowType = 'Order' AND ExecutionStatus = 'Running'\"; all when"
        " empty.",
    ),
]


@app.command()
def start(
    workflow_type: WorkflowType,
    workflow_id: WorkflowId,
    task_queue: Queue,
    input: Input = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    id_reuse_policy: IdReuse = "allow_duplicate",
    id_conflict_policy: IdConflict = "fail",
    execution_timeout: Seconds = None,
    run_timeout: Seconds = None,
    start_delay: Seconds = None,
    max_attempts: Annotated[
        int | None, typer.Option(help="Retry the workflow, so many attempts in all.")
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Start a workflow, and say its run id."""
    arguments = arguments_of(input)

    async def go(client: Client) -> WorkflowHandle[Any, Any]:
        return await client.start_workflow(
            workflow_type,
            args=arguments,
            id=workflow_id,
            task_queue=task_queue,
            id_reuse_policy=choice(WorkflowIDReusePolicy, id_reuse_policy, "--id-reuse-policy"),
            id_conflict_policy=choice(
                WorkflowIDConflictPolicy, id_conflict_policy, "--id-conflict-policy"
            ),
            execution_timeout=duration(execution_timeout),
            run_timeout=duration(run_timeout),
            start_delay=duration(start_delay),
            retry_policy=RetryPolicy(maximum_attempts=max_attempts) if max_attempts else None,
        )

    handle = call(broker, engine, namespace, go)
    answer = {
        "workflow_id": handle.id,
        "run_id": handle.result_run_id,
        "first_run_id": handle.first_execution_run_id,
        "task_queue": task_queue,
    }
    if output is OutputFormat.JSON:
        print_json(answer)
    else:
        console().print(f"started [bold]{text(handle.id)}[/], run {handle.result_run_id}")


@app.command()
def execute(
    workflow_type: WorkflowType,
    workflow_id: WorkflowId,
    task_queue: Queue,
    input: Input = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    id_reuse_policy: IdReuse = "allow_duplicate",
    id_conflict_policy: IdConflict = "fail",
    execution_timeout: Seconds = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Start a workflow and wait for its result."""
    arguments = arguments_of(input)

    async def go(client: Client) -> Any:
        return await client.execute_workflow(
            workflow_type,
            args=arguments,
            id=workflow_id,
            task_queue=task_queue,
            id_reuse_policy=choice(WorkflowIDReusePolicy, id_reuse_policy, "--id-reuse-policy"),
            id_conflict_policy=choice(
                WorkflowIDConflictPolicy, id_conflict_policy, "--id-conflict-policy"
            ),
            execution_timeout=duration(execution_timeout),
        )

    _print_result(workflow_id, call(broker, engine, namespace, go), output)


def _print_result(workflow_id: str, value: Any, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        print_json({"workflow_id": workflow_id, "result": value})
    else:
        console().print(f"[green]completed[/] {text(short(value))}", soft_wrap=True)


@app.command()
def result(
    workflow_id: WorkflowId,
    run_id: RunId = None,
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    timeout: Seconds = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Wait for the result of a workflow."""

    async def go(client: Client) -> Any:
        handle = client.get_workflow_handle(workflow_id, run_id=run_id, task_queue=task_queue)
        return await handle.result(rpc_timeout=duration(timeout))

    _print_result(workflow_id, call(broker, engine, namespace, go), output)


@app.command()
def describe(
    workflow_id: WorkflowId,
    run_id: RunId = None,
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show how a run stands: what it waits for, attempts, errors, and why it is blocked."""
    description = call(
        broker,
        engine,
        namespace,
        lambda client: client.get_workflow_handle(
            workflow_id, run_id=run_id, task_queue=task_queue
        ).describe(),
    )
    if output is OutputFormat.JSON:
        print_json(msgspec.to_builtins(description.raw_description))
    else:
        print_description(description)


app.command(name="show", hidden=True)(history.history)
app.command()(history.history)
app.command()(message_commands.signal)
app.command()(message_commands.query)
app.command()(message_commands.stack)
app.command()(message_commands.metadata)
app.command()(message_commands.update)


@app.command(name="list")
def list_runs(
    query: Filter = "",
    limit: Annotated[int, typer.Option(help="How many at most.")] = 50,
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """List runs: the blocked ones with their cause, then the newest."""

    async def go(client: Client) -> list[WorkflowExecution]:
        runs = client.list_workflows(
            query, limit=limit, page_size=min(limit, 500), task_queue=task_queue
        )
        return [run async for run in runs]

    runs = call(broker, engine, namespace, go)
    if output is OutputFormat.JSON:
        print_json([run_json(run) for run in runs])
        return
    print_table(
        ("STATUS", "WORKFLOW ID", "TYPE", "TASK QUEUE", "STARTED", "TOOK"),
        [run_row(run) for run in runs],
    )
    for line in filter(None, map(block_line, runs)):
        console().print(line, soft_wrap=True)


@app.command()
def count(
    query: Filter = "",
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Count runs."""
    found = call(
        broker,
        engine,
        namespace,
        lambda client: client.count_workflows(query, task_queue=task_queue),
    )
    if output is OutputFormat.JSON:
        groups = [
            {"values": list(group.group_values), "count": group.count} for group in found.groups
        ]
        print_json({"count": found.count, "groups": groups})
    elif found.groups:
        rows = [(text(", ".join(map(str, g.group_values))), str(g.count)) for g in found.groups]
        print_table(("GROUP", "RUNS"), rows)
    else:
        echo(str(found.count))


@app.command()
def cancel(
    workflow_id: WorkflowId,
    run_id: RunId = None,
    reason: Annotated[str, typer.Option(help="Why; its code sees it.")] = "",
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Ask a run to cancel itself."""
    call(
        broker,
        engine,
        namespace,
        lambda client: client.get_workflow_handle(
            workflow_id, run_id=run_id, task_queue=task_queue
        ).cancel(reason=reason),
    )
    _done(workflow_id, "asked to cancel", output)


@app.command()
def terminate(
    workflow_id: WorkflowId,
    run_id: RunId = None,
    reason: Annotated[str, typer.Option(help="Why; kept with the run.")] = "",
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """End a run at once, without asking its code."""
    call(
        broker,
        engine,
        namespace,
        lambda client: client.get_workflow_handle(
            workflow_id, run_id=run_id, task_queue=task_queue
        ).terminate(reason=reason or None),
    )
    _done(workflow_id, "terminated", output)


@app.command()
def reset(
    workflow_id: WorkflowId,
    run_id: RunId = None,
    to: ResetTo = LAST_TASK,
    reason: Annotated[str, typer.Option(help="Why; kept with both runs.")] = "",
    reapply_exclude: ReapplyExclude = None,
    again: Again = False,  # noqa: FBT002 - an option
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """End a run, and begin a new one that goes on from an event of its history.

    What happened up to that event is kept and not done again; the code that is deployed now takes
    the event anew. Children go on for the new run, and later signals and updates come again.
    """
    point, exclude = checked_point(to), excluded_of(reapply_exclude)
    handle = call(
        broker,
        engine,
        namespace,
        lambda client: client.get_workflow_handle(
            workflow_id, run_id=run_id, task_queue=task_queue
        ).reset(point, reason=reason, exclude=exclude, again=again),
    )
    if output is OutputFormat.JSON:
        print_json({"workflow_id": workflow_id, "done": "reset", "run_id": handle.run_id})
        return
    console().print(f"reset: [bold]{text(workflow_id)}[/] goes on as run {handle.run_id}")


@app.command()
def delete(
    workflow_id: WorkflowId,
    run_id: RunId = None,
    reason: Annotated[str, typer.Option(help="Why; it stands in the log.")] = "",
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Forget a closed run: it is in no list any more, and has no history."""
    call(
        broker,
        engine,
        namespace,
        lambda client: client.get_workflow_handle(
            workflow_id, run_id=run_id, task_queue=task_queue
        ).delete(reason=reason),
    )
    _done(workflow_id, "deleted", output)


def _done(workflow_id: str, what: str, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        print_json({"workflow_id": workflow_id, "done": what})
    else:
        console().print(f"{what}: [bold]{text(workflow_id)}[/]")
