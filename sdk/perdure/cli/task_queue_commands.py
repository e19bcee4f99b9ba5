"""`perdure task-queue`: how a task queue stands, partition by partition."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from perdure.cli.command_options import call
from perdure.cli.output import print_json, print_table, text, time_of_ms
from perdure.cli.target import Broker, Engine, Namespace, Output, OutputFormat
from perdure_schemas.replies import WorkerInfo

app = typer.Typer(help="How a task queue stands.", no_args_is_help=True)


@app.command()
def describe(
    task_queue: Annotated[
        str, typer.Option("--task-queue", "-q", envvar="PERDURE_TASK_QUEUE", help="Task queue.")
    ],
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show who owns its partitions, which workers listen, and what is open."""
    infos = call(broker, engine, namespace, lambda client: client.describe_task_queue(task_queue))
    if output is OutputFormat.JSON:
        print_json([msgspec.to_builtins(info) for info in infos])
        return
    print_table(
        ("PARTITION", "OWNER", "OPEN", "BLOCKED", "ACTIVITIES", "READ TO", "TRANSITIONS"),
        [
            (
                str(info.partition),
                text(info.owner),
                str(info.open_runs),
                f"[red]{info.blocked_runs}[/]" if info.blocked_runs else "0",
                str(info.pending_activities),
                str(info.upto),
                str(info.pseq),
            )
            for info in infos
        ],
    )
    workers: dict[str, WorkerInfo] = {}
    for info in infos:
        for worker in info.workers:
            known = workers.get(worker.worker_id)
            if known is None or known.last_seen_ms < worker.last_seen_ms:
                workers[worker.worker_id] = worker
    if not workers:
        print(f"\nno worker listens on task queue {task_queue!r} for activities")
        return
    print()
    print_table(
        ("WORKER", "SLOTS", "LAST SEEN", "RELEASE"),
        [
            (
                text(worker.identity),
                f"{worker.slots_used} of {worker.slots}",
                time_of_ms(worker.last_seen_ms),
                worker.version,
            )
            for worker in workers.values()
        ],
    )


@app.command("skip-input")
def skip_input(
    task_queue: Annotated[
        str, typer.Option("--task-queue", "-q", envvar="PERDURE_TASK_QUEUE", help="Task queue.")
    ],
    partition: Annotated[int, typer.Option(min=0, help="The partition that stands still.")],
    offset: Annotated[int, typer.Option(min=0, help="The input that it stands at.")],
    reason: Annotated[str, typer.Option(help="Why, for people.")] = "",
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
) -> None:
    """Put one input that holds its partition up with the dead letters, undecided.

    `perdure task-queue describe` says how far a partition was read: the next input holds it up.
    """
    call(
        broker,
        engine,
        namespace,
        lambda client: client.skip_input(
            task_queue, partition=partition, offset=offset, reason=reason
        ),
    )
    print(f"the input at offset {offset} of partition {partition} is with the dead letters")
