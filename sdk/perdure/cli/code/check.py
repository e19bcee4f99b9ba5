"""`perdure check`: what replay could not repeat, found before the code runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perdure._checker.scanner import check_file, python_files
from perdure.cli.output import echo, print_json
from perdure.cli.target import Output, OutputFormat

Paths = Annotated[list[Path], typer.Argument(metavar="PATH", help="Files or directories.")]


def check(paths: Paths, output: Output = OutputFormat.TABLE) -> None:
    """Look for calls in workflow code that replay cannot repeat; exit status 1 when there are any.

    Code is read, not run. A line with the comment "perdure: ignore" is passed over.
    """
    found = [one for path in python_files(paths) for one in check_file(path)]
    if output is OutputFormat.JSON:
        print_json([one._asdict() for one in found])
    else:
        for one in found:
            echo(str(one))
    if found:
        raise typer.Exit(1)
