"""The `perdure` command: its groups, and how its errors end. What a group does is in its module."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from perdure.cli import (
    acls,
    activity_commands,
    check,
    doctor,
    insights_commands,
    relay,
    replay,
    schedule_commands,
    schema_commands,
    task_queue_commands,
    topics_commands,
    traces_commands,
    triggers_commands,
    ui,
    worker_commands,
    workflow_commands,
)
from perdure.cli.output import notice_handler, print_error
from perdure_schemas.version import VERSION
from perdure_topics.kafka.access import CONFIG_VARIABLE

__all__ = ["app", "hear_notices", "run"]

app = typer.Typer(
    name="perdure",
    help="Durable workflows in plain Python on a Kafka log.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(topics_commands.app, name="topics")
app.add_typer(workflow_commands.app, name="workflow")
app.add_typer(activity_commands.app, name="activity")
app.add_typer(schedule_commands.app, name="schedule")
app.add_typer(task_queue_commands.app, name="task-queue")
app.command("acls")(acls.acls)
app.command("insights")(insights_commands.insights)
app.command("schemas")(schema_commands.schemas)
app.command("export")(schema_commands.export)
app.command("worker")(worker_commands.worker)
app.command("engine")(worker_commands.engine)
app.command("relay")(relay.relay)
app.command("triggers")(triggers_commands.triggers)
app.command("ui")(ui.ui)
app.command("dev")(ui.dev)
app.command("traces")(traces_commands.traces)
app.command("doctor")(doctor.doctor)
app.command("check")(check.check)
app.command("replay")(replay.replay)


def _version(value: bool) -> None:  # noqa: FBT001 - the option's value
    if value:
        print(VERSION)
        raise typer.Exit


@app.callback()
def _perdure(
    version: Annotated[  # noqa: ARG001, FBT002 - an option that acts by itself
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the release.")
    ] = False,
    kafka_config: Annotated[
        Path | None,
        typer.Option(
            "--kafka-config",
            envvar=CONFIG_VARIABLE,
            help="How the broker is reached: TLS and SASL, as TOML or properties.",
        ),
    ] = None,
) -> None:
    """Durable workflows in plain Python on a Kafka log."""
    if kafka_config is not None:
        # Every way to a broker looks there, those of processes that this one starts too.
        os.environ[CONFIG_VARIABLE] = str(kafka_config.expanduser().absolute())


def hear_notices() -> None:
    """Show what clients are told while they wait."""
    logging.getLogger("perdure.client").addHandler(notice_handler())
    logging.getLogger("perdure.client").propagate = False


def run(arguments: list[str]) -> int:
    """Run the command with arguments; its exit status."""
    try:
        status = app(arguments, prog_name="perdure", standalone_mode=False)
    except (KeyboardInterrupt, asyncio.CancelledError, typer.Abort):
        return 130
    except typer.Exit as end:
        return end.exit_code
    except BrokenPipeError:
        # The reader of our output has gone, as `perdure ... | head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("PERDURE_DEBUG"):
            raise
        return print_error(error)
    return status if isinstance(status, int) else 0
