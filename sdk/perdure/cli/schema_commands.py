"""`perdure schemas` and `perdure export`: Avro schemas, and events as tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from perdure import _assembly as assembly
from perdure.cli.output import echo, error_console, print_json, print_table, progress_bar, text
from perdure.cli.target import Broker, Engine, Namespace, Output, OutputFormat, TaskQueue, target
from perdure_schemas.avro import COMMAND_MODULES, frame, framed_records, schema_text
from perdure_topics.names import task_queues_of, topic_name
from perdure_topics.ports import Log, LogError, TopicInfo
from perdure_topics.schema_registry_port import RegistryError
from perdure_views.export import EventRow, Unread, rows_of, write_jsonl, write_parquet

RUNS_MAX: Final = 10_000
NAMED_MAX: Final = 20
"""So many parts of the log that cannot be read are named, one by one."""


class Format(StrEnum):
    """What is written."""

    PARQUET = "parquet"
    JSONL = "jsonl"


def schemas(
    record: Annotated[str | None, typer.Argument(help="Print the schema of this record.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write every schema into this directory.")
    ] = None,
    register: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--register", help="Register schemas with a schema registry.")
    ] = False,
    registry: Annotated[
        str | None,
        typer.Option(
            "--registry",
            help="The registry's URL; without it schema.registry.url of the Kafka configuration.",
        ),
    ] = None,
    task_queue: TaskQueue = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """List the Avro schemas of all records, print one, write them as files, or register them.

    Registered is every record under its full name; with a task queue, its commands under
    `<commands topic>-<full name>`, and StartWorkflow under `<commands topic>-value` as well. A
    schema that is registered already stays as it is.
    """
    if register or registry:
        _register(registry, subjects(record, task_queue, namespace))
        return
    names = sorted(cls.__name__ for cls in framed_records())
    if record is not None:
        if record not in names:
            raise typer.BadParameter(f"there is no record {record!r}; `perdure schemas` lists them")
        echo(schema_text(record), end="")
        return
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name in names:
            (out / f"{name}.avsc").write_text(schema_text(name), "utf-8")
        error_console().print(f"{len(names)} schemas in {text(str(out))}")
        return
    rows = [_described(name) for name in names]
    if output is OutputFormat.JSON:
        print_json(rows)
    else:
        print_table(("RECORD", "PREFIX", ""), [tuple(map(text, row.values())) for row in rows])


def subjects(record: str | None, task_queue: str | None, namespace: str) -> list[tuple[str, str]]:
    """Subject and record of each schema to be registered, by the strategies of serialisers."""
    commands = {module.__name__ for module in COMMAND_MODULES}
    kinds = [one for one in framed_records() if record in (None, one.__name__)]
    if not kinds:
        raise typer.BadParameter(f"there is no record {record!r}; `perdure schemas` lists them")
    if task_queue is None:
        return [(f"perdure.{one.__name__}", one.__name__) for one in kinds]
    topic = topic_name("commands", namespace, task_queue)
    names = [one.__name__ for one in kinds if one.__module__ in commands]
    found = [(f"{topic}-perdure.{name}", name) for name in names]
    # One subject holds one record; the strategy that most serialisers begin with has one a topic.
    alone = record or "StartWorkflow"
    return [*found, (f"{topic}-value", alone)] if alone in names else found


def _register(url: str | None, chosen: list[tuple[str, str]]) -> None:
    registry = assembly.open_registry(url)
    ids = {}
    try:
        for subject, name in chosen:
            ids[subject] = registry.register(subject, schema_text(name))
    except RegistryError as error:
        done = (
            f"{len(ids)} of {len(chosen)} subjects are registered; run it again when it is mended"
        )
        raise LogError(f"{error}; {done}") from error
    finally:
        registry.close()
    print_table(
        ("SUBJECT", "ID"), [(text(subject), str(number)) for subject, number in ids.items()]
    )


def _described(name: str) -> dict[str, str]:
    schema = json.loads(schema_text(name))
    return {"record": name, "prefix": frame(schema).hex(), "about": schema["doc"]}


def export(
    out: Annotated[Path, typer.Argument(help="The file to write; - is standard output, as JSON.")],
    broker: Broker = None,
    engine: Engine = None,
    task_queue: TaskQueue = None,
    namespace: Namespace = "default",
    to: Annotated[Format, typer.Option("--to", help="The form of the file.")] = Format.PARQUET,
) -> None:
    """Write every accepted event of a namespace or a task queue, one a row, as the log has it.

    Read access to the events topics is enough. Payloads are written as they are: what a codec
    encrypted stays encrypted. An event that this release cannot read is left out and named, and
    the exit status is 1.
    """
    log, close = assembly.open_log(target(broker, engine))
    try:
        places = _places(log, namespace, task_queue)
        with progress_bar() as progress:
            bar = progress.add_task("records", total=records_in(log, [info for _, info in places]))
            encrypted, left_out = _Encrypted(), LeftOut()
            rows = encrypted.watch(
                row
                for place, info in places
                for row in rows_of(
                    log,
                    info,
                    place,
                    on_read=lambda count: progress.advance(bar, count),
                    on_unread=left_out.take,
                )
            )
            if str(out) == "-":
                count = write_jsonl(rows, sys.stdout.buffer)
            elif to is Format.JSONL:
                with out.open("wb") as file:
                    count = write_jsonl(rows, file)
            else:
                count = write_parquet(rows, out)
    finally:
        close()
    error_console().print(f"{count} events written to {text(str(out))}{encrypted.note()}")
    left_out.tell()
    if left_out.count:
        raise typer.Exit(1)


class LeftOut:
    """What of the log could not be read: named, as far as people read."""

    def __init__(self) -> None:
        self.count = 0
        self.runs: dict[str, str] = {}
        """The runs that miss an event, and the first of them that each does."""
        self._first: list[str] = []

    def take(self, unread: Unread, _error: Exception) -> None:
        """Note something down."""
        self.count += 1
        if unread.run_id and len(self.runs) < RUNS_MAX:
            self.runs.setdefault(unread.run_id, str(unread))
        if len(self._first) < NAMED_MAX:
            self._first.append(str(unread))

    def tell(self) -> None:
        """Say what was left out."""
        for one in self._first:
            error_console().print(f"left out: {text(one)}", highlight=False)
        if self.count > len(self._first):
            error_console().print(f"left out: {self.count - len(self._first)} more")


class _Encrypted:
    """Says what of an export nobody can read without a key."""

    def __init__(self) -> None:
        self._events = 0

    def watch(self, rows: Iterator[EventRow]) -> Iterator[EventRow]:
        """The same rows, counted."""
        for row in rows:
            self._events += '"encoding":"binary/encrypted"' in row.event
            yield row

    def note(self) -> str:
        """A sentence for people; empty when there is nothing to say."""
        if not self._events:
            return ""
        return (
            f"; {self._events} of them hold encrypted payloads, written as they are: only a data"
            " converter with the key reads them. Of one run: PERDURE_DATA_CONVERTER=MODULE:NAME"
            " perdure workflow history --id ID"
        )


def _places(
    log: Log, namespace: str, task_queue: str | None
) -> list[tuple[tuple[str, str], TopicInfo]]:
    queues = [task_queue] if task_queue else task_queues_of(log.topic_names(), namespace)
    found = []
    for queue in queues:
        name = topic_name("events", namespace, queue)
        info = log.topic(name)
        if info is None:
            raise LogError(f"there is no topic {name} on {log.address}")
        found.append(((namespace, queue), info))
    if not found:
        raise LogError(f"namespace {namespace!r} has no task queue on {log.address}")
    return found


def records_in(log: Log, topics: Sequence[TopicInfo]) -> int:
    """How many records topics hold now."""
    spans = [
        log.offsets(info.name, partition) for info in topics for partition in range(info.partitions)
    ]
    return sum(end - first for first, end in spans)
