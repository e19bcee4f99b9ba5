"""`perdure alias`: Temporal's name in an environment, by a .pth file and stubs for checkers."""

from __future__ import annotations

import pkgutil
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

import perdure

PTH: Final = "perdure_as_temporalio.pth"
STUBS: Final = "temporalio-stubs"
LINE: Final = "import perdure.as_temporalio\n"
NOTE: Final = "# Written by `perdure alias --install`, taken away by `perdure alias --uninstall`.\n"


def alias(
    install: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--install", help="Let `temporalio` be Perdure in this environment.")
    ] = False,
    uninstall: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--uninstall", help="Take that back.")
    ] = False,
) -> None:
    """Let `import temporalio` mean Perdure in all programs of this environment, or say whether.

    It writes a .pth file and stubs for type checkers beside the installed packages. A real
    temporalio may be installed as well; libraries in its folder then run on Perdure.
    """
    if install and uninstall:
        raise typer.BadParameter("give --install or --uninstall, not both")
    folder = site_packages()
    if install:
        for path in install_alias(folder):
            typer.echo(f"wrote {path}")
    elif uninstall:
        gone = uninstall_alias(folder)
        for path in gone:
            typer.echo(f"removed {path}")
        if not gone:
            typer.echo(f"there was no alias in {folder}")
    elif is_installed(folder):
        typer.echo(f"temporalio is Perdure in this environment ({folder})")
    else:
        typer.echo("temporalio is not Perdure here; `perdure alias --install` makes it so")


def site_packages() -> Path:
    """Where packages of this environment are."""
    return Path(sysconfig.get_path("purelib"))


def is_installed(folder: Path) -> bool:
    """Whether the alias has been written into a folder of packages."""
    return (folder / PTH).exists()


def install_alias(folder: Path) -> list[Path]:
    """Write the alias into a folder of packages: all programs of the environment have it then.

    The paths that were written. Raises OSError where that is not allowed.
    """
    stubs = folder / STUBS
    shutil.rmtree(stubs, ignore_errors=True)
    for name, is_package in _public_modules():
        path = stubs.joinpath(*name.split("."))
        file = path / "__init__.pyi" if is_package else path.with_suffix(".pyi")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{NOTE}from perdure.{name} import *\n")
    for package in [stubs, *(path for path in stubs.rglob("*") if path.is_dir())]:
        (package / "__init__.pyi").touch()
    (folder / PTH).write_text(LINE)
    return [folder / PTH, stubs]


def uninstall_alias(folder: Path) -> list[Path]:
    """Take it away again; the paths that were there."""
    found = [path for path in (folder / PTH, folder / STUBS) if path.exists()]
    (folder / PTH).unlink(missing_ok=True)
    shutil.rmtree(folder / STUBS, ignore_errors=True)
    return found


def _public_modules() -> Iterator[tuple[str, bool]]:
    """Our modules that have a name at Temporal, each with whether it is a package."""
    for module in _walk(list(perdure.__path__), ""):
        name = module[0]
        if name.partition(".")[0] not in {"as_temporalio", "cli", "triggers"}:
            yield module


def _walk(paths: list[str], prefix: str) -> Iterator[tuple[str, bool]]:
    """Modules without an underscore, found on the disk: nothing is imported."""
    for found in pkgutil.iter_modules(paths):
        if not found.name.startswith("_"):
            yield f"{prefix}{found.name}", found.ispkg
            if found.ispkg:
                below = [str(Path(path) / found.name) for path in paths]
                yield from _walk(below, f"{prefix}{found.name}.")
