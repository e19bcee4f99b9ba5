"""`perdure triggers`: run the triggers that a module defines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perdure._telemetry import environment
from perdure.cli.output import error_console, text
from perdure.cli.target import Broker, Namespace, target
from perdure.cli.user_modules import load_object
from perdure.triggers import Triggers


def triggers(
    module: Annotated[
        str, typer.Argument(metavar="MODULE:NAME", help="Where the Triggers object is.")
    ],
    broker: Broker = None,
    namespace: Namespace = "default",
    state_dir: Annotated[
        Path | None,
        typer.Option("--state-dir", help="Where Faust keeps its own. [env: PERDURE_STATE_DIR]"),
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", help="Serve metrics to Prometheus here.")
    ] = None,
) -> None:
    """Act on the records of topics until told to stop, in any number of processes."""
    found = load_object(module, Triggers)
    topics = ", ".join(f"{topic} (bad ones to {dead})" for topic, dead in found.topics.items())
    error_console().print(f"triggers {text(found.name)} on {text(topics)}", highlight=False)
    if metrics_port is not None:
        place = environment.serve_metrics(metrics_port, found.name)
        error_console().print(f"metrics at {text(place)}", highlight=False)
    found.run(target(broker, None), namespace=namespace, state_directory=state_dir)
