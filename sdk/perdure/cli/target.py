"""The options that most commands share, and the client they lead to."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Annotated, Final

import typer

from perdure.cli.user_modules import load_converter
from perdure.client import Client
from perdure.converter import DataConverter

DEFAULT_BROKER: Final = "localhost:9092"
CONVERTER_VARIABLE: Final = "PERDURE_DATA_CONVERTER"


class OutputFormat(StrEnum):
    """How answers are printed."""

    TABLE = "table"
    JSON = "json"


Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        help=f"Kafka broker, host:port. [env: PERDURE_BROKER] [default: {DEFAULT_BROKER}]",
        show_default=False,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="Embedded engine, http://host:port, instead of a broker. [env: PERDURE_ENGINE]",
        show_default=False,
    ),
]
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", envvar="PERDURE_NAMESPACE", help="Namespace.")
]
TaskQueue = Annotated[
    str | None,
    typer.Option("--task-queue", "-q", envvar="PERDURE_TASK_QUEUE", help="Task queue."),
]
Output = Annotated[
    OutputFormat,
    typer.Option("--output", "-o", envvar="PERDURE_OUTPUT", help="For people, or for programs."),
]
WorkflowId = Annotated[str, typer.Option("--id", "--workflow-id", "-w", help="Workflow id.")]
RunId = Annotated[
    str | None, typer.Option("--run-id", "-r", help="Run id; without it the newest run.")
]


def engine_address(given: str) -> str:
    """The address of an engine: http without a scheme, so that it is not taken for a broker's."""
    has_scheme = given.startswith("file:") or "://" in given
    return given if has_scheme or not given else f"http://{given}"


def target(broker: str | None, engine: str | None) -> str:
    """What to connect to, by the options and the environment.

    Raises typer.BadParameter when both are given.
    """
    if broker and engine:
        raise typer.BadParameter("give --broker or --engine, not both")
    return (
        engine_address(engine or "")
        or broker
        or engine_address(os.environ.get("PERDURE_ENGINE", ""))
        or os.environ.get("PERDURE_BROKER")
        or DEFAULT_BROKER
    )


@asynccontextmanager
async def connected(
    broker: str | None, engine: str | None, namespace: str
) -> AsyncIterator[Client]:
    """A client for as long as a command runs."""
    place = os.environ.get(CONVERTER_VARIABLE)
    client = await Client.connect(
        target(broker, engine),
        namespace=namespace,
        data_converter=load_converter(place) if place else DataConverter.default,
    )
    try:
        yield client
    finally:
        await client.close()
