"""The `perdure` command: the table of its commands, and how its errors end."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from perdure.cli.lazy_commands import Lazy, lazy_group
from perdure_schemas.version import VERSION
from perdure_topics.kafka.access import CONFIG_VARIABLE

__all__ = ["app", "hear_notices", "run"]

COMMANDS: Final = {
    "alias": Lazy(
        "perdure._alias.alias_command",
        "alias",
        "Let `import temporalio` mean Perdure in all programs of this environment, or say whether.",
    ),
    "acls": Lazy(
        "perdure.cli.acls",
        "acls",
        "Show what a process of a role needs on a broker with an authorizer, or grant it.",
    ),
    "insights": Lazy(
        "perdure.cli.insights_commands",
        "insights",
        "Keep figures and findings of a task queue, in any number of processes.",
    ),
    "schemas": Lazy(
        "perdure.cli.schema_commands",
        "schemas",
        "List the Avro schemas of all records, print one, write them as files, or register them.",
    ),
    "export": Lazy(
        "perdure.cli.schema_commands",
        "export",
        "Write every accepted event of a namespace or a task queue, one a row, as the log has it.",
    ),
    "worker": Lazy(
        "perdure.cli.worker_commands",
        "worker",
        "Run the workflows and activities of MODULE, in any number of processes.",
    ),
    "engine": Lazy(
        "perdure.cli.worker_commands",
        "engine",
        "Own an embedded log: run MODULE on it, and serve clients and workers of this machine.",
    ),
    "relay": Lazy(
        "perdure.cli.relay",
        "relay",
        "Publish accepted emits of a task queue's workflows, each once, until told to stop.",
    ),
    "dead": Lazy(
        "perdure.cli.broker.dead_commands",
        "app",
        "Dead letters: list, show, replay, drop.",
    ),
    "triggers": Lazy(
        "perdure.cli.triggers_commands",
        "triggers",
        "Act on the records of topics until told to stop, in any number of processes.",
    ),
    "ui": Lazy(
        "perdure.cli.ui",
        "ui",
        "Serve the pages and the JSON API of a namespace, in front of a broker or an engine.",
    ),
    "dev": Lazy(
        "perdure.cli.ui",
        "dev",
        "Run MODULE with everything it needs, without a broker, and show it in the browser.",
    ),
    "traces": Lazy(
        "perdure.cli.traces_commands",
        "traces",
        "Send the spans of runs, as the log has them, to Jaeger or any collector of OpenTelemetry.",
    ),
    "doctor": Lazy(
        "perdure.cli.doctor",
        "doctor",
        "Look at broker, topics, rights, clocks, releases, lag and workers; say what to do.",
    ),
    "check": Lazy(
        "perdure.cli.code.check",
        "check",
        "Look for calls in workflow code that replay cannot repeat; "
        "exit status 1 when there are any.",
    ),
    "replay": Lazy(
        "perdure.cli.replay",
        "replay",
        "Replay the histories of a task queue on the workflows of a module; "
        "1 when one does not fit.",
    ),
    "simulate": Lazy(
        "perdure.cli.code.simulate",
        "simulate",
        "Run a workflow many times while its workers crash; 1 when an invariant breaks.",
    ),
    "topics": Lazy(
        "perdure.cli.topics_commands",
        "app",
        "Make and show the topics of a task queue.",
    ),
    "workflow": Lazy(
        "perdure.cli.workflow_commands",
        "app",
        "Start, await, show, talk to, list and end workflows.",
    ),
    "batch": Lazy(
        "perdure.cli.batches.batch_commands",
        "app",
        "One action on all runs that a filter names.",
    ),
    "activity": Lazy(
        "perdure.cli.activity_commands",
        "app",
        "Pending activities: pause, retry, fail, ...",
    ),
    "schedule": Lazy(
        "perdure.cli.schedule_commands",
        "app",
        "Schedules: workflows started again and again.",
    ),
    "backup": Lazy(
        "perdure.cli.topics_commands",
        "backup",
        "Copy the log of an embedded engine's directory, while it runs or not.",
    ),
    "restore": Lazy(
        "perdure.cli.topics_commands",
        "restore",
        "Put a backup into a directory that has no log, once all of it was read.",
    ),
    "retention": Lazy(
        "perdure.cli.task_queue_commands",
        "retention",
        "How long closed runs are kept.",
    ),
    "task-queue": Lazy(
        "perdure.cli.task_queue_commands",
        "app",
        "How a task queue stands.",
    ),
}

app = typer.Typer(
    name="perdure",
    cls=lazy_group(COMMANDS),
    help="Durable workflows in plain Python on a Kafka log.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


class _NoticeHandler(logging.Handler):
    """Prints what the client tells a waiting user."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one notice, on one line."""
        from perdure.cli.output import print_notice

        print_notice(record.getMessage())


def hear_notices() -> None:
    """Show what clients are told while they wait."""
    logging.getLogger("perdure.client").addHandler(_NoticeHandler())
    logging.getLogger("perdure.client").propagate = False


def run(arguments: list[str]) -> int:
    """Run the command with arguments; its exit status."""
    try:
        status = app(arguments, prog_name="perdure", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except typer.Exit as end:
        return end.exit_code
    except BrokenPipeError:
        # The reader of our output has gone, as `perdure ... | head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except BaseException as error:
        if _is_cancelled(error):
            return 130
        if not isinstance(error, Exception) or os.environ.get("PERDURE_DEBUG"):
            raise
        from perdure.cli.output import print_error

        return print_error(error)
    return status if isinstance(status, int) else 0


def _is_cancelled(error: BaseException) -> bool:
    """Whether an event loop was stopped; without one, asyncio need not be loaded to tell."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)
