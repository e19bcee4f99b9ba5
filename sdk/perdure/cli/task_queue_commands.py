"""`perdure task-queue` and `perdure retention`: how a task queue stands, and what it keeps."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import msgspec
import typer

from perdure.cli.command_options import call
from perdure.cli.output import echo, print_json, print_table, text, time_of_ms
from perdure.cli.target import Broker, Engine, Namespace, Output, OutputFormat
from perdure.client import Client, TaskQueueRetention
from perdure_schemas.replies import RetentionInfo, WorkerInfo

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
        echo(f"\nno worker listens on task queue {task_queue!r} for activities")
        return
    echo()
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
    echo(f"the input at offset {offset} of partition {partition} is with the dead letters")


retention = typer.Typer(help="How long closed runs are kept.", no_args_is_help=True)
Queue = Annotated[
    str, typer.Option("--task-queue", "-q", envvar="PERDURE_TASK_QUEUE", help="Task queue.")
]
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
FOR_EVER = "for-ever"


def _keep(said: str) -> timedelta | None:
    """A length of time as it is typed: 30d, 12h, 90m, 10s, 0, or for-ever, which is None."""
    if said == FOR_EVER:
        return None
    number, unit = (said, "s") if said == "0" else (said[:-1], said[-1:])
    if unit not in _UNITS or not number.isascii() or not number.isdigit() or len(number) > 6:
        raise typer.BadParameter(f"{said!r}: give a length of time as 30d, 12h, 0, or {FOR_EVER}")
    return timedelta(seconds=int(number) * _UNITS[unit])


def _kept(keep_ms: int) -> str:
    if keep_ms < 0:
        return "[yellow]for ever[/]"
    for unit in ("d", "h", "m"):
        count, rest = divmod(keep_ms, _UNITS[unit] * 1000)
        if count and not rest:
            return f"{count}{unit}"
    return f"{keep_ms // 1000}s" if keep_ms else "not at all"


@retention.command("show")
def retention_show(
    task_queue: Queue,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show how long each partition keeps closed runs, and how many it would forget now."""
    infos = call(
        broker, engine, namespace, lambda client: TaskQueueRetention(client, task_queue).show()
    )
    if output is OutputFormat.JSON:
        print_json([msgspec.to_builtins(info) for info in infos])
        return
    print_table(
        ("PARTITION", "KEPT", "BY STATUS", "CLOSED", "DUE", "OLDEST", "TABLE", "EVENTS CUT"),
        [
            (
                str(info.partition),
                _kept(info.keep_ms) + (" (default)" if info.is_default else ""),
                ", ".join(f"{status}={_kept(one)}" for status, one in info.by_status.items()),
                str(info.closed_runs),
                f"{info.due_runs}{' or more' if info.is_more else ''}",
                time_of_ms(info.oldest_ms),
                f"{info.table_bytes / 1e6:.1f} MB",
                info.cut or "as the log",
            )
            for info in infos
        ],
    )


@retention.command("set")
def retention_set(
    task_queue: Queue,
    keep: Annotated[
        str, typer.Option(help="How long after its end: 30d, 12h, 0 (at once), or for-ever.")
    ],
    status: Annotated[
        list[str] | None,
        typer.Option(help="Another length of time for runs of a status: failed=90d."),
    ] = None,
    cut: Annotated[
        bool | None,
        typer.Option(
            "--cut-events/--keep-events",
            help="Delete events below a checkpoint; without it only an embedded log does.",
        ),
    ] = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
) -> None:
    """Set how long closed runs are kept; what was kept longer is forgotten within minutes."""
    by_status = {}
    for one in status or ():
        name, _, said = one.partition("=")
        by_status[name] = _keep(said)
    kept = _keep(keep)
    call(
        broker,
        engine,
        namespace,
        lambda client: TaskQueueRetention(client, task_queue).set(
            kept, by_status=by_status, cut_events=cut
        ),
    )
    if kept is None:
        echo(
            f"CLOSED RUNS OF TASK QUEUE {task_queue!r} ARE KEPT FOR EVER: tables and events only"
            " grow. Set a time when that is no longer wanted"
        )
        return
    echo(f"closed runs of task queue {task_queue!r} are kept for {keep}")


@retention.command("run")
def retention_run(
    task_queue: Queue,
    dry_run: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--dry-run", help="Only say what would go.")
    ] = False,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
) -> None:
    """Forget now what has been kept long enough; owners do it by themselves once a minute."""

    async def go(client: Client) -> list[RetentionInfo]:
        kept = TaskQueueRetention(client, task_queue)
        found = await kept.show()
        if not dry_run:
            await kept.run()
        return found

    infos = call(broker, engine, namespace, go)
    due = sum(info.due_runs for info in infos)
    more = " or more" if any(info.is_more for info in infos) else ""
    closed = sum(info.closed_runs for info in infos)
    verb = "would be forgotten" if dry_run else "are being forgotten"
    echo(f"{due}{more} of {closed} closed runs of task queue {task_queue!r} {verb}")
