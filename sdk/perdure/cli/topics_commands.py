"""`perdure topics`, `backup` and `restore`: topics of a task queue, copies of embedded logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perdure import _assembly as assembly
from perdure.cli.output import echo, print_json, print_table, text
from perdure.cli.target import Broker, Engine, Namespace, Output, OutputFormat, target
from perdure_topics.names import PARTITIONS_DEFAULT, topic_name
from perdure_topics.ports import Log, TopicInfo
from perdure_topics.task_queue_topics import TOPIC_ROLES, check_topics, create_topics

app = typer.Typer(help="Make and show the topics of a task queue.", no_args_is_help=True)

Queue = Annotated[
    str, typer.Option("--task-queue", "-q", envvar="PERDURE_TASK_QUEUE", help="Task queue.")
]


@app.command()
def create(
    task_queue: Queue,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    partitions: Annotated[
        int, typer.Option(help="Partitions of the task queue; fixed from then on.")
    ] = PARTITIONS_DEFAULT,
    replication_factor: Annotated[
        int, typer.Option(help="Copies of each record; -1 is the broker's default.")
    ] = -1,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Make the topics of a task queue that are not there yet, and check those that are."""
    log, close = assembly.open_log(target(broker, engine))
    try:
        made = create_topics(
            log, namespace, task_queue, partitions=partitions, replication=replication_factor
        )
        _show(log, namespace, task_queue, output, {spec.name for spec in made})
    finally:
        close()


@app.command()
def describe(
    task_queue: Queue,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show the topics of a task queue, and whether it can stand on them."""
    log, close = assembly.open_log(target(broker, engine))
    try:
        check_topics(log, namespace, task_queue)
        _show(log, namespace, task_queue, output, set())
    finally:
        close()


def _show(log: Log, namespace: str, task_queue: str, output: OutputFormat, made: set[str]) -> None:
    names = [topic_name(role, namespace, task_queue) for role in TOPIC_ROLES]
    infos = [info for info in map(log.topic, names) if info is not None]
    if output is OutputFormat.JSON:
        print_json([{**info._asdict(), "made": info.name in made} for info in infos])
        return
    print_table(
        ("TOPIC", "PARTITIONS", "REPLICAS", "RETENTION", ""),
        [_row(info, "made" if info.name in made else "") for info in infos],
    )


def _row(info: TopicInfo, word: str) -> tuple[str, ...]:
    retention_ms = int(info.settings.get("retention.ms", "-1"))
    days = retention_ms / 86_400_000
    kept = "for ever" if retention_ms < 0 else f"{days:g} d" if days >= 1 else f"{days * 24:g} h"
    return text(info.name), str(info.partitions), str(info.replication), kept, word


def backup(
    to: Annotated[Path, typer.Argument(help="A directory that is empty or not there yet.")],
    data: Annotated[Path, typer.Option(help="The directory of the engine.")] = Path("data"),
) -> None:
    """Copy the log of an embedded engine's directory, while it runs or not.

    What was acknowledged before this began is in the copy. Tables are not: they are made anew.
    """
    from perdure_topics.embedded.backup import copy_log

    entries = copy_log(data.expanduser().absolute(), to.expanduser().absolute())
    echo(f"{entries} entries of {data} are copied to {to}")


def restore(
    copy: Annotated[Path, typer.Argument(help="What `perdure backup` has made.")],
    data: Annotated[Path, typer.Option(help="The directory to make, for an engine.")] = Path(
        "data"
    ),
) -> None:
    """Put a backup into a directory that has no log, once all of it was read.

    What happened after the backup is lost with the log that it replaces; activities that ran since
    may run again.
    """
    from perdure_topics.embedded.backup import restore_log

    found = restore_log(copy.expanduser().absolute(), data.expanduser().absolute())
    print_table(
        ("EVENTS", "PARTITION", "OFFSETS", "TRANSITIONS", "STALE"),
        [
            (
                text(one.topic),
                str(one.partition),
                f"{one.start} to {one.end}",
                str(one.accepted_pseq),
                str(one.stale),
            )
            for one in found
        ],
    )
    echo(f"{copy} was read and is in {data}: start the engine with --data {data}")
