"""`import perdure.as_temporalio` first, and `temporalio` is Perdure, for libraries as well.

`python -m perdure.as_temporalio worker.py ARGUMENTS` runs a program that way, `-m MODULE` a module.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from perdure._alias.finder import AliasError, install

__all__ = ["AliasError", "main"]

USAGE = (
    "usage: python -m perdure.as_temporalio (PROGRAM.py | -m MODULE) [ARGUMENTS...]: runs a"
    " program written for Temporal's SDK, unchanged, on Perdure"
)


def main(arguments: list[str]) -> None:
    """Run a program, or a module after -m, with the arguments that follow it.

    Raises SystemExit when there is none.
    """
    is_module = arguments[:1] == ["-m"]
    program = arguments[int(is_module) :]
    if not program or program[0] in {"-h", "--help"}:
        raise SystemExit(USAGE)
    sys.argv = program
    if is_module:
        sys.path[0] = str(Path.cwd())
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
        return
    if not Path(program[0]).exists():
        raise SystemExit(f"there is no program {program[0]!r}. {USAGE}")
    sys.path[0] = str(Path(program[0]).resolve().parent)
    runpy.run_path(program[0], run_name="__main__")


install()

if __name__ == "__main__":
    main(sys.argv[1:])
