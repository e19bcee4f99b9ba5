"""`perdure topics`, `backup` and `restore`: topics of a task queue, copies of embedded logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perdure import _assembly as assembly
from perdure.cli.output import echo, error_console, print_json, print_table, text
from perdure.cli.target import Broker, Engine, Namespace, Output, OutputFormat, target
from perdure_topics.names import PARTITIONS_DEFAULT, topic_name
from perdure_topics.ports import (
    Log,
    LogError,
    LogForbiddenError,
    LogUnavailableError,
    TopicInfo,
    TopicSpec,
)
from perdure_topics.task_queue_topics import (
    TOPIC_ROLES,
    check_topics,
    creation_lines,
    marks_spec,
    missing_topics,
    topic_specs,
)

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
    relay: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--relay", help="Also the topic of the relay's marks.")
    ] = False,
    dry_run: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--dry-run", help="Ask the broker whether it would; make none.")
    ] = False,
    script: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--script", help="Print lines for kafka-topics.sh; ask no broker.")
    ] = False,
    command_config: Annotated[
        str,
        typer.Option(
            "--command-config", help="For --script: the properties of a secured listener."
        ),
    ] = "",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Make the topics of a task queue that are not there yet, and check those that are.

    Where a broker refuses, the same lines as of --script are shown, for whoever may make topics.
    """
    address = target(broker, engine)
    marks = [marks_spec(namespace, task_queue, replication=replication_factor)] if relay else []
    specs = topic_specs(
        namespace, task_queue, partitions=partitions, replication=replication_factor
    )
    every = [*specs.values(), *marks]
    if script:
        for line in creation_lines(every, address, command_config=command_config):
            echo(line)
        return
    log, close = assembly.open_log(address)
    try:
        try:
            missing = missing_topics(
                log, namespace, task_queue, partitions=partitions, replication=replication_factor
            )
        except LogForbiddenError:
            _say_lines(log, every)
            raise
        missing += [spec for spec in marks if log.topic(spec.name) is None]
        _make(log, missing, dry_run=dry_run)
        if dry_run:
            _show_planned(missing, output)
        else:
            _show(log, namespace, task_queue, output, {spec.name for spec in missing})
    finally:
        close()


def _make(log: Log, missing: list[TopicSpec], *, dry_run: bool) -> None:
    """Make topics, or ask whether they would be made."""
    try:
        if dry_run:
            assembly.validate_topics(log, missing)
        elif missing:
            log.create_topics(missing)
    except LogUnavailableError:
        raise
    except LogError:
        _say_lines(log, missing)
        raise


def _say_lines(log: Log, specs: list[TopicSpec]) -> None:
    out = error_console()
    out.print("the broker refuses; for whoever may make topics there, the same as lines:")
    for line in creation_lines(specs, log.address):
        out.print(text(line), highlight=False, soft_wrap=True)


def _show_planned(specs: list[TopicSpec], output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        print_json([spec._asdict() for spec in specs])
        return
    print_table(
        ("TOPIC", "PARTITIONS", ""),
        [(text(spec.name), str(spec.partitions), "would be made") for spec in specs],
    )


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
    names = [topic_name(role, namespace, task_queue) for role in (*TOPIC_ROLES, "marks")]
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
