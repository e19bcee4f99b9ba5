"""Parsing of options that commands of workflows share: JSON, choices, durations."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from perdure.cli.target import connected
from perdure.client import Client

T = TypeVar("T")

Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input", "-i", help="An argument as JSON; @FILE reads it, @- from standard input."
    ),
]
Seconds = Annotated[float | None, typer.Option(help="In seconds.")]


def call(
    broker: str | None,
    engine: str | None,
    namespace: str,
    action: Callable[[Client], Awaitable[T]],
) -> T:
    """What an action on a client gives."""

    async def go() -> T:
        async with connected(broker, engine, namespace) as client:
            return await action(client)

    return asyncio.run(go())


def arguments_of(given: list[str] | None) -> list[Any]:
    """The values of `--input`. Raises typer.BadParameter for what is no JSON."""
    return [_argument(number, raw) for number, raw in enumerate(given or [], 1)]


def _argument(number: int, raw: str) -> Any:
    if raw == "@-":
        raw = sys.stdin.read()
    elif raw.startswith("@"):
        raw = Path(raw[1:]).read_text("utf-8")
    try:
        return json.loads(raw)
    except ValueError as error:
        raise typer.BadParameter(
            f"--input {number} is no JSON: {error}; a text needs its quotes, as in --input '\"a\"'"
        ) from error


def choice(kind: type[T], name: str, option: str) -> T:
    """The member of an enum that an option names. Raises typer.BadParameter."""
    members: dict[str, T] = kind.__members__  # type: ignore[attr-defined]  # an enum's
    chosen = members.get(name.upper().replace("-", "_"))
    if chosen is None:
        raise typer.BadParameter(f"{option} {name!r}: give one of {', '.join(members).lower()}")
    return chosen


def duration(seconds: float | None) -> timedelta | None:
    """Seconds as a duration."""
    return None if seconds is None else timedelta(seconds=seconds)
