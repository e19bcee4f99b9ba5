"""`perdure triggers`: run the triggers that a module defines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
) -> None:
    """Act on the records of topics until told to stop, in any number of processes."""
    found = load_object(module, Triggers)
    topics = ", ".join(f"{topic} (bad ones to {dead})" for topic, dead in found.topics.items())
    error_console().print(f"triggers {text(found.name)} on {text(topics)}", highlight=False)
    found.run(target(broker, None), namespace=namespace, state_directory=state_dir)
