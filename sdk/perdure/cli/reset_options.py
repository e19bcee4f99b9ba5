"""The options of a reset, as `workflow reset` and batches of resets take them."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from perdure_schemas.answers.reset_points import FORMS, read_point

ResetTo = Annotated[
    str,
    typer.Option("--to", "--type", "-t", "--event-id", "-e", help=f"Where to: {FORMS}."),
]
ReapplyExclude = Annotated[
    list[str] | None,
    typer.Option(help="What of later messages is left out: signal, update or all. Repeatable."),
]
Again = Annotated[
    bool, typer.Option("--again", help="Reset a run that was reset before once more.")
]


def checked_point(text: str) -> str:
    """A point to go back to, as it was given. Raises typer.BadParameter for what is none."""
    try:
        read_point(text)
    except ValueError as error:
        raise typer.BadParameter(f"--to: {error}") from None
    return text


def excluded_of(given: list[str] | None) -> list[Literal["signal", "update"]]:
    """What is left out of later messages. Raises typer.BadParameter for what is no message."""
    names = [one.strip().lower() for one in given or []]
    for name in names:
        if name not in ("signal", "update", "all"):
            raise typer.BadParameter(f"--reapply-exclude {name!r}: give signal, update or all")
    kinds: tuple[Literal["signal", "update"], ...] = ("signal", "update")
    return [kind for kind in kinds if kind in names or "all" in names]
