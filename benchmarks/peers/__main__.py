"""python -m benchmarks.peers: Perdure and its peers in turns, as ratios of one run."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.peers.engines import Engine, engines, environment
from benchmarks.peers.install import PeerMissingError, install_peer, versions
from benchmarks.peers.processes import ROOT, tree_cpu_s

app = typer.Typer(add_completion=False)
Found = dict[tuple[str, str], dict[str, list[float]]]
"""By measure and figure: what each engine had, a value a round."""
MEASURE_S_MAX = 300.0
CPU_BURSTS_MIN = 2
"""Below so many pieces of work the processor's clock is too coarse to say what one took."""


@app.command()
def main(
    rounds: Annotated[int, typer.Option(min=1, help="turns of each engine")] = 5,
    only: Annotated[str, typer.Option(help="engines, separated by commas; all by default")] = "",
    in_flight: Annotated[str, typer.Option(help="how many at once, with commas")] = "1,10,100,1000",
    orders: Annotated[int, typer.Option(help="orders a burst; three times as many as fly")] = 300,
    fan_out: Annotated[int, typer.Option(help="activities at once in one workflow")] = 500,
    sequence: Annotated[int, typer.Option(help="activities one after another")] = 300,
    idle_s: Annotated[float, typer.Option(help="how long idle is measured; 0: not")] = 8.0,
    temporal: Annotated[str, typer.Option(help="HOST:PORT of a Temporal server")] = "",
) -> None:
    """Run the same work on each in turns; print medians, their spread, and ratios to the first."""
    flying = [int(text) for text in in_flight.split(",")]
    plan = {
        "warm": 100,
        "in_flight": [(n, max(60 if n == 1 else orders, 3 * n)) for n in flying],
        "fan_out": fan_out,
        "sequence": sequence,
        "idle_s": idle_s,
    }
    wanted = [name for name in only.split(",") if name]
    console = Console(width=170, stderr=True)
    with ExitStack() as stack:
        needs_broker = not wanted or "perdure-kafka" in wanted
        bootstrap, pid = _broker(stack, console) if needs_broker else ("", 0)
        made = engines(bootstrap=bootstrap, broker_pid=pid, temporal=temporal)
        unknown = [name for name in wanted if name not in made]
        if unknown:
            raise typer.BadParameter(f"no engine {unknown[0]!r}; there are {', '.join(made)}")
        names = wanted or list(made)
        names = _installed(names, console)
        found: Found = defaultdict(lambda: defaultdict(list))
        for number in range(rounds):
            for name in names:
                console.print(f"round {number + 1} of {rounds}: {name}")
                with tempfile.TemporaryDirectory(
                    prefix=f"peers-{name}-", ignore_cleanup_errors=True
                ) as directory:
                    _turn(name, made[name](Path(directory)), plan, found)
    _print(found, names, rounds)


def _installed(names: list[str], console: Console) -> list[str]:
    """Those that are there, or could be fetched, before anything is measured."""
    found = []
    for name in names:
        try:
            install_peer(name)
        except PeerMissingError as missing:
            console.print(f"{name} is left out: {missing}")
        else:
            found.append(name)
    return found


def _turn(name: str, engine: Engine, plan: dict[str, Any], found: Found) -> None:
    """One turn of one engine, on empty data."""
    began = time.perf_counter()
    load: subprocess.Popen[str] | None = None
    try:
        command = [*engine.start(), json.dumps(plan)]
        load = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        _follow(name, engine, load, began, found)
    finally:
        if load is not None:
            load.kill()
            load.wait()
        engine.stop()


def _follow(
    name: str, engine: Engine, load: subprocess.Popen[str], began: float, found: Found
) -> None:
    """Take the load's lines, and the processor time of all processes where each measure begins."""
    assert load.stdout is not None
    assert load.stdin is not None
    before = wall = 0.0
    for text in load.stdout:
        try:
            line = json.loads(text)
        except ValueError:
            continue  # Somebody's library prints.
        now, spent = time.perf_counter(), engine.cpu_s() + tree_cpu_s(load.pid)
        if "begin" in line:
            before, wall = spent, now
        elif line.get("error"):
            print(f"{name}: {line['end']}: {line['error']}", file=sys.stderr)
        else:
            measure, figures = line["end"], line["figures"]
            _add(found, name, measure, figures, cpu_s=spent - before, wall_s=now - wall)
            if measure == "first result":
                found["cold start to the first result", "s"][name].append(now - began)
        load.stdin.write("\n")
        load.stdin.flush()


def _add(
    found: Found, name: str, measure: str, figures: dict[str, float], *, cpu_s: float, wall_s: float
) -> None:
    count = figures.pop("count")
    if measure == "idle":
        found[measure, "% of a core, client included"][name].append(100 * cpu_s / wall_s)
    if measure in {"first result", "warm", "idle"}:
        return
    for figure, value in figures.items():
        found[measure, figure][name].append(value)
    if count >= CPU_BURSTS_MIN:
        found[measure, "CPU ms a workflow"][name].append(1000 * cpu_s / count)


def _print(found: Found, names: list[str], rounds: int) -> None:
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(
        f"{platform.python_implementation()} {platform.python_version()},"
        f" {'a PGO build' if optimised else 'NOT a PGO build'}; {os.cpu_count()} cores;"
        f" medians of {rounds} [least-most], (times the first); the machine's load now: {load}"
    )
    for peer in {name.partition("-")[0] for name in names} - {"perdure"}:
        print(f"{peer}: {versions(peer)}")
    table = Table("measure", *names)
    for (measure, figure), by_name in found.items():
        first = by_name.get(names[0])
        cells = [_cell(by_name.get(name), first, is_first=name == names[0]) for name in names]
        table.add_row(f"{measure}, {figure}", *cells)
    Console(width=60 + 32 * len(names)).print(table)


def _cell(values: list[float] | None, first: list[float] | None, *, is_first: bool) -> str:
    if not values:
        return "-"
    text = f"{median(values):.3g} [{min(values):.3g}-{max(values):.3g}]"
    if is_first or not first or not min(first):
        return text
    # Round by round: both had the same hour of the machine.
    ratios = [mine / theirs for mine, theirs in zip(values, first, strict=False)]
    return f"{text} ({median(ratios):.2f}x)"


def _broker(stack: ExitStack, console: Console) -> tuple[str, int]:
    """A Kafka broker of our own, or that of PERDURE_TEST_KAFKA; none where it cannot run."""
    from tests.broker.kafka_broker import STEADY_JVM, KafkaBroker
    from tests.broker.kafka_jars import BrokerUnavailableError

    given = os.environ.get("PERDURE_TEST_KAFKA")
    if given:
        return given, int(os.environ.get("PERDURE_TEST_KAFKA_PID", "0"))
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-kafka-"))
    broker = KafkaBroker(Path(directory), jvm_options=STEADY_JVM)
    try:
        broker.start()
    except BrokerUnavailableError as missing:
        console.print(f"perdure-kafka is left out: {missing}")
        return "", 0
    stack.callback(broker.stop)
    return broker.bootstrap, broker.pid


if __name__ == "__main__":
    app()
