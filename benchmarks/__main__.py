"""python -m benchmarks [--log kafka|embedded|both] [MEASURE ...]: run them and print a table."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.cold_start import cold_start
from benchmarks.folds import folds
from benchmarks.idle import idle
from benchmarks.layouts import layouts
from benchmarks.measures import MEASURES as MAIN
from benchmarks.measures import Figures, Measure
from benchmarks.messages import MEASURES as TALK
from benchmarks.moves import moves
from benchmarks.scale import scale
from benchmarks.stage import Stage
from benchmarks.telemetry import telemetry

app = typer.Typer(add_completion=False)
MEASURES: dict[str, Measure] = {
    **MAIN,
    **TALK,
    "cold_start": cold_start,
    "folds": folds,
    "idle": idle,
    "layouts": layouts,
    "moves": moves,
    "scale": scale,
    "telemetry": telemetry,
}
ON_KAFKA_ONLY = {"spread", "moves", "layouts", "scale"}


@app.command()
def main(
    measures: Annotated[list[str] | None, typer.Argument(help=", ".join(MEASURES))] = None,
    log: Annotated[str, typer.Option(help="kafka, embedded or both")] = "both",
    partitions: Annotated[int, typer.Option(help="partitions of the queue on Kafka")] = 8,
) -> None:
    """Measure Perdure on this machine: one table, a column for each log."""
    chosen = measures or list(MEASURES)
    unknown = [name for name in chosen if name not in MEASURES]
    if unknown:
        raise typer.BadParameter(f"no measure {unknown[0]!r}; there are {', '.join(MEASURES)}")
    logs = ["kafka", "embedded"] if log == "both" else [log]
    found: dict[str, dict[str, object]] = {}
    with ExitStack() as stack:
        bootstrap, pid = _broker(stack) if "kafka" in logs else ("", 0)
        for name in chosen:
            for one in logs:
                if one == "embedded" and name in ON_KAFKA_ONLY:
                    continue
                figures = _run(name, one, bootstrap, pid, partitions)
                for label, value in figures.items():
                    found.setdefault(label, {})[one] = value
    table = Table("measure", *logs, title=f"{os.cpu_count()} cores, all processes on one machine")
    for label, values in found.items():
        table.add_row(label, *(_text(values.get(one)) for one in logs))
    Console(width=150).print(table)


def _run(name: str, log: str, bootstrap: str, pid: int, partitions: int) -> Figures:
    with Stage(log, bootstrap=bootstrap, broker_pid=pid, partitions=partitions) as stage:
        return asyncio.run(_limited(name, stage))


async def _limited(name: str, stage: Stage) -> Figures:
    async with asyncio.timeout(600):
        return await MEASURES[name](stage)


def _broker(stack: ExitStack) -> tuple[str, int]:
    """The broker of PERDURE_TEST_KAFKA (its pid unknown), or one started for this."""
    from tests.broker.kafka_broker import STEADY_JVM, KafkaBroker

    given = os.environ.get("PERDURE_TEST_KAFKA")
    if given:
        return given, int(os.environ.get("PERDURE_TEST_KAFKA_PID", "0"))
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="perdure-bench-kafka-"))
    broker = KafkaBroker(Path(directory), jvm_options=STEADY_JVM)
    broker.start()
    stack.callback(broker.stop)
    return broker.bootstrap, broker.pid


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    app()
