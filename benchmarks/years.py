"""python -m benchmarks.years: what a log that forgets costs, and what it leaves on disk.

The directory of an embedded log is looked at while runs come and go: once as many are kept as the
rule says, it must not grow any more. Then a host without a table begins with the checkpoint that
the log begins with. Days are seconds here; nothing else is changed.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from perdure import workflow
from perdure.client import Client, TaskQueueRetention
from perdure.worker import Worker
from perdure_actors.partition import scrubber
from perdure_actors.retention import log_head, retention
from perdure_topics.names import topic_name
from perdure_topics.task_queue_topics import create_topics

QUEUE: Final = "years"
SECONDS: Final = int(os.environ.get("PERDURE_BENCH_YEARS_S", "40"))
KEPT_S: Final = 5
AT_ONCE: Final = 50
LOOK_S: Final = 5


@workflow.defn
class Minute:
    """A small run, as a schedule begins one every minute."""

    @workflow.run
    async def run(self, number: int) -> int:
        await asyncio.sleep(0.01)
        return number


def folder_bytes(place: Path) -> int:
    """What a directory takes on disk; files with several names count once."""
    found = {}
    for path in place.rglob("*"):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            found[stat.st_ino] = stat.st_size
    return sum(found.values())


class Look(NamedTuple):
    """The state of a directory at one moment."""

    runs: int
    known: int
    """Closed runs that are in the table."""
    events: int
    """Records of the events that the log holds."""
    table_bytes: int
    directory_bytes: int


async def _look(client: Client, place: Path, runs: int) -> Look:
    (info,) = await TaskQueueRetention(client, QUEUE).show()
    start, end = client.log.offsets(topic_name("events", "default", QUEUE), 0)
    return Look(runs, info.closed_runs, end - start, info.table_bytes, folder_bytes(place))


async def _run(place: Path, *, forgets: bool) -> list[Look]:
    """What is there while small runs come and go, every few seconds."""
    client = await Client.connect(f"file:{place / 'data'}")
    create_topics(client.log, "default", QUEUE, partitions=1)
    rows = []
    async with Worker(
        client, task_queue=QUEUE, workflows=[Minute], state_directory=place / "data" / "tables"
    ):
        keep = timedelta(seconds=KEPT_S) if forgets else None
        await TaskQueueRetention(client, QUEUE).set(keep, cut_events=forgets)
        began, done, due = time.monotonic(), 0, LOOK_S
        while time.monotonic() - began < SECONDS:
            await asyncio.gather(
                *(
                    client.execute_workflow(
                        Minute.run, number, id=f"minute-{number}", task_queue=QUEUE
                    )
                    for number in range(done, done + AT_ONCE)
                )
            )
            done += AT_ONCE
            if time.monotonic() - began >= due:
                due += LOOK_S
                rows.append(await _look(client, place / "data", done))
    await client.close()
    return rows


async def _take_over(place: Path) -> float:
    """The seconds until a host without a table answers."""
    client = await Client.connect(f"file:{place / 'data'}")
    began = time.monotonic()
    async with Worker(
        client, task_queue=QUEUE, workflows=[Minute], state_directory=place / "made anew"
    ):
        await client.execute_workflow(Minute.run, 0, id="first", task_queue=QUEUE)
        took = time.monotonic() - began
    await client.close()
    return took


def _sizes(look: Look) -> tuple[str, str, str]:
    megabytes = (f"{size / 1e6:.1f}" for size in (look.table_bytes, look.directory_bytes))
    return (f"{look.events:,}", *megabytes)


def main() -> None:
    """Measure, with and without forgetting, and print a table."""
    columns = ("seconds", "runs so far", "known", "events held", "table, MB", "directory, MB")
    table = Table(*columns, "without forgetting: events held", "table, MB", "directory, MB")
    with (
        tempfile.TemporaryDirectory(prefix="perdure-years-") as first,
        tempfile.TemporaryDirectory(prefix="perdure-years-") as second,
        patch.object(retention, "SETTLED_MS", 1_000),
        patch.object(retention, "EVERY_MS", 1_000),
        patch.object(log_head, "AGAIN_MS", 1_000),
        patch.object(scrubber, "EVERY_MS", 1_000),
    ):
        rows = asyncio.run(_run(Path(first), forgets=True))
        others = asyncio.run(_run(Path(second), forgets=False))
        for place, (one, other) in enumerate(zip(rows, others, strict=False)):
            table.add_row(
                str((place + 1) * LOOK_S),
                f"{one.runs:,} / {other.runs:,}",
                f"{one.known:,}",
                *_sizes(one),
                *_sizes(other),
            )
        empty = asyncio.run(_take_over(Path(first)))
        whole = asyncio.run(_take_over(Path(second)))
    console = Console(width=150)
    console.print(table)
    console.print(
        f"a host without a table is at work after {empty:.2f} s; without cut {whole:.2f} s"
    )


if __name__ == "__main__":
    main()
