"""`perdure dead`: look at the dead letters of a task queue, take them again, or set them aside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from perdure import _assembly as assembly
from perdure.cli.output import echo, print_json, print_table, text, time_of_ms
from perdure.cli.target import Broker, Engine, Namespace, Output, OutputFormat, target
from perdure_topics.ports import LogError
from perdure_views.dead_letters import DeadLetter, DeadLetters, has

app = typer.Typer(help="Dead letters: list, show, replay, drop.", no_args_is_help=True)
REASON_CHARS = 100
Queue = Annotated[
    str, typer.Option("--task-queue", "-q", envvar="PERDURE_TASK_QUEUE", help="Task queue.")
]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="As the list names them: 0-17.")
]
About = Annotated[
    str, typer.Option("--about", help="Only those whose reason, type or workflow id has this text.")
]
All = Annotated[bool, typer.Option("--all", help="All that are not settled.")]


@contextmanager
def _letters(
    broker: str | None, engine: str | None, namespace: str, task_queue: str
) -> Iterator[DeadLetters]:
    log, close = assembly.open_log(target(broker, engine))
    try:
        yield DeadLetters(log, namespace, task_queue)
    finally:
        close()


@app.command("list")
def list_letters(
    task_queue: Queue,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    about: About = "",
    settled: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--settled", help="Also those that were replayed or dropped.")
    ] = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """List the records that no host could take, oldest first, with the reason."""
    with _letters(broker, engine, namespace, task_queue) as letters:
        found = [one for one in letters.all(also_settled=settled) if has(one, about)]
    if output is OutputFormat.JSON:
        print_json([letter.shown() for letter in found])
        return
    print_table(
        ("NAME", "WHEN", "TYPE", "WORKFLOW", "REASON", ""),
        [
            (
                letter.name,
                time_of_ms(letter.time_ms),
                text(letter.kind or "?"),
                text(letter.workflow_id),
                text(letter.reason[:REASON_CHARS]),
                letter.settled,
            )
            for letter in found
        ],
    )


@app.command()
def show(
    names: Names,
    task_queue: Queue,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
) -> None:
    """Show dead letters whole, as JSON: value, key, headers, reason, and where they came from."""
    with _letters(broker, engine, namespace, task_queue) as letters:
        chosen = _chosen(letters.all(also_settled=True), names, "", everything=False)
    print_json([letter.shown() for letter in chosen])


@app.command()
def replay(
    task_queue: Queue,
    names: Names = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    about: About = "",
    everything: All = False,  # noqa: FBT002 - an option
) -> None:
    """Write dead letters to the topic they were for, as they came; a request id stays the same."""
    with _letters(broker, engine, namespace, task_queue) as letters:
        for letter in _chosen(letters.all(), names, about, everything=everything):
            echo(f"{letter.name} replayed: {letters.replay(letter)}")


@app.command()
def drop(
    task_queue: Queue,
    names: Names = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    about: About = "",
    everything: All = False,  # noqa: FBT002 - an option
) -> None:
    """Set dead letters aside: they are listed no more, and go with the topic's retention."""
    with _letters(broker, engine, namespace, task_queue) as letters:
        for letter in _chosen(letters.all(), names, about, everything=everything):
            letters.settle(letter, "dropped")
            echo(f"{letter.name} dropped")


def _chosen(
    letters: list[DeadLetter], names: list[str] | None, about: str, *, everything: bool
) -> list[DeadLetter]:
    """Those that are named, or speak of something, or all."""
    if not (names or about or everything):
        raise typer.BadParameter("name letters as the list does, or give --about or --all")
    by_name = {letter.name: letter for letter in letters}
    unknown = [name for name in names or () if name not in by_name]
    if unknown:
        raise LogError(
            f"no letter is named {', '.join(unknown)}, or it is settled: perdure dead list"
        )
    chosen = [by_name[name] for name in names] if names else letters
    return [letter for letter in chosen if has(letter, about)]
