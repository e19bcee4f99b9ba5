"""Every `perdure` command that a page shows exists, with the options that it shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from perdure.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
TREE = typer.main.get_command(app)


def shown() -> Iterator[tuple[str, str]]:
    """Each command line in a fenced block of a page, continued lines joined."""
    for page in sorted(PAGES):
        for block in FENCE.findall(page.read_text("utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                text = line.strip().removeprefix("$ ")
                if text.startswith("perdure "):
                    yield page.name, text


def fault_of(line: str) -> str | None:
    """What is wrong with a command line: a command or an option that is not there."""
    at: Any = TREE
    takes = {name: one for one in at.params for name in (*one.opts, *one.secondary_opts)}
    words = iter(shlex.split(line, comments=True)[1:])
    for word in words:
        if word in {"|", ">", "&&"}:
            return None
        if word.startswith("-") and word not in {"--help", "-h"}:
            name, _, value = word.partition("=")
            option = takes.get(name)
            if option is None:
                return f"no option {name}"
            if not value and not option.is_flag and not option.count:
                next(words, None)
        elif hasattr(at, "commands"):
            if word not in at.commands:
                return f"no command {word}"
            at = at.commands[word]
            takes = {name: one for one in at.params for name in (*one.opts, *one.secondary_opts)}
    return None


def test_commands_on_pages_exist() -> None:
    lines = list(shown())

    assert len(lines) > 20
    assert [(page, line, fault) for page, line in lines if (fault := fault_of(line))] == []


def test_a_planted_command_is_found() -> None:
    assert fault_of("perdure workflow lst") == "no command lst"
    assert fault_of("perdure workflow list --colour red") == "no option --colour"
    assert fault_of("perdure workflow list --task-queue orders") is None
