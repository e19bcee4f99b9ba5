"""`perdure workflow signal|query|metadata|update`: talk to a run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from perdure.api.sdk.v1 import WorkflowMetadata
from perdure.cli.command_options import Input, Seconds, arguments_of, call, choice, duration
from perdure.cli.output import console, print_json, short, text
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
from perdure.client import Client, WorkflowUpdateHandle, WorkflowUpdateStage
from perdure.common import QueryRejectCondition
from perdure_actors.replay.builtin_queries import METADATA, STACK_TRACE

SignalName = Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")]
QueryName = Annotated[str, typer.Argument(metavar="NAME", help="The query's name.")]
UpdateName = Annotated[str, typer.Argument(metavar="NAME", help="The update's name.")]


class Stage(StrEnum):
    """How far an update must be."""

    ACCEPTED = "accepted"
    COMPLETED = "completed"


def signal(
    name: SignalName,
    workflow_id: WorkflowId,
    input: Input = None,
    run_id: RunId = None,
    buffer: Annotated[
        float | None,
        typer.Option(help="Seconds that it may wait for the workflow to be started."),
    ] = None,
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    timeout: Seconds = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Send a signal, and return once a run has taken it, or it waits for one."""
    arguments = arguments_of(input)

    async def go(client: Client) -> None:
        handle = client.get_workflow_handle(workflow_id, run_id=run_id, task_queue=task_queue)
        await handle.signal(
            name, args=arguments, buffer_for=duration(buffer), rpc_timeout=duration(timeout)
        )

    call(broker, engine, namespace, go)
    if output is OutputFormat.JSON:
        print_json({"workflow_id": workflow_id, "signal": name, "done": "taken"})
    else:
        console().print(f"signal [bold]{text(name)}[/] taken by [bold]{text(workflow_id)}[/]")


def query(
    name: QueryName,
    workflow_id: WorkflowId,
    input: Input = None,
    run_id: RunId = None,
    reject_condition: Annotated[
        str, typer.Option(help="Refuse: none, not_open or not_completed_cleanly.")
    ] = "none",
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    timeout: Seconds = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Ask the code of a run for a value, and print it."""
    arguments = arguments_of(input)
    condition = choice(QueryRejectCondition, reject_condition, "--reject-condition")

    async def go(client: Client) -> Any:
        handle = client.get_workflow_handle(workflow_id, run_id=run_id, task_queue=task_queue)
        return await handle.query(
            name, args=arguments, reject_condition=condition, rpc_timeout=duration(timeout)
        )

    value = call(broker, engine, namespace, go)
    if output is OutputFormat.JSON:
        print_json({"workflow_id": workflow_id, "query": name, "result": value})
    else:
        console().print(text(short(value)), soft_wrap=True)


def stack(
    workflow_id: WorkflowId,
    run_id: RunId = None,
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    timeout: Seconds = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show where the code of a run waits, by file and line."""

    async def go(client: Client) -> str:
        handle = client.get_workflow_handle(workflow_id, run_id=run_id, task_queue=task_queue)
        found: str = await handle.query(STACK_TRACE, result_type=str, rpc_timeout=duration(timeout))
        return found

    found = call(broker, engine, namespace, go)
    if output is OutputFormat.JSON:
        print_json({"workflow_id": workflow_id, "stack": found})
    else:
        console().print(text(found), soft_wrap=True)


def metadata(
    workflow_id: WorkflowId,
    run_id: RunId = None,
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    timeout: Seconds = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Ask the code of a run for its current details and the messages that it takes."""

    async def go(client: Client) -> WorkflowMetadata:
        handle = client.get_workflow_handle(workflow_id, run_id=run_id, task_queue=task_queue)
        asked: WorkflowMetadata = await handle.query(
            METADATA, result_type=WorkflowMetadata, rpc_timeout=duration(timeout)
        )
        return asked

    found = call(broker, engine, namespace, go)
    if output is OutputFormat.JSON:
        print_json(msgspec.to_builtins(found))
        return
    definition, out = found.definition, console()
    out.print(f"[bold]{text(definition.type)}[/]")
    if found.current_details:
        out.print(text(found.current_details))
    kinds = {
        "signal": definition.signal_definitions,
        "query": definition.query_definitions,
        "update": definition.update_definitions,
    }
    for kind, handlers in kinds.items():
        for handler in handlers:
            described = f": {handler.description}" if handler.description else ""
            out.print(text(f"{kind} {handler.name or '(any other)'}{described}"))


def update(
    name: UpdateName,
    workflow_id: WorkflowId,
    input: Input = None,
    run_id: RunId = None,
    update_id: Annotated[
        str | None, typer.Option("--update-id", help="One id is one update; random without it.")
    ] = None,
    wait_for_stage: Annotated[
        Stage, typer.Option("--wait-for-stage", help="Return once it is so far.")
    ] = Stage.COMPLETED,
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    timeout: Seconds = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Send an update; print what it returned, or the id by which to ask later."""
    arguments = arguments_of(input)
    is_whole = wait_for_stage is Stage.COMPLETED

    async def go(client: Client) -> tuple[WorkflowUpdateHandle[Any], Any]:
        handle = client.get_workflow_handle(workflow_id, run_id=run_id, task_queue=task_queue)
        sent = await handle.start_update(
            name,
            args=arguments,
            id=update_id,
            wait_for_stage=choice(WorkflowUpdateStage, wait_for_stage, "--wait-for-stage"),
            rpc_timeout=duration(timeout),
        )
        return sent, await sent.result(rpc_timeout=duration(timeout)) if is_whole else None

    sent, value = call(broker, engine, namespace, go)
    if output is OutputFormat.JSON:
        answer = {
            "workflow_id": workflow_id,
            "run_id": sent.workflow_run_id,
            "update": name,
            "update_id": sent.id,
            "stage": wait_for_stage.value,
        }
        print_json({**answer, "result": value} if is_whole else answer)
    elif is_whole:
        console().print(f"[green]completed[/] {text(short(value))}", soft_wrap=True)
    else:
        console().print(f"accepted: update [bold]{text(sent.id)}[/], run {sent.workflow_run_id}")
