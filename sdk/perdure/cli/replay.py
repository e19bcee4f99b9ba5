"""`perdure replay`: all histories of a task queue on today's code, straight from the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, get_args

import msgspec
import typer

from perdure import _assembly as assembly
from perdure.cli.output import echo, print_json, progress_bar
from perdure.cli.schema_commands import LeftOut, records_in
from perdure.cli.target import Broker, Engine, Namespace, Output, OutputFormat, target
from perdure.cli.user_modules import load
from perdure.client._history import HistoryEvent, WorkflowHistory, moment
from perdure.worker._replayer import Replayer
from perdure.workflow._replay_errors import ReplayError
from perdure_schemas.events import CLOSING, Event
from perdure_topics.names import topic_name
from perdure_topics.ports import LogError
from perdure_views.export import EventRow, rows_of

HISTORIES_MAX = 1_000_000
_KINDS = {kind.__name__: kind for kind in get_args(Event)}
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

Module = Annotated[str, typer.Argument(metavar="MODULE", help="The module with the workflows.")]
Queue = Annotated[
    str, typer.Option("--task-queue", "-q", envvar="PERDURE_TASK_QUEUE", help="Task queue.")
]


def replay(
    module: Module,
    task_queue: Queue,
    since: Annotated[
        str | None, typer.Option(help="Runs with an event so lately, as 7d, 12h or 30m.")
    ] = None,
    open_only: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--open-only", help="Runs that have not closed.")
    ] = False,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Replay the histories of a task queue on the workflows of a module; 1 when one does not fit.

    A history with an event that this release cannot read is named and counts as one of those.

    Read access to the events topic is enough: nothing is written, no host is asked, no table is
    needed. Run it before a deploy.
    """
    found, left_out = load(module), LeftOut()
    log, close = assembly.open_log(target(broker, engine))
    try:
        info = log.topic(topic_name("events", namespace, task_queue))
        if info is None:
            raise LogError(f"task queue {task_queue!r} has no events topic on {log.address}")
        with progress_bar() as progress:
            bar = progress.add_task("records", total=records_in(log, [info]))
            rows = rows_of(
                log,
                info,
                (namespace, task_queue),
                on_read=lambda count: progress.advance(bar, count),
                on_unread=left_out.take,
            )
            histories = _histories(rows)
    finally:
        close()
    chosen = [one for one in histories if _is_wanted(one, _start_of(since), open_only=open_only)]
    replayer = Replayer(
        workflows=found.workflows, namespace=namespace, data_converter=found.data_converter
    )
    whole = [one for one in chosen if one.run_id not in left_out.runs]
    failures = asyncio.run(_replay_all(replayer, whole))
    failures |= {run_id: UnreadHistoryError(said) for run_id, said in left_out.runs.items()}
    _report(chosen, failures, output)
    left_out.tell()
    if failures or left_out.count:
        raise typer.Exit(1)


class UnreadHistoryError(Exception):
    """A history of which an event cannot be read here."""

    kind = "unreadable"


def _histories(rows: Iterator[EventRow]) -> list[WorkflowHistory]:
    """The runs of an events topic, each with its events in order."""
    runs: dict[str, tuple[str, list[HistoryEvent]]] = {}
    for row in rows:
        if row.run_id not in runs and len(runs) >= HISTORIES_MAX:
            raise LogError(f"over {HISTORIES_MAX} runs; give --since, or replay a copy in parts")
        _, events = runs.setdefault(row.run_id, (row.workflow_id, []))
        events.append(
            HistoryEvent(
                event_id=row.seq,
                event_time=moment(row.time_ms),
                event=msgspec.json.decode(row.event, type=_KINDS[row.event_type]),
                offset=row.offset,
                code_version=row.code_version,
            )
        )
    return [WorkflowHistory(name, events, run_id) for run_id, (name, events) in runs.items()]


def _start_of(since: str | None) -> datetime | None:
    """From when on; None for ever. Raises typer.BadParameter for what is no time."""
    if since is None:
        return None
    number, unit = since[:-1], since[-1:]
    if unit not in _UNITS or not number.isdigit():
        raise typer.BadParameter(f"--since {since!r}: give a number with s, m, h or d, as 7d")
    return datetime.now(tz=UTC) - timedelta(seconds=int(number) * _UNITS[unit])


def _is_wanted(history: WorkflowHistory, start: datetime | None, *, open_only: bool) -> bool:
    last = history.events[-1]
    is_closed = isinstance(last.event, CLOSING)
    return not (open_only and is_closed) and (start is None or last.event_time >= start)


async def _replay_all(replayer: Replayer, histories: list[WorkflowHistory]) -> dict[str, Exception]:
    async def each() -> AsyncIterator[WorkflowHistory]:
        with progress_bar() as progress:
            for history in progress.track(histories, description="histories"):
                yield history

    results = await replayer.replay_workflows(each(), raise_on_replay_failure=False)
    return dict(results.replay_failures)


def _report(
    histories: list[WorkflowHistory], failures: dict[str, Exception], output: OutputFormat
) -> None:
    failed = [(one, failures[one.run_id]) for one in histories if one.run_id in failures]
    if output is OutputFormat.JSON:
        print_json(
            {
                "replayed": len(histories),
                "failures": [
                    {
                        "workflow_id": one.workflow_id,
                        "run_id": one.run_id,
                        "kind": getattr(error, "kind", "error"),
                        "message": str(error),
                        "recorded": getattr(error, "recorded", ""),
                        "produced": getattr(error, "produced", ""),
                    }
                    for one, error in failed
                ],
            }
        )
        return
    for one, error in failed:
        echo(f"{one.workflow_id} (run {one.run_id}): {getattr(error, 'kind', 'error')}")
        if isinstance(error, ReplayError) and error.recorded:
            echo(f"  recorded  {error.recorded}")
            echo(f"  produced  {error.produced}")
        echo(f"  {error}")
    some = "history" if len(histories) == 1 else "histories"
    echo(f"{len(histories)} {some} replayed, {len(failed)} of them do not fit")
